"""`manage.py reconcile [--loop]`: find and do what was left behind, also with Redis and beat both dead."""

import logging
import signal
import threading
import time
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand
from django.db import Error, close_old_connections

from apps.aggregation import services

logger = logging.getLogger(__name__)


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
        reconcile_until(stop)


def reconcile_until(stop: threading.Event) -> None:
    """Reconcile, and ring the tick as beat does, until `stop` is set; a database that is away ends nothing."""
    next_tick = time.monotonic()
    while not stop.is_set():
        close_old_connections()
        try:
            if time.monotonic() >= next_tick:
                next_tick = time.monotonic() + settings.BOLTZ_TICK_SECONDS
                services.tick("reconciler")
            else:
                services.reconcile("reconciler")
        except Error as error:
            logger.warning("the database does not answer as it should (%s); looking again", type(error).__name__)
        stop.wait(settings.BOLTZ_RECONCILE_SECONDS)
