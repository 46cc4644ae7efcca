"""Destruction of what is no longer needed: staged updates and envelopes after the replay window, and scratch files.

Destroying a round's staging key is what shreds it; the files are removed after that to save space.
"""

import shutil
import time
from datetime import timedelta
from itertools import chain
from pathlib import Path

from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now
from django.utils import timezone

from apps.attempts import attempt
from apps.audit import services as audit
from apps.keys import services as keys
from apps.rounds import holdouts, stores
from apps.rounds.models import Round
from apps.rounds.services.transitions import SYSTEM

SCRATCH_SECONDS = 24 * 3600


def shred_old_rounds() -> list[Round]:
    """Shred every ended round whose replay window is over; returns those that are shredded.

    One whose files or key cannot be destroyed now does not keep the others; a later tick tries it again.
    """
    ended = Round.objects.filter(ended_at__isnull=False, shredded_at__isnull=True).select_related("model")
    due = [
        round_
        for round_ in ended
        if round_.ended_at
        and round_.ended_at + timedelta(days=round_.round_policy().replay_window_days) < timezone.now()
    ]
    return [round_ for round_ in due if attempt(shred_round, round_)]


def shred_round(round_: Round) -> bool:
    """Destroy a round's staging key, its segments and its envelopes; intent, act and completion are logged.

    True when it is done, by this call or another one.
    """
    # once, however often the act fails
    detail = {"kid": round_.staging_kid}
    audit.append_once(round_.label, "round.shredding_begun", actor=SYSTEM, round=round_.label, detail=detail)
    if round_.staging_kid:
        keys.key_store().destroy(round_.staging_kid)
    shutil.rmtree(stores.staged_directory(round_.pk), ignore_errors=True)
    for sha256 in round_.updates.values_list("body_sha256", flat=True).iterator():
        stores.delete_envelope(sha256)
    with transaction.atomic():
        round_.updates.update(staged_key=None)
        if Round.objects.filter(pk=round_.pk, shredded_at__isnull=True).update(shredded_at=Now()):
            audit.append("round.shredded", actor=SYSTEM, round=round_.label, detail=detail)
    return True


def partial_directories() -> list[Path]:
    """Where partial files are made that outlive a killed process: none of these has an entry for each update."""
    kept = Path(settings.BOLTZ_DATA_DIR) / "versions"
    return [stores.scratch(), stores.staging(), stores.inbox(), holdouts.directory(), kept]


def sweep_scratch() -> int:
    """Remove partial files that a killed process has left behind; returns how many."""
    horizon = time.time() - SCRATCH_SECONDS
    removed = 0
    # the others are below a run, and go with it
    for path in chain.from_iterable(directory.glob(f"*{stores.PARTIAL_SUFFIX}") for directory in partial_directories()):
        try:
            if path.stat().st_mtime < horizon:
                path.unlink()
                removed += 1
        except FileNotFoundError:
            continue  # its writer has finished
    return removed
