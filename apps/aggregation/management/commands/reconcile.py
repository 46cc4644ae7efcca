"""`manage.py reconcile [--loop]`: find and do what was left behind, also with Redis and beat both dead."""

import signal
import threading
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand
from django.db import close_old_connections

from apps.aggregation import services


class Command(BaseCommand):
    """Reconcile once, or every `BOLTZ_RECONCILE_SECONDS` until SIGTERM."""

    help = "Find and do what a lost message, a killed process or a dead Redis has left behind."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Once, or for ever."""
        parser.add_argument("--loop", action="store_true", help="go on until SIGTERM or SIGINT")

    def handle(self, *args: Any, **options: Any) -> None:
        """Reconcile."""
        if not options["loop"]:
            services.tick("reconciler")
            return
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        while not stop.is_set():
            close_old_connections()
            services.reconcile("reconciler")
            stop.wait(settings.BOLTZ_RECONCILE_SECONDS)
