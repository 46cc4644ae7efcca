"""A mesh that runs, and what a test needs to look into it from outside: conditions, rows, queues, clients, fresh models.

What it tells comes from the database, the broker and the files, not from the API of the mesh under test.
"""

import contextlib
import itertools
import json
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import psycopg2
import redis
import safetensors.numpy

from boltz_client import FederatedClient
from local_stack import unprivileged
from local_stack.mesh import Mesh

DEADLINE_SECONDS = 120.0
POLL_SECONDS = 0.02
KINDS = ("broker_adapter", "edge_node", "partner_firm", "user_device")
IMPATIENT = {
    "BOLTZ_TICK_SECONDS": "0.5",
    "BOLTZ_LEASE_SECONDS": "3",
    "BOLTZ_RETRY_SECONDS": "1",
    "BOLTZ_RECONCILE_SECONDS": "0.3",
    # a busy machine may lose many leases that are so short
    "BOLTZ_MAX_ATTEMPTS": "50",
}
QUEUES = ("ingest", "aggregate", "control")
PREFIX = "btmesh:"


class RunningMesh(Mesh):
    """A mesh with short waits, in a directory of its own."""

    def __init__(
        self, directory: Path, *, port: int = 0, fast: bool = True, settings: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(directory, port=port, fast=fast, settings=IMPATIENT | dict(settings or {}))
        self.homes = self.directory / "homes"
        self._models = []
        self._numbers = itertools.count()
        self._clients = {}

    def until(self, condition, what, *, seconds=DEADLINE_SECONDS):
        """The first true answer of the condition; without one the test fails, with what the programs said last."""
        deadline = time.monotonic() + seconds
        while not (answer := condition()):
            if time.monotonic() > deadline:
                said = "\n".join(f"--- {name} ---\n{process.log_tail()}" for name, process in self.processes.items())
                raise AssertionError(f"not within {seconds:.0f} s: {what}\n{said}")
            time.sleep(POLL_SECONDS)
        return answer

    # --- the database

    @contextlib.contextmanager
    def session(self, *, autocommit=False):
        """A connection of the test's own; what it holds is let go at the end."""
        with contextlib.closing(psycopg2.connect(self.postgres.url)) as connection:
            connection.autocommit = autocommit
            with connection.cursor() as cursor:
                yield cursor

    def rows(self, query, *values):
        """Every row of a query."""
        with self.session(autocommit=True) as cursor:
            cursor.execute(query, values)
            return cursor.fetchall()

    def value(self, query, *values):
        """The only value of a query."""
        ((value,),) = self.rows(query, *values)
        return value

    def count(self, query, *values):
        """How many rows a query has."""
        return self.value(f"SELECT count(*) FROM ({query}) AS counted", *values)

    def waiting_for_a_lock(self, table):
        """The statements that wait for a lock while they work on a table."""
        return [
            statement
            for (statement,) in self.rows(
                r"SELECT query FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query ~ %s", rf"\m{table}\M"
            )
        ]

    def round_state(self, model, number=1):
        """The state of a round; None when there is no such round yet."""
        found = self.rows(
            "SELECT r.state FROM rounds_round r JOIN rounds_federatedmodel m ON m.id = r.model_id"
            " WHERE m.name = %s AND r.number = %s",
            model,
            number,
        )
        return found[0][0] if found else None

    def update_states(self, model, number=1):
        """The states of a round's updates, in alphabetical order."""
        return [
            state
            for (state,) in self.rows(
                "SELECT u.state FROM rounds_update u JOIN rounds_round r ON r.id = u.round_id"
                " JOIN rounds_federatedmodel m ON m.id = r.model_id"
                " WHERE m.name = %s AND r.number = %s ORDER BY u.state",
                model,
                number,
            )
        ]

    # --- the broker

    @contextlib.contextmanager
    def broker(self):
        """A connection to Redis."""
        with redis.Redis.from_url(self.redis.url, socket_timeout=5, socket_connect_timeout=5) as connection:
            yield connection

    def queued(self, queue):
        """How many messages wait in a queue."""
        with self.broker() as connection:
            return connection.llen(f"{PREFIX}{queue}")

    def redis_answers(self):
        """Whether there is a Redis."""
        try:
            with self.broker() as connection:
                return bool(connection.ping())
        except (redis.ConnectionError, redis.TimeoutError):
            return False

    # --- programs

    def wait_for_worker(self):
        """Wait until the worker has taken a tick: it takes messages from now on."""
        before = self.value("SELECT now()")
        self.until(
            lambda: self.count("SELECT 1 FROM aggregation_heartbeat WHERE kind = 'tick' AND at > %s", before),
            "the worker takes messages",
        )

    def mend(self):
        """Start what a test has ended, so that the next one finds a whole mesh."""
        for name, process in self.all_processes().items():
            if not process.is_running():
                self.restart(name)
        self.wait_until_ready()
        self.wait_for_worker()

    # --- who takes part in what

    def client(self, name, kind="user_device"):
        """A client that has enrolled; the same one when it is asked for again."""
        if name not in self._clients:
            self._clients[name] = self.new_client(name)
            self._clients[name].register(region="eu-west-1", kind=kind)
        return self._clients[name]

    def new_client(self, name, *, url=None, **options):
        """A client in the home of this name, as after a start of its process."""
        return FederatedClient(name, url or self.url, home=self.homes / name, **options)

    def add_models(self, count, *, parameters, target, quorum=3, max_norm=1000.0):
        """Make models of a `custom` task with one tensor, whose weights are zero, each with round 1 open."""
        folder = self.directory / "models"
        folder.mkdir(exist_ok=True)
        names = [f"model-{next(self._numbers)}" for _ in range(count)]
        safetensors.numpy.save_file({"w": np.zeros(parameters, np.float32)}, folder / "weights.safetensors")
        (folder / "model.json").write_text(json.dumps({"task": CUSTOM, "policy": policy(target, quorum, max_norm)}))
        # one process for all of them: starting it takes longer than its work
        files = {"file": str(folder / "model.json"), "weights": str(folder / "weights.safetensors")}
        self.manage(
            "shell",
            "-v0",
            "-c",
            "from pathlib import Path\n"
            "from django.core.management import call_command\n"
            f"files = {{key: Path(path) for key, path in {files!r}.items()}}\n"
            f"for name in {names!r}:\n"
            "    call_command('create_model', name=name, open=True, **files)\n",
        )
        self._models += names

    def count_fresh_models(self):
        """How many models there are that no test has used."""
        return len(self._models)

    def fresh_model(self):
        """The name of a model that no test has used."""
        return self._models.pop()


CUSTOM = {
    "kind": "custom",
    "features": [],
    "center": [],
    "scale": [],
    "clip": None,
    "target": "whatever the participant measures",
    "metric": "mse",
    "hidden": [],
    "activation": "relu",
}


def policy(target, quorum, max_norm):
    """The rules of a round that seals when `target` updates are there."""
    return {
        "mode": "robust",
        "rule": "weighted_mean",
        "max_norm": max_norm,
        "quorum": quorum,
        "target": target,
        "example_cap": 1000,
        "round_seconds": 3600,
        "replay_window_days": 30,
    }


@contextlib.contextmanager
def started(directory, *arguments, **options):
    """A mesh that has been started in a directory; everything ends with the block."""
    with RunningMesh(directory, **options) as mesh:
        mesh.start_servers()
        mesh.manage("migrate", "--noinput")
        mesh.first_start(*arguments)
        mesh.start_programs()
        mesh.wait_until_ready()
        yield mesh


@contextlib.contextmanager
def running(*arguments, name, **options):
    """The same in a directory that is removed at the end."""
    with unprivileged.temporary_directory(name) as directory, started(directory, *arguments, **options) as mesh:
        yield mesh
