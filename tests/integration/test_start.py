"""What the programs do and say when something is missing at their start, and what a second start finds."""

import os

import httpx
import pytest

from boltz_client.clock import Clock
from boltz_client.errors import MeshBusyError
from local_stack import ports, programs, unprivileged
from local_stack.mesh import ROOT
from local_stack.processes import Process, Program, wait_until
from tests.integration.running_mesh import DEADLINE_SECONDS, RunningMesh, started

pytestmark = pytest.mark.processes

MODEL = "boltz-core"


@pytest.fixture
def directory():
    with unprivileged.temporary_directory("start") as made:
        yield made


@pytest.fixture
def start_alone(directory):
    """Start a program of the mesh with an environment of the test's own."""
    started = []

    def start(program, environment):
        process = Process(program, directory=directory, working_directory=ROOT)
        started.append(process)
        process.start(environment=environment)
        return process

    yield start
    for process in started:
        process.kill()


def test_without_a_secret_key_nothing_starts_and_each_program_says_why(directory, start_alone):
    environment = {
        "PATH": os.environ["PATH"],
        "DATABASE_URL": "postgresql://boltz:boltz@127.0.0.1:1/boltz",
        "REDIS_URL": "redis://127.0.0.1:1/0",
        "BOLTZ_DATA_DIR": str(directory),
        "BOLTZ_DEV_MODE": "1",
    }
    all_programs = (
        programs.web(host=ports.LOOPBACK, port=ports.free_port()),
        programs.worker(),
        programs.beat(),
        programs.reconciler(),
        Program("migrate", programs.manage("migrate")),
    )
    processes = {program.name: start_alone(program, environment) for program in all_programs}
    for process in processes.values():
        assert wait_until(
            lambda process=process: "SECRET_KEY is not set. It must be 50 or more" in process.log_tail(),
            seconds=DEADLINE_SECONDS,
        ), process.log_tail()
    for process in processes.values():
        assert wait_until(lambda process=process: not process.is_running(), seconds=DEADLINE_SECONDS)
    assert {name: process.exit_code for name, process in processes.items()} == dict.fromkeys(processes, 1)
    assert len(processes["web"].log.read_text().splitlines()) == 1


def readiness(mesh):
    """Status and body of /readyz; None while nothing answers."""
    try:
        answer = httpx.get(f"{mesh.url}/readyz", timeout=20, trust_env=False)
    except httpx.TransportError:
        return None
    return answer.status_code, answer.json()


def test_programs_that_start_before_their_servers_work_once_these_are_there(directory, make_data):
    with RunningMesh(directory) as mesh:
        # their addresses are known before they are there
        mesh.postgres.port, mesh.redis.port = ports.free_port(), ports.free_port()
        mesh.start_programs()

        away = {
            "database": "unreachable (OperationalError)",
            "redis": "unreachable (ConnectionError); messages wait for the reconciler",
        }
        assert mesh.until(lambda: readiness(mesh), "web answers") == (503, away)
        problem = httpx.get(f"{mesh.url}/api/v1/keys", timeout=20, trust_env=False)
        assert (problem.status_code, problem.json()["code"]) == (503, "database_unavailable")
        assert "Retry-After" in problem.headers
        with (
            mesh.new_client("early", clock=Clock(sleep=lambda _seconds: None)) as client,
            pytest.raises(MeshBusyError, match="busy or starting"),
        ):
            client.register(region="eu-west-1")
        assert mesh.processes["web"].is_running()
        assert mesh.processes["worker"].is_running()
        reconciler = mesh.processes["reconciler"]
        mesh.until(lambda: "the database does not answer" in reconciler.log_tail(), "the reconciler waits")
        # beat ends; whoever runs it starts it again
        mesh.until(lambda: not mesh.processes["beat"].is_running(), "beat has ended")
        assert "Connection refused" in mesh.processes["beat"].log_tail()

        mesh.postgres.start()
        mesh.manage("migrate", "--noinput")
        mesh.first_start()
        assert readiness(mesh) == (200, {"database": "ok", "redis": away["redis"]})
        mesh.client("early").participate_in_round(MODEL, make_data(seed=1))
        mesh.until(lambda: mesh.update_states(MODEL) == ["staged"], "the reconciler decides it without Redis")
        assert mesh.rows("SELECT kind FROM aggregation_heartbeat") == [("reconciler",)]

        mesh.redis.start()
        mesh.restart("beat")
        mesh.wait_for_worker()
        assert readiness(mesh) == (200, {"database": "ok", "redis": "ok"})


FACTS = {
    "clients": "SELECT id, name, kind, state FROM clients_client ORDER BY id",
    "client keys": "SELECT kid, state FROM clients_clientkey ORDER BY kid",
    "mesh keys": "SELECT kid, state FROM keys_meshkey ORDER BY kid",
    "models": "SELECT name, layout_digest FROM rounds_federatedmodel ORDER BY name",
    "versions": "SELECT number, state, weights_sha256 FROM rounds_modelversion ORDER BY model_id, number",
    "rounds": "SELECT number, state, descriptor::text FROM rounds_round ORDER BY model_id, number",
    "updates": "SELECT id, state, body_sha256 FROM rounds_update ORDER BY id",
    "admins": "SELECT username FROM auth_user",
}


def test_a_second_start_in_the_middle_of_a_round_goes_on_where_the_first_one_ended(directory, make_data):
    names = ("first", "second", "third")
    with started(directory, fast=False) as mesh:
        port = mesh.port
        for seed, name in enumerate(names[:2]):
            mesh.client(name).participate_in_round(MODEL, make_data(seed))
        mesh.until(lambda: mesh.update_states(MODEL) == ["staged", "staged"], "both are staged")
        before = {what: mesh.rows(query) for what, query in FACTS.items()}
        mesh.stop()
        assert not any(process.is_running() for process in mesh.all_processes().values())
    with started(directory, fast=False, port=port) as mesh:
        assert {what: mesh.rows(query) for what, query in FACTS.items()} == before
        mesh.client("third").participate_in_round(MODEL, make_data(2))
        assert mesh.manage("aggregate", "--model", MODEL, "--round", "1").endswith("is published as version 1\n")
        for name in names:
            with mesh.new_client(name) as client:
                assert client.status(MODEL, 1).state == "aggregated"
                assert client.pull(MODEL).manifest.members == 3
