"""Envelopes that no update claims: a process was killed between giving the file its name and the commit of its row.

Uploads hold a shared advisory lock from before the name is given until after the commit; a sweep holds it alone. So a
file that has no row while the lock is held alone is nobody's, also where the outcome of a commit was lost with the
connection.
"""

import secrets
import time
from collections.abc import Sequence
from pathlib import Path

from django.db import connection, transaction

from apps.rounds import stores
from apps.rounds.models import Update

# any number that nobody else uses for an advisory lock
LOCK_ID = 0x626F6C747A696E62
ORPHAN_SECONDS = 3600
DIRECTORIES = 256


def hold_inbox() -> None:
    """Keep sweeps away until the caller's transaction ends."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock_shared(%s)", [LOCK_ID])


def discard_unclaimed(sha256: str) -> None:
    """Remove an envelope unless an update has it, after a failure that may have left it behind."""
    path = stores.envelope_path(sha256)
    if path.exists():
        remove_orphans([path])


def sweep_inbox() -> int:
    """Remove old envelopes that no update claims, in one of the inbox's 256 directories; returns how many.

    A random one each time, so that a tick stays short however many envelopes are kept.
    """
    return sweep_directory(stores.inbox() / f"{secrets.randbelow(DIRECTORIES):02x}")


def sweep_directory(directory: Path) -> int:
    """Remove the old envelopes of one directory that no update claims; returns how many."""
    horizon = time.time() - ORPHAN_SECONDS
    old = [path for path in directory.glob("*") if modified_at(path) < horizon]
    orphans = unclaimed(old)
    return remove_orphans(orphans) if orphans else 0


def modified_at(path: Path) -> float:
    """When a file was written; now, when it is gone already."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return time.time()


def unclaimed(paths: Sequence[Path]) -> list[Path]:
    """The envelopes among these that no update has now."""
    names = [path.name for path in paths]
    claimed = set(Update.objects.filter(body_sha256__in=names).values_list("body_sha256", flat=True))
    return [path for path in paths if path.name not in claimed]


def remove_orphans(paths: Sequence[Path]) -> int:
    """Remove those of a few envelopes that no update has while nobody can be taking one; returns how many."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK_ID])
        orphans = unclaimed(paths)
        for path in orphans:
            path.unlink(missing_ok=True)
    return len(orphans)
