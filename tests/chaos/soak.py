"""A random soak: a mesh, clients, faults and operators, all drawn from one seed; invariants checked throughout.

The seed decides what is done, in which order and with which pauses. What the mesh makes of it also depends on how fast
the machine is: a seed shows again what it has shown, as a rule, not always at the same place.
"""

import contextlib
import json
import shutil
import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import psycopg2
import safetensors.numpy

from tests.chaos import soak_end, soak_plan
from tests.chaos.soak_breaks import Breaks
from tests.chaos.soak_checks import RoundChecks
from tests.chaos.soak_clients import Participant
from tests.chaos.soak_faults import Faults
from tests.chaos.soak_journal import Journal
from tests.chaos.soak_ledger import Ledger
from tests.chaos.soak_operators import Operators
from tests.integration.running_mesh import CUSTOM, running
from tests.integration.tcp_proxy import Proxy

CLIENTS = 6
SEGMENT = 16_384
# one range; three, with segments that go after the round; two, of which one is short
MODELS = {
    "soak-one": (5_000, {"round_seconds": 6, "target": 6, "quorum": 2}),
    "soak-three": (2 * SEGMENT + 5, {"round_seconds": 10, "target": 4, "quorum": 2, "replay_window_days": 0}),
    "soak-two": (SEGMENT + 1, {"round_seconds": 8, "target": 5, "quorum": 3, "example_cap": 100}),
}
POLICY = {
    "mode": "robust",
    "rule": "weighted_mean",
    "max_norm": 1000.0,
    "example_cap": 1000,
    "replay_window_days": 30,
}
JOIN_SECONDS = 150.0
LOOK_SECONDS = 1.0


@dataclass
class Soak:
    """What its parts share. `models` has the number of parameters of each, `names` what each client is called now."""

    seed: int
    mesh: Any
    journal: Journal
    ledger: Ledger
    clients: int = CLIENTS
    models: dict[str, int] = field(default_factory=lambda: {name: size for name, (size, _) in MODELS.items()})
    names: dict[int, str] = field(default_factory=dict)

    def round_state(self, model, number):
        """The state of a round; "open" while the database is away."""
        try:
            return self.mesh.round_state(model, number)
        except psycopg2.OperationalError:
            return "open"


def run(*, seed, seconds, folder):
    """Soak a mesh for some seconds; returns what came of it, in numbers.

    The journal is written to `folder`; when something does not hold, the programs' logs are kept there too.

    Raises:
        SoakFailedError: something does not hold; tells what, and the seed.
    """
    journal = Journal(folder, seed=seed)
    settings = {"BOLTZ_SHARD_PARAMETERS": str(SEGMENT)}
    with contextlib.closing(journal), running("--no-model", name="soak", fast=False, settings=settings) as mesh:
        soak = Soak(seed, mesh, journal, Ledger(mesh.homes))
        with journal.judging("soak"):
            make_models(mesh)
            act_out(soak, seconds)
            bring_to_an_end(soak)
        if journal.failures:
            shutil.copytree(mesh.directory / "log", folder / "log", dirs_exist_ok=True)
        journal.raise_failures()
        return summary(soak)


def make_models(mesh):
    """Models that keep themselves open, with rounds of a few seconds."""
    folder = mesh.directory / "models"
    folder.mkdir()
    for name, (parameters, rules) in MODELS.items():
        files = [folder / f"{name}.safetensors", folder / f"{name}.json"]
        safetensors.numpy.save_file({"w": np.zeros(parameters, np.float32)}, files[0])
        files[1].write_text(json.dumps({"task": CUSTOM, "policy": POLICY | rules}))
        options = ["--name", name, "--weights", str(files[0]), "--file", str(files[1])]
        mesh.manage("create_model", *options, "--keep-open", "--open")


def act_out(soak, seconds):
    """Let everybody act until the time is up, or something does not hold."""
    over, faults = soak.journal.over, Faults(soak)
    with contextlib.ExitStack() as proxies:
        threads = [
            *(threading.Thread(target=client.run, daemon=True) for client in participants(soak, proxies)),
            threading.Thread(target=run_operators, args=(soak,), daemon=True),
            threading.Thread(target=check_throughout, args=(soak,), daemon=True),
        ]
        timer = threading.Timer(seconds, over.set)
        try:
            for thread in (timer, *threads):
                thread.start()
            strikes = soak_plan.strikes(soak.seed)
            while not over.is_set():
                faults.strike(next(strikes))
        finally:
            over.set()
            timer.cancel()
        soak.journal.write("soak", "mends everything")
        faults.mend()
        for thread in threads:
            thread.join(JOIN_SECONDS)
            assert not thread.is_alive(), "a client or an operator does not come to its end"


def participants(soak, proxies):
    """The clients; every other one reaches the mesh through a proxy, which breaks connections."""
    for index in range(soak.clients):
        if index % 2:
            breaks = Breaks(soak.journal.write)
            proxy = Proxy(soak.mesh.port, let_request=breaks.let_request, let_answer=breaks.let_answer, recording=False)
            yield Participant(soak, index, proxies.enter_context(proxy).url, breaks)
        else:
            yield Participant(soak, index, soak.mesh.url)


def run_operators(soak):
    """The operators' thread."""
    Operators(soak).run(soak_plan.actions(soak.seed, models=tuple(soak.models), clients=soak.clients))


def check_throughout(soak):
    """Check each round once it has ended, as soon as the database can be asked."""
    checks, checked = RoundChecks(soak), set()
    with soak.journal.judging("checks"):
        while not soak.journal.over.wait(LOOK_SECONDS):
            with contextlib.suppress(psycopg2.OperationalError):
                check_rounds(soak, checks, checked)


def check_rounds(soak, checks, checked):
    """Check the rounds that have ended and were not checked before."""
    for round_ in checks.ended_rounds():
        if round_.id not in checked:
            checks.check(round_)
            checked.add(round_.id)
            soak.journal.write("checks", round_.state, round=round_.label)


def bring_to_an_end(soak):
    """Everything comes to its end by itself; then all of it is checked, once more."""
    if soak.journal.failures:
        return
    soak_end.wait_until_settled(soak.mesh, soak.journal)
    check_rounds(soak, RoundChecks(soak), set())
    soak_end.check_end(soak.mesh, soak.ledger.names())


def summary(soak):
    """Rounds and updates by their state, and what was done by its kind."""
    counted = {
        "rounds": dict(soak.mesh.rows("SELECT state, count(*) FROM rounds_round GROUP BY state")),
        "updates": dict(soak.mesh.rows("SELECT state, count(*) FROM rounds_update GROUP BY state")),
    }
    for who in ("fault", "operator", "supervisor"):
        counted[f"{who}s"] = dict(Counter({what: n for (one, what), n in soak.journal.counts.items() if one == who}))
    return counted
