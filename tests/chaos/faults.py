"""Ways to hold a process at a known place, so that a fault strikes there and nowhere else.

Nothing in the mesh knows about them: they are files, rows and locks that a process has to wait for.
"""

import contextlib
import fcntl
import os
import signal
from pathlib import Path

CAPACITY = 1 << 20


class HeldEnvelope:
    """An envelope on disk with a pipe in its place: who reads it gets `given` bytes of it and waits for the rest."""

    def __init__(self, mesh, upload_id, given):
        digest = mesh.value("SELECT body_sha256 FROM rounds_update WHERE id = %s", upload_id)
        self.path = mesh.directory / "data" / "inbox" / digest[:2] / digest
        self._whole = self.path.with_name("whole")
        self.content = self.path.read_bytes()
        self._given = given

    def __enter__(self):
        self.path.rename(self._whole)
        os.mkfifo(self.path)
        # open for reading too: it neither waits for a reader nor ends when one is killed
        self._pipe = os.open(self.path, os.O_RDWR)
        fcntl.fcntl(self._pipe, fcntl.F_SETPIPE_SZ, CAPACITY)
        assert os.write(self._pipe, self.content[: self._given]) == self._given
        return self

    def put_back(self):
        """The whole file again, for whoever opens it from now on."""
        if self._whole.exists():
            self._whole.rename(self.path)

    def give_the_rest(self):
        """Let the reader of the pipe have what it waits for."""
        rest = memoryview(self.content)[self._given :]
        while rest:
            rest = rest[os.write(self._pipe, rest) :]
        self._close()

    def __exit__(self, *_):
        self.put_back()
        self._close()

    def _close(self):
        if self._pipe is not None:
            os.close(self._pipe)
            self._pipe = None


@contextlib.contextmanager
def held_table(mesh, table):
    """Nobody can write to a table; everybody can read it."""
    with mesh.session() as cursor:
        cursor.execute(f'LOCK TABLE "{table}" IN EXCLUSIVE MODE')
        yield


@contextlib.contextmanager
def held_round(mesh, model):
    """Nobody can change round 1 of a model."""
    with mesh.session() as cursor:
        cursor.execute(
            "SELECT r.id FROM rounds_round r JOIN rounds_federatedmodel m ON m.id = r.model_id"
            " WHERE m.name = %s AND r.number = 1 FOR UPDATE OF r",
            [model],
        )
        yield


@contextlib.contextmanager
def held_shards(mesh, numbers):
    """Nobody can store these shards of the next run: rows in their place wait for a commit that does not come."""
    with mesh.session() as cursor:
        cursor.execute("SELECT last_value + is_called::int FROM aggregation_run_id_seq")
        ((run_id,),) = cursor.fetchall()
        for number in numbers:
            cursor.execute(
                "INSERT INTO aggregation_shard (run_id, number, start, stop, sha256, finished_at)"
                " VALUES (%s, %s, 0, 0, '', now())",
                [run_id, number],
            )
        yield run_id


@contextlib.contextmanager
def paused(mesh, *names):
    """Programs that stand still, none of them in the middle of a transaction."""
    try:
        mesh.until(lambda: stand_still(mesh, names), f"{names} are stopped outside of a transaction")
        yield
    finally:
        signal_all(mesh, names, signal.SIGCONT)


def stand_still(mesh, names):
    """Stop programs; they go on, and the answer is False, when somebody is in a transaction just then."""
    signal_all(mesh, names, signal.SIGSTOP)
    busy = mesh.count("SELECT 1 FROM pg_stat_activity WHERE state <> 'idle' AND pid <> pg_backend_pid()")
    if busy:
        signal_all(mesh, names, signal.SIGCONT)
    return not busy


def resume(mesh, name):
    """Let one of the paused programs go on."""
    signal_all(mesh, [name], signal.SIGCONT)


def signal_all(mesh, names, number):
    """Send a signal to programs and their children."""
    for name in names:
        mesh.processes[name].send_to_group(number)


def kill(mesh, name):
    """SIGKILL a program with its children, and see that they are gone."""
    group = mesh.processes[name].pid
    assert members(group)
    mesh.processes[name].kill()
    mesh.until(lambda: not members(group), f"every process of the {name} is gone")


def members(group):
    """The processes of a group that are alive; a zombie is not."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state, _, its_group = (process / "stat").read_text().rpartition(")")[2].split()[:3]
            if int(its_group) == group and state not in "ZX":
                found.append(int(process.name))
    return found
