"""`manage.py serve`: the web server, once the settings are found to be right."""

import os
import sys
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from boltz_federated.environment import is_loopback

APPLICATION = "boltz_federated.wsgi:application"
# a blocked upload holds a thread; each thread may hold a database connection
PROCESSES, THREADS = 2, 16
SERVER = (
    *("--interface", "wsgi", "--http", "1", "--no-ws"),
    *("--respawn-failed-workers", "--respawn-interval", "1", "--workers-kill-timeout", "8"),
)


class Command(BaseCommand):
    """Check the settings here, and then become granian.

    Granian loads the application in its children and starts them again when they fail, so without this check a setting
    that is wrong would be told by one traceback after the other. It hands a request body on while it arrives (ADR 3).
    """

    help = "Check the settings, then become the web server (granian)."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Where to listen, and with how many processes and threads."""
        parser.add_argument("--host", default=os.environ.get("GRANIAN_HOST", "127.0.0.1"))
        parser.add_argument("--port", type=int, default=os.environ.get("GRANIAN_PORT", "8000"))
        parser.add_argument("--processes", type=int, default=PROCESSES)
        parser.add_argument("--threads", type=int, default=THREADS, help="in each process")

    def handle(self, *args: Any, **options: Any) -> None:
        """Become the server; returns only by an error."""
        if settings.BOLTZ_DEV_MODE and not is_loopback(options["host"]):
            raise CommandError(
                f"BOLTZ_DEV_MODE may listen on this machine only (127.0.0.1), not on {options['host']}: "
                "it admits every client and runs without TLS."
            )
        places = ("--host", options["host"], "--port", options["port"], "--working-dir", settings.BASE_DIR)
        numbers = ("--workers", options["processes"], "--blocking-threads", options["threads"])
        command = [sys.executable, "-m", "granian", *SERVER, *map(str, (*places, *numbers)), APPLICATION]
        os.execv(sys.executable, command)  # noqa: S606 - no shell: the very process, with its id and its parent
