"""`manage.py roll_back --model M --version N --reason ...`: make an earlier version current again."""

from apps.rounds import services
from apps.rounds.management.version_commands import VersionCommand


class Command(VersionCommand):
    """Roll back to a version."""

    help = (
        "Make an earlier version current again; those after it are rolled back, and so is a live round on top of one."
    )
    decide = staticmethod(services.roll_back)
