"""`manage.py promote_version --model M --version N --reason ...`: make a candidate the current version."""

from apps.rounds import services
from apps.rounds.management.version_commands import VersionCommand


class Command(VersionCommand):
    """Promote a version by hand."""

    help = "Make a candidate the current version, whatever its gate has found, or a version that was rolled back."
    decide = staticmethod(services.promote)
