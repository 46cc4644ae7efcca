"""`manage.py set_gate --model M --hold-out FILE`: what new versions are measured by before clients get them."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from apps.rounds import services
from apps.rounds.management.version_commands import ACTOR, reason
from apps.rounds.selectors import find_model
from boltz_protocol import tasks
from boltz_protocol.errors import BoltzError


class Command(BaseCommand):
    """Set or remove the gate of a model."""

    help = "Set what new versions of a linear or mlp model are measured by, or let every version pass again."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Which model, on what data, by which metric."""
        parser.add_argument("--model", required=True)
        source = parser.add_mutually_exclusive_group(required=True)
        source.add_argument(
            "--hold-out", type=Path, help="npz with X and y, or csv with a column for each of the names"
        )
        source.add_argument("--remove", action="store_true", help="every version passes; the hold-out is removed")
        parser.add_argument("--metric", choices=tasks.METRICS, help="instead of the task's")
        parser.add_argument("--margin", type=float, default=0.0, help="by how much a version may be worse (default: 0)")
        parser.add_argument("--reason", type=reason, required=True, help="kept in the log for good; name no person")

    def handle(self, *args: Any, **options: Any) -> None:
        """Set or remove it."""
        try:
            model = find_model(options["model"])
            if options["remove"]:
                services.remove_gate(model, actor=ACTOR, reason=options["reason"])
                self.stdout.write(f"{model} has no gate: every version passes")
                return
            request = services.GateRequest(options["hold_out"], options["metric"], options["margin"])
            gate, score = services.set_gate(model, request, actor=ACTOR, reason=options["reason"])
        except BoltzError as error:
            raise CommandError(f"{error.code}: {error.message}") from error
        self.stdout.write(f"{model}: {gate.metric} on {gate.rows} rows may be worse by {gate.margin:g}")
        self.stdout.write(f"the current version has {gate.metric} {score:.6g}; sha256 {gate.holdout_sha256}")
