"""`manage.py aggregate --model boltz-core --round 1`: aggregate a round now, in this process."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from apps.aggregation import services
from apps.rounds.selectors import find_round
from boltz_core.rounds.states import RoundState
from boltz_protocol.errors import BoltzError


class Command(BaseCommand):
    """Seal, freeze, aggregate and publish a round by hand."""

    help = "Aggregate a round now: it is sealed if it is open, waits for nothing else, and publishes the next version."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Which round."""
        parser.add_argument("--model", required=True)
        parser.add_argument("--round", required=True, help="its number, or `current`")

    def handle(self, *args: Any, **options: Any) -> None:
        """Aggregate it."""
        try:
            round_ = services.aggregate_now(find_round(options["model"], options["round"]), actor="command-line")
        except BoltzError as error:
            raise CommandError(f"{error.code}: {error.message}") from error
        if round_.state != RoundState.PUBLISHED:
            raise CommandError(f"{round_} is {round_.state}: {round_.reason or 'its work goes on in the workers'}")
        self.stdout.write(f"{round_} is published as version {round_.version.number}")
