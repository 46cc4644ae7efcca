"""How each fault of a soak strikes, how it is seen to have struck, and how it ends.

In the thread that has started the mesh: the kernel ends programs with the thread that started them.
"""

import contextlib
import os
import signal
import time

import celery
import kombu.exceptions
import psycopg2
import redis

from local_stack.errors import StackError
from local_stack.processes import wait_until
from tests.chaos.faults import members, state_of
from tests.integration.running_mesh import PREFIX

LOOK_SECONDS = 0.25
STRUCK_SECONDS = 20.0
MOST_MESSAGES = 20
# what a message may be about: of the newest rows
NEWEST = 30
ROWS = {
    "update": f"SELECT id FROM rounds_update ORDER BY received_at DESC LIMIT {NEWEST}",
    "round": f"SELECT id FROM rounds_round ORDER BY id DESC LIMIT {NEWEST}",
    "run": f"SELECT id FROM aggregation_run ORDER BY id DESC LIMIT {NEWEST}",
}
MESSAGES = (
    ("rounds.process_update", "update", (), "ingest"),
    ("rounds.advance_round", "round", (), "control"),
    ("aggregation.aggregate_round", "round", (), "aggregate"),
    ("aggregation.combine_shard", "run", (0,), "aggregate"),
    ("aggregation.finish_run", "run", (), "aggregate"),
)


class Faults:
    """Strikes a mesh, and starts again what has ended without us."""

    def __init__(self, soak):
        self._mesh, self._journal = soak.mesh, soak.journal
        # ended by us, and not to be started yet
        self._held = set()

    def strike(self, strike):
        """Pause, let the faults begin, wait, let them end."""
        self.wait(strike.pause_seconds)
        if self._journal.over.is_set():
            return
        with contextlib.ExitStack() as faults:
            for fault in strike.faults:
                self._journal.write("fault", fault.kind, target=fault.target, lasts=round(strike.lasts_seconds, 2))
                faults.enter_context(FAULTS[fault.kind](self, fault))
            self.wait(strike.lasts_seconds)
        self._journal.write("fault", "has ended")

    def wait(self, seconds):
        """Wait, or until the soak is over; meanwhile start what has ended by itself, as a supervisor does."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and not self._journal.over.wait(min(left, LOOK_SECONDS)):
            self.start_what_has_ended()

    def start_what_has_ended(self):
        """Start every program that has ended, but for those that are held down."""
        for name, process in self._mesh.all_processes().items():
            if name not in self._held and not process.is_running():
                self._journal.write("supervisor", "starts again", program=name, code=process.exit_code)
                self._start(name)

    def mend(self):
        """Everything runs again."""
        self._held.clear()
        for process in self._mesh.all_processes().values():
            process.send_to_group(signal.SIGCONT)
        self._mesh.mend()

    def _process(self, name):
        return self._mesh.all_processes()[name]

    def _start(self, name):
        try:
            self._mesh.restart(name)
        except StackError as error:
            # the supervisor tries again
            self._journal.write("supervisor", "cannot start", program=name, error=str(error)[-300:])

    @contextlib.contextmanager
    def _down(self, fault, bring_down):
        """A program is not there until the fault ends."""
        self._held.add(fault.target)
        process = self._process(fault.target)
        try:
            if process.is_running():
                bring_down(process)
            yield
        finally:
            self._held.discard(fault.target)
            if not process.is_running():
                self._start(fault.target)

    def killed(self, fault):
        """SIGKILL of a program with its children."""

        def kill(process):
            group = process.pid
            assert members(group), f"there is no {fault.target} to kill"
            process.kill()
            self._struck(lambda: not members(group), f"every process of the {fault.target} is gone")

        return self._down(fault, kill)

    def stopped_at_once(self, fault):
        """An immediate stop of PostgreSQL: nothing is written, connections break."""

        def stop(process):
            process.send(signal.SIGQUIT)
            self._struck(lambda: not process.is_running(), "PostgreSQL has stopped")

        return self._down(fault, stop)

    @contextlib.contextmanager
    def terminated(self, fault):
        """SIGTERM; who has not ended when the fault does is killed."""
        process = self._process(fault.target)
        self._held.add(fault.target)
        process.send(signal.SIGTERM)
        try:
            yield
        finally:
            self._journal.write("fault", "after SIGTERM", target=fault.target, runs=process.is_running())
            process.kill()
            self._held.discard(fault.target)
            self._start(fault.target)

    @contextlib.contextmanager
    def child_killed(self, fault):
        """SIGKILL of one child of a program."""
        process = self._process(fault.target)
        children = sorted(set(members(process.pid)) - {process.pid}) if process.is_running() else []
        if children:
            group, child = process.pid, children[int(fault.chosen * len(children))]
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            self._struck(lambda: child not in members(group), f"a child of the {fault.target} is gone")
        self._journal.write("fault", "child", target=fault.target, of=len(children))
        yield

    @contextlib.contextmanager
    def paused(self, fault):
        """A program stands still."""
        process = self._process(fault.target)
        if process.is_running():
            process.send_to_group(signal.SIGSTOP)
            self._struck(lambda: stands_still(process), f"the {fault.target} stands still")
        try:
            yield
        finally:
            process.send_to_group(signal.SIGCONT)

    @contextlib.contextmanager
    def flushed(self, fault):
        """Redis is emptied; when it is away just then, that is fault enough."""
        try:
            with self._mesh.broker() as broker:
                self._journal.write("fault", "flushed", keys=broker.dbsize())
                broker.flushall()
        except (redis.ConnectionError, redis.TimeoutError) as error:
            self._journal.write("fault", "not flushed", error=type(error).__name__)
        yield

    @contextlib.contextmanager
    def doubled(self, fault):
        """Messages that were sent before are sent again, some of them many times."""
        task, kind, more, queue = MESSAGES[int(fault.chosen * len(MESSAGES))]
        # what follows the first digits of the draw chooses the row and the number
        choice = fault.chosen * len(MESSAGES) * 1000 % 1
        try:
            ids = [id_ for (id_,) in self._mesh.rows(ROWS[kind])]
            if ids:
                row, times = ids[int(choice * len(ids))], 1 + int(choice * 1000 % 1 * MOST_MESSAGES)
                self._send(task, (row, *more), queue, times)
                self._journal.write("fault", "messages", task=task, of=str(row), times=times)
        except (psycopg2.OperationalError, kombu.exceptions.OperationalError) as error:
            self._journal.write("fault", "no messages", error=type(error).__name__)
        yield

    def _send(self, task, arguments, queue, times):
        with celery.Celery("soak", broker=self._mesh.redis.url, set_as_current=False) as app:
            timeouts = {"socket_timeout": 2, "socket_connect_timeout": 1}
            app.conf.broker_transport_options = {"global_keyprefix": PREFIX, **timeouts}
            app.conf.task_publish_retry = False
            with app.connection_for_write() as connection:
                for _ in range(times):
                    app.send_task(task, args=arguments, queue=queue, ignore_result=True, connection=connection)

    def _struck(self, condition, what):
        assert wait_until(condition, seconds=STRUCK_SECONDS), f"the fault did not strike: {what}"


def stands_still(process):
    """Whether every process of a group is stopped."""
    try:
        return all(state_of(one) == "T" for one in members(process.pid))
    except FileNotFoundError:
        return False


FAULTS = {
    "kill": Faults.killed,
    "kill_child": Faults.child_killed,
    "pause": Faults.paused,
    "terminate": Faults.terminated,
    "flush": Faults.flushed,
    "stop_at_once": Faults.stopped_at_once,
    "double_messages": Faults.doubled,
}
