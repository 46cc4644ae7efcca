"""`manage.py first_start`: what a new mesh needs before it serves.

Keys, an admin, and the starter model with round 1 open. Each start runs it, so it is also where the configuration gets
into the log: once a change, not once a process.
"""

import os
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

from apps.audit import services as audit
from apps.keys import services as keys
from apps.rounds.selectors import models_by_name
from boltz_federated.configuration import log_configuration
from boltz_protocol.errors import BoltzError

STARTER = "boltz-core"


class Command(BaseCommand):
    """Make what is missing; safe to run at every start."""

    help = "Make what is missing: keys, the admin user (password from BOLTZ_ADMIN_PASSWORD), the starter model."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """What to leave out."""
        parser.add_argument("--no-model", action="store_true", help="make no starter model")

    def handle(self, *args: Any, **options: Any) -> None:
        """Make it."""
        try:
            made = keys.ensure_mesh_keys()
        except BoltzError as error:
            raise CommandError(error.message) from error
        for key in made:
            audit.append("key.made", actor="command-line", detail={"use": key.use, "kid": key.kid})
        log_configuration(actor="command-line")
        self.make_admin()
        if not options["no_model"] and not models_by_name().filter(name=STARTER).exists():
            # on a machine of one's own, one client shall see the whole way to a version
            quorum = {"quorum": 1} if settings.BOLTZ_DEV_MODE else {}
            call_command("create_model", starter=STARTER, keep_open=True, open=True, stdout=self.stdout, **quorum)

    def make_admin(self) -> None:
        """The first operator, when there is none and a password is given; there is no default password."""
        password = os.environ.get("BOLTZ_ADMIN_PASSWORD")
        users = get_user_model().objects
        if password and not users.filter(is_superuser=True).exists():
            users.create_superuser(username="admin", password=password)
            self.stdout.write("made the admin user: admin")
