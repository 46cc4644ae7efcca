"""`manage.py replay_run --model boltz-core --round 1`: make a published round again and compare."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from apps.aggregation import services
from apps.rounds.selectors import find_round
from boltz_protocol.errors import BoltzError


class Command(BaseCommand):
    """Recompute a round from its record and its staged updates."""

    help = "Recompute a published round from its record and its staged updates: the same SHA-256, or what differs."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Which round."""
        parser.add_argument("--model", required=True)
        parser.add_argument("--round", required=True, help="its number")

    def handle(self, *args: Any, **options: Any) -> None:
        """Replay it."""
        try:
            round_ = find_round(options["model"], options["round"])
            replay = services.replay_round(round_)
        except BoltzError as error:
            raise CommandError(f"{error.code}: {error.message}") from error
        if replay.differences:
            raise CommandError(
                f"{round_} is not what it was:\n" + "\n".join(f"- {said}" for said in replay.differences)
            )
        self.stdout.write(f"{round_} replayed to the same bits: weights {replay.replayed_sha256}")
