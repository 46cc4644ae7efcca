"""The new weights of a run's parameter ranges, on their way from the task that combined them into the version.

They are not made durable: a row names the digest of its file, so whatever a power cut takes is noticed and combined
again. Most of these files are gone before the disk has seen them.
"""

import contextlib
import hashlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from django.conf import settings

from apps.aggregation.models import Run, Shard
from apps.rounds import stores
from boltz_protocol.errors import ServerFaultError


class DamagedShardError(ServerFaultError):
    """The file of a combined range is not the one that was written."""

    default_code = "shard_damaged"

    def __init__(self, shard: Shard) -> None:
        super().__init__(f"{shard} is damaged on our disk; it is combined again")
        self.number = shard.number


def path_of(run_id: int, number: int) -> Path:
    """Where the new weights of one range lie."""
    return Path(settings.BOLTZ_DATA_DIR) / "runs" / str(run_id) / f"{number}.f32"


@contextlib.contextmanager
def writing(run: Run, number: int) -> Iterator[Callable[[memoryview], object]]:
    """A function that takes the bytes of one range; the file has its name when the block ends well."""
    path = path_of(run.pk, number)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
    with stores.partial_file(path.parent) as file:
        yield file.write
        file.flush()
        Path(file.name).rename(path)


def read(shard: Shard) -> bytes:
    """The new weights of one range, as they were written.

    Raises:
        DamagedShardError: gone, or other bytes.
    """
    try:
        raw = path_of(shard.run_id, shard.number).read_bytes()
    except FileNotFoundError as error:
        raise DamagedShardError(shard) from error
    if hashlib.sha256(raw).hexdigest() != shard.sha256:
        raise DamagedShardError(shard)
    return raw


def forget(run_id: int) -> None:
    """Remove the files of a run that has ended: the version holds what they were for."""
    shutil.rmtree(path_of(run_id, 0).parent, ignore_errors=True)


def sweep() -> None:
    """Remove the files of every run that has ended."""
    for directory in (Path(settings.BOLTZ_DATA_DIR) / "runs").glob("*"):
        if not Run.objects.filter(pk=int(directory.name), state="running").exists():
            forget(int(directory.name))
