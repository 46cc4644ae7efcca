"""`manage.py make_token`: let clients of an organisation in."""

from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from apps.clients import services
from apps.clients.models import KIND_VALUES

ACTOR = "command-line"


class Command(BaseCommand):
    """Make an enrolment token and print it once."""

    help = "Make an enrolment token; it is printed once and cannot be shown again."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """What a token is for."""
        parser.add_argument("--organisation", required=True, help="whose clients it lets in; made if it is new")
        parser.add_argument("--kind", choices=KIND_VALUES, help="only clients of this kind")
        parser.add_argument("--uses", type=int, default=1, help="how many clients (1)")
        parser.add_argument("--days", type=float, default=7.0, help="how long it is valid (7)")
        parser.add_argument("--note", default="", help="for the operators")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print the token to standard output and the rest to standard error, so that it can be piped."""
        if options["uses"] < 1 or not 0 < options["days"] <= 366:  # noqa: PLR2004 - a year is long enough for a secret on paper
            raise CommandError("--uses must be at least 1, --days more than 0 and at most 366")
        text, token = services.make_token(
            organisation=options["organisation"],
            actor=ACTOR,
            kind=options["kind"],
            max_uses=options["uses"],
            valid_for=timedelta(days=options["days"]),
            note=options["note"],
        )
        self.stderr.write(
            f"lets {token.max_uses} client(s) of {token.organisation} in until {token.expires_at:%Y-%m-%d %H:%M} UTC"
        )
        self.stdout.write(text)
