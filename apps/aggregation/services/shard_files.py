"""What shards make, on its way from the task that made it to the one that uses it all: geometry, and new weights.

It is not made durable: a row names the digest of its file, so whatever a power cut takes is noticed and made again.
Most of these files are gone before the disk has seen them. Geometry says how members lie to each other, so it is sealed
like their segments, under the staging key of the round.
"""

import contextlib
import hashlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from django.conf import settings

from apps.aggregation.models import Phase, Run, Shard
from apps.rounds import stores
from boltz_protocol.errors import ServerFaultError

SUFFIXES = {Phase.MEASURE: "geometry", Phase.COMBINE: "f32"}


class SealedBytesDamagedError(Exception):
    """What lies in a file does not open."""


class DamagedShardError(ServerFaultError):
    """The file of a shard is not the one that was written."""

    default_code = "shard_damaged"

    def __init__(self, shard: Shard) -> None:
        super().__init__(f"{shard} is damaged on our disk; it is made again")
        self.shard = shard


def directory_of(run_id: int) -> Path:
    """Where the files of one run lie."""
    return Path(settings.BOLTZ_DATA_DIR) / "runs" / str(run_id)


def path_of(run_id: int, phase: str, number: int, vector: str = "") -> Path:
    """Where the file of one shard lies, or that of one vector of the optimizer's state in its range."""
    return directory_of(run_id) / f"{number}.{vector or SUFFIXES[Phase(phase)]}"


@contextlib.contextmanager
def writing(run: Run, phase: str, number: int, vector: str = "") -> Iterator[Callable[[memoryview | bytes], object]]:
    """A function that takes the bytes of one file of a shard; it has its name when the block ends well."""
    path = path_of(run.pk, phase, number, vector)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
    with stores.partial_file(path.parent) as file:
        yield file.write
        file.flush()
        Path(file.name).rename(path)


def read(shard: Shard, opened: Callable[[bytes], bytes] = bytes) -> bytes:
    """The content of one shard, as it was made; `opened` gives that of what lies in the file.

    Raises:
        DamagedShardError: gone, or another content.
    """
    return _checked(shard, path_of(shard.run_id, shard.phase, shard.number), shard.sha256, opened)


def read_state(shard: Shard, vector: str) -> bytes:
    """One vector of the optimizer's new state in the range of a shard.

    Raises:
        DamagedShardError: gone, or another content.
    """
    path = path_of(shard.run_id, shard.phase, shard.number, vector)
    return _checked(shard, path, shard.state_sha256.get(vector, ""), bytes)


def _checked(shard: Shard, path: Path, sha256: str, opened: Callable[[bytes], bytes]) -> bytes:
    try:
        content = opened(path.read_bytes())
    except (FileNotFoundError, SealedBytesDamagedError) as error:
        raise DamagedShardError(shard) from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise DamagedShardError(shard)
    return content


def make_again(error: DamagedShardError) -> None:
    """Forget a damaged shard: without its row the range is done again, at the next look or by the next message."""
    Shard.objects.filter(pk=error.shard.pk, run__state="running").delete()


def forget(run_id: int) -> None:
    """Remove the files of a run that has ended: the version holds what they were for."""
    shutil.rmtree(directory_of(run_id), ignore_errors=True)


def sweep() -> None:
    """Remove the files of every run that has ended."""
    for directory in (Path(settings.BOLTZ_DATA_DIR) / "runs").glob("*"):
        if not Run.objects.filter(pk=int(directory.name), state="running").exists():
            forget(int(directory.name))
