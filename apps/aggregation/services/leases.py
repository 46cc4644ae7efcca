"""A run's lease: whoever works on it renews it, and finds out in time that somebody else has taken the run over."""

from datetime import timedelta

import numpy as np
from django.conf import settings
from django.db.models.functions import Now

from apps.aggregation.models import Run
from apps.rounds.services.leases import Keeper
from boltz_core.aggregation.segment_rows import OpenSegment
from boltz_protocol.errors import ServerFaultError


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


def keeper_of(run: Run) -> Keeper:
    """Renews the lease of a run now, and as often as it must be while somebody works on it.

    Raises:
        RunEndedError: it is not running any more; also from its `keep`.
    """
    renew(run)
    return Keeper(lambda: renew(run))


def renewing(run: Run, open_segment: OpenSegment) -> OpenSegment:
    """`open_segment` that keeps the run's lease, however long a range is."""
    lease = keeper_of(run)

    def open_and_renew(member: int, segment: int, out: np.ndarray) -> None:
        lease.keep()
        open_segment(member, segment, out)

    return open_and_renew
