"""A run's lease: whoever works on it renews it, and finds out in time that somebody else has taken the run over."""

import time
from datetime import timedelta

from django.conf import settings
from django.db.models.functions import Now

from apps.aggregation.models import Run
from boltz_protocol.errors import ServerFaultError

RENEWALS_IN_A_LEASE = 3


class RunEndedError(ServerFaultError):
    """The run has ended while somebody worked on it; what was done is thrown away."""

    default_code = "run_ended"


def lease_end() -> Now:
    """When a run's lease taken or renewed now ends, by the database's clock."""
    return Now() + timedelta(seconds=settings.BOLTZ_LEASE_SECONDS)


def renew(run: Run) -> None:
    """Extend the lease of a run.

    Raises:
        RunEndedError: it is not running any more.
    """
    if Run.objects.filter(pk=run.pk, state="running").update(lease_expires_at=lease_end()) != 1:
        raise RunEndedError(f"{run} has ended")


class Keeper:
    """Renews a run's lease now, and three times in its length as long as it is called often enough."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._pause = settings.BOLTZ_LEASE_SECONDS / RENEWALS_IN_A_LEASE
        self._renew()

    def keep(self) -> None:
        """Renew the lease when a third of it has passed.

        Raises:
            RunEndedError: the run is not running any more.
        """
        if time.monotonic() - self._renewed >= self._pause:
            self._renew()

    def _renew(self) -> None:
        renew(self._run)
        self._renewed = time.monotonic()
