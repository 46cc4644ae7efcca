"""Data minimisation: what is planted in X and y is in no byte sent, logged or stored, on either side.

Three participants in processes of their own, with logs at their most talkative, take part through a proxy that records
every byte. Then everything that both sides have written is searched: traffic, files (among them the database's own and
its write-ahead log), rows, the broker's keys, and all that any process has printed.
"""

import base64
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from local_stack.mesh import ROOT
from tests.integration.canaries import Search
from tests.integration.running_mesh import running
from tests.integration.tcp_proxy import Proxy

pytestmark = pytest.mark.processes

ROWS = 40
# within four spreads of each feature's centre, so that scaling does not clip them; three for each way into the mesh
SPREADS = (
    (1.73918273645546, -2.61803398874989, 0.57721566490153),
    (3.35988566624318, -1.32471795724475, 0.91596559417722),
    (2.50290787509589, -3.27582291872181, 0.66274341934918),
)
TARGETS = (0.33661283654271, -0.69314718055994, 1.20205690315959)
INTEGERS = (70_368_745_123_457, 8_134_072_951_623)
FREE_FLOATS = (-48_271.30957264513, 0.00054881163609403)
STRINGS = ("acct-QX7391-Kestrel", "Zürich/Heron\t5520", "ISIN:XS1742098836")


class Planted:
    """Data of three participants with their canaries, and the canaries: raw, and as the model scales them."""

    def __init__(self, task, make_data):
        self.canaries = [*TARGETS, *INTEGERS, *FREE_FLOATS, *STRINGS]
        self.frames = {}
        for number, name in enumerate(("by-pandas", "by-shell", "by-both")):
            data = make_data(number, rows=ROWS)
            frame = pd.DataFrame(data["X"], columns=task["features"])
            frame.index = pd.Index([STRINGS[0], STRINGS[1], *map(str, range(2, ROWS))])
            frame["target"] = data["y"]
            for row, spread in enumerate(SPREADS[number]):
                column = (row + 3 * number) % len(task["features"])
                value = task["center"][column] + task["scale"][column] * spread
                frame.iloc[row, column] = value
                # raw, and as the model sees it
                self.canaries += [value, (value - task["center"][column]) / task["scale"][column]]
            frame.iloc[row, -1] = TARGETS[number]
            self.frames[name] = frame
        free = np.zeros((ROWS, 3))
        free[1] = [*INTEGERS, FREE_FLOATS[0]]
        self.free = pd.DataFrame(free).assign(target=np.where(np.arange(ROWS) == 3, FREE_FLOATS[1], 0.0))

    def write_csv(self, path, task):
        """The shell's file: the model's columns, and one that the participant leaves out."""
        frame = self.frames["by-shell"].rename(columns={"target": task["target"]})
        frame.insert(3, "account", [STRINGS[2]] * ROWS)
        frame.to_csv(path, index=False, float_format="%.17g")


def run(*arguments, folder):
    """Run a participant's program; returns its exit code and all that it printed."""
    environment = os.environ | {"TMPDIR": str(folder), "PYTHONPATH": str(ROOT)}
    ended = subprocess.run([sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, check=False)
    return ended.returncode, ended.stdout + ended.stderr


@pytest.fixture(scope="module")
def planted(starter_task, make_data):
    return Planted(starter_task, make_data)


@pytest.fixture(scope="module")
def world(planted, starter_task, tmp_path_factory):
    """The mesh after two published rounds, the proxy with all traffic, and what the participants have printed."""
    private = tmp_path_factory.mktemp("participants")
    settings = {"LOG_LEVEL": "DEBUG"}
    with running(name="canaries", fast=False, settings=settings) as mesh, Proxy(mesh.port) as proxy:
        temporary = mesh.directory / "tmp"
        temporary.mkdir()
        mesh.add_models(1, parameters=50_000, target=1, quorum=1)
        custom = mesh.fresh_model()
        printed = {}

        def participant(name, frame, *more):
            path = private / f"{name}.csv"
            frame.to_csv(path, float_format="%.17g")
            who = ("--url", proxy.url, "--name", name, "--home", str(mesh.homes / name), "--data", str(path))
            code, said = run(str(Path(__file__).with_name("canary_client.py")), *who, *more, folder=temporary)
            assert code == 0, said.decode()
            printed[name] = said

        participant("by-pandas", planted.frames["by-pandas"], "--models", "boltz-core")
        participant("by-both", planted.frames["by-both"], "--models", "boltz-core")
        participant("freely", planted.free, "--models", custom, "--custom")

        planted.write_csv(private / "shell.csv", starter_task)
        who = ("--url", proxy.url, "--name", "by-shell", "--home", str(mesh.homes / "by-shell"))
        join = ("join", *who, "boltz-core", "--data", str(private / "shell.csv"), "--target", starter_task["target"])
        commands = {
            "register": (0, ("register", *who, "--region", "eu-west-1")),
            "join-with-a-word": (2, join),
            "join": (0, (*join, "--ignore", "account", "--json")),
        }
        for name, (expected, command) in commands.items():
            code, printed[f"shell {name}"] = run("-m", "boltz_client", *command, folder=temporary)
            assert code == expected, printed[f"shell {name}"].decode()

        mesh.manage("aggregate", "--model", "boltz-core", "--round", "1")
        mesh.until(lambda: mesh.round_state(custom) == "published", "the other model's round is published")
        yield mesh, proxy, printed


def places(world):
    """Everything that was written anywhere, by where it is."""
    mesh, proxy, printed = world
    yield "sent", bytes(proxy.sent)
    yield "received", bytes(proxy.received)
    for name, said in printed.items():
        yield f"printed by {name}", said
    with mesh.session(autocommit=True) as cursor:
        cursor.execute("CHECKPOINT")
    with mesh.broker() as broker:
        broker.save()
        for key in broker.scan_iter():
            yield f"redis {key!r}", key + b" " + content_of(broker, key)
    tables = mesh.rows(
        "SELECT table_schema, table_name FROM information_schema.tables"
        " WHERE table_type = 'BASE TABLE' AND table_schema NOT IN ('pg_catalog', 'information_schema')"
    )
    for schema, table in tables:
        for row in mesh.rows(f'SELECT * FROM "{schema}"."{table}"'):
            yield f"row of {table}", b"\n".join(map(bytes_of, row))
    contents = {}
    for folder in {mesh.directory, (mesh.directory / "postgres").resolve()}:
        for path in folder.rglob("*"):
            if path.is_file():
                raw = path.read_bytes()
                # a new cluster has most of its files three times
                contents[hashlib.sha256(raw).digest()] = (f"file {path.relative_to(folder)}", raw)
    yield from contents.values()


def content_of(broker, key):
    """All that lies under a key of Redis, whatever its type."""
    match broker.type(key):
        case b"string":
            return broker.get(key) or b""
        case b"list":
            return b"\n".join(broker.lrange(key, 0, -1))
        case b"hash":
            return b"\n".join(part for pair in broker.hgetall(key).items() for part in pair)
        case b"set":
            return b"\n".join(broker.smembers(key))
        case b"zset":
            return b"\n".join(broker.zrange(key, 0, -1))
        case b"none":  # the bucket of a limit has expired since its key was listed
            return b""
        case other:
            raise AssertionError(f"{key!r} is a {other!r}")


def bytes_of(value):
    """A value of a row as bytes."""
    if isinstance(value, memoryview):
        return bytes(value)
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False).encode()
    return str(value).encode()


def leaks(search, world):
    """Where which canary was found, in which spelling."""
    found = {}
    for place, raw in places(world):
        for needle in search.find(raw):
            found.setdefault(place, []).append(f"{needle.canary!r} as {needle.spelling}")
    return found


def test_planted_values_are_nowhere(planted, world):
    assert leaks(Search(planted.canaries), world) == {}


def test_what_is_planted_in_any_place_is_found_there(world):
    mesh, proxy, printed = world
    secret = Search(["a-word-of-the-control"])
    assert leaks(secret, world) == {}
    with mesh.session(autocommit=True) as cursor:
        cursor.execute("CREATE TABLE control (content bytea)")
        cursor.execute("INSERT INTO control VALUES (%s)", [b"a-word-of-the-control"])
    with mesh.broker() as broker:
        broker.rpush("control", "a-word-of-the-control")
    (mesh.homes / "control").write_bytes(base64.b64encode(b"xa-word-of-the-control"))
    proxy.sent.extend(b"a-word-of-the-control")
    proxy.received.extend(b"a-word-of-the-control".hex().encode())
    printed["control"] = b"a-word-of-the-control"
    leaking = set(leaks(secret, world))
    assert {"sent", "received", "printed by control", "redis b'control'", "row of control"} <= leaking
    files = {place.removeprefix("file ") for place in leaking if place.startswith("file ")}
    assert "homes/control" in files
    # the table itself, the write-ahead log, and both of what Redis keeps
    for part in ("base/", "pg_wal/", "appendonlydir/"):
        assert [file for file in files if part in file], part
