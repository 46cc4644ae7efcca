"""What the commands about one version share: which version, and why."""

from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable
from typing import Any, ClassVar

from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.rounds.selectors import find_version
from boltz_protocol.errors import BoltzError

ACTOR = "command-line"
MAX_REASON = 200


def reason(text: str) -> str:
    """A reason, as the admin takes it."""
    if not 1 <= len(text.strip()) <= MAX_REASON:
        raise ArgumentTypeError(f"a reason has 1 to {MAX_REASON} characters")
    return text.strip()


class VersionCommand(BaseCommand):
    """Carries out a decision about one version."""

    decide: ClassVar[Callable[..., None]]

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """Here `--version` is that of a model, not Django's."""
        return super().create_parser(prog_name, subcommand, conflict_handler="resolve", **kwargs)

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Which version, and why."""
        parser.add_argument("--model", required=True)
        parser.add_argument("--version", dest="number", required=True, help="its number")
        parser.add_argument("--reason", type=reason, required=True, help="kept in the log for good; name no person")

    def handle(self, *args: Any, **options: Any) -> None:
        """Decide it."""
        try:
            version = find_version(options["model"], options["number"])
            self.decide(version, actor=ACTOR, reason=options["reason"])
        except BoltzError as error:
            raise CommandError(f"{error.code}: {error.message}") from error
        self.stdout.write(f"{version} is the current version")
