"""`manage.py create_model`: make a model, and open its first round if asked."""

import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import msgspec
import safetensors
import safetensors.numpy
from django.core.management.base import BaseCommand, CommandError

from apps.rounds import services
from boltz_federated import starter_models
from boltz_protocol.errors import BoltzError
from boltz_protocol.messages import RoundPolicy, TaskSpec

ACTOR = "command-line"


class Command(BaseCommand):
    """Make a model and its version 0."""

    help = "Make a model and its version 0, from a starter or from a JSON file with `task` and `policy`."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """What the model is made of."""
        source = parser.add_mutually_exclusive_group(required=True)
        source.add_argument("--starter", choices=starter_models.names(), help="a model that comes with the mesh")
        source.add_argument("--file", type=Path, help="JSON with `task`, `policy` and perhaps `name`")
        parser.add_argument("--name", help="its name, when it is not the one in the file")
        parser.add_argument("--weights", type=Path, help="safetensors file with the first weights (custom tasks)")
        parser.add_argument("--keep-open", action="store_true", help="open the next round whenever one has ended")
        parser.add_argument("--open", action="store_true", help="open round 1 now")
        for name, kind in (("quorum", int), ("target", int), ("round-seconds", int), ("max-norm", float)):
            parser.add_argument(f"--{name}", type=kind, help=f"instead of the policy's {name.replace('-', '_')}")

    def handle(self, *args: Any, **options: Any) -> None:
        """Make it."""
        try:
            model = services.create_model(self.request_from(options), actor=ACTOR)
            self.stdout.write(f"{model}: {model.parameters} parameters, {model.mode}, version 0")
            if options["open"]:
                round_ = services.open_round(model, actor=ACTOR)
                self.stdout.write(f"{round_} is {round_.state} until {round_.closes_at:%Y-%m-%d %H:%M} UTC")
        except BoltzError as error:
            raise CommandError(f"{error.code}: {error.message}") from error

    def request_from(self, options: dict[str, Any]) -> services.ModelRequest:
        """The request that the arguments describe."""
        content = read_content(options)
        overrides = {
            name: options[name]
            for name in ("quorum", "target", "round_seconds", "max_norm")
            if options[name] is not None
        }
        try:
            task = msgspec.convert(content["task"], TaskSpec)
            policy = msgspec.convert(content["policy"] | overrides, RoundPolicy)
        except (KeyError, TypeError, msgspec.ValidationError) as error:
            raise CommandError(f"the model's description is not valid: {error}") from error
        return services.ModelRequest(
            name=options["name"] or content.get("name", ""),
            task=task,
            policy=policy,
            keeps_open=options["keep_open"],
            weights=read_weights(options["weights"]),
        )


def read_content(options: dict[str, Any]) -> dict[str, Any]:
    """The JSON of a starter or file."""
    if options["starter"]:
        return starter_models.read(options["starter"])
    try:
        content: dict[str, Any] = json.loads(options["file"].read_text())
    except (OSError, ValueError) as error:
        raise CommandError(f"{options['file']} cannot be read: {error}") from error
    return content


def read_weights(path: Path | None) -> dict[str, Any] | None:
    """First weights from a safetensors file."""
    if path is None:
        return None
    try:
        weights: dict[str, Any] = safetensors.numpy.load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise CommandError(f"{path} is not a readable safetensors file: {error}") from error
    return weights
