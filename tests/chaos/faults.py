"""Ways to hold a process at a known place, so that a fault strikes there and nowhere else.

Nothing in the mesh knows about them: they are files, rows and locks that a process has to wait for.
"""

import contextlib
import fcntl
import os
import signal
from pathlib import Path

CAPACITY = 1 << 20
# any number that nobody else uses for an advisory lock
HELD_ENTRY = 0x686F6C64


class HeldFile:
    """A file on disk with a pipe in its place: who reads it gets `given` bytes of it and waits for the rest."""

    def __init__(self, path, given):
        self.path = path
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


class HeldEnvelope(HeldFile):
    """The envelope of an update, held."""

    def __init__(self, mesh, upload_id, given):
        super().__init__(envelope_of(mesh, upload_id), given)


def envelope_of(mesh, upload_id):
    """Where the envelope of an update lies."""
    digest = mesh.value("SELECT body_sha256 FROM rounds_update WHERE id = %s", upload_id)
    return mesh.directory / "data" / "inbox" / digest[:2] / digest


@contextlib.contextmanager
def held_table(mesh, table):
    """Nobody can write to a table; everybody can read it."""
    with mesh.session() as cursor:
        cursor.execute(f'LOCK TABLE "{table}" IN EXCLUSIVE MODE')
        yield


@contextlib.contextmanager
def held_log_entry(mesh, type_):
    """Nobody can put an entry of this type into the log: who is about to waits in the middle of its transaction."""
    with mesh.session(autocommit=True) as cursor:
        cursor.execute(f"SELECT pg_advisory_lock({HELD_ENTRY})")
        cursor.execute(
            "CREATE FUNCTION wait_for_the_test() RETURNS trigger LANGUAGE plpgsql AS"
            f" 'BEGIN PERFORM pg_advisory_xact_lock_shared({HELD_ENTRY}); RETURN NEW; END'"
        )
        cursor.execute(
            "CREATE TRIGGER held BEFORE INSERT ON audit_logentry FOR EACH ROW"
            " WHEN (NEW.type = %s) EXECUTE FUNCTION wait_for_the_test()",
            [type_],
        )
        try:
            yield
        finally:
            cursor.execute(f"SELECT pg_advisory_unlock({HELD_ENTRY})")
            # waits for those who wait
            cursor.execute("DROP FUNCTION wait_for_the_test CASCADE")


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
                "INSERT INTO aggregation_shard"
                " (run_id, phase, number, start, stop, sha256, state_sha256, step_square, finished_at)"
                " VALUES (%s, 'combine', %s, 0, 0, '', '{}', 0, now())",
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


def kill_server(mesh, process, number=signal.SIGKILL):
    """End PostgreSQL or Redis with SIGKILL, or at once with the signal that PostgreSQL has for that."""
    group = process.pid
    process.send(number)
    mesh.until(lambda: not process.is_running() and not members(group), f"{process.program.name} is gone")


def members(group):
    """The processes of a group that are alive; a zombie is not, but for one whose threads have not all ended yet."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state, _, its_group = (process / "stat").read_text().rpartition(")")[2].split()[:3]
            if int(its_group) == group and (state not in "ZX" or len(list((process / "task").iterdir())) > 1):
                found.append(int(process.name))
    return found


def stopped(mesh, name):
    """Whether every process of a program stands still."""
    group = mesh.processes[name].pid
    return all(state_of(process) == "T" for process in members(group))


def state_of(process):
    """The kernel's letter for what a process does."""
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]


def children(mesh, name):
    """The processes of a program but for the first."""
    leader = mesh.processes[name].pid
    return [process for process in members(leader) if process != leader]


def readers(mesh, name, path):
    """The processes of a program that have a file open."""
    return [process for process in members(mesh.processes[name].pid) if has_open(process, path)]


def has_open(process, path):
    """Whether a process has a file open, or the pipe in its place."""
    with contextlib.suppress(OSError):
        inode = path.stat().st_ino
        return any(descriptor.stat().st_ino == inode for descriptor in Path(f"/proc/{process}/fd").iterdir())
    return False
