"""`manage.py rotate_keys`: put a new mesh key in the place of the old one."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from apps.rounds.services import key_rotation
from boltz_protocol.errors import BoltzError

ACTOR = "command-line"


class Command(BaseCommand):
    """Rotate the mesh's signing or encryption key."""

    help = "Rotate the mesh's signing key (sig; the old one signs its succession) or its encryption key (enc)."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Which key."""
        parser.add_argument("--use", choices=["sig", "enc"], required=True)

    def handle(self, *args: Any, **options: Any) -> None:
        """Rotate it and print the new key's id."""
        rotate = key_rotation.rotate_signing_key if options["use"] == "sig" else key_rotation.rotate_encryption_key
        try:
            key = rotate(actor=ACTOR)
        except BoltzError as error:
            raise CommandError(error.message) from error
        self.stdout.write(key.kid)
