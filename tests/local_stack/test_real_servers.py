import json
import os
import subprocess
import sys
from pathlib import Path

import psycopg2
import pytest
import redis

from local_stack import processes
from local_stack.processes import wait_until

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.processes

LOOK = """
import json, os, time
from pathlib import Path
import psycopg2, redis

def test_the_servers_answer():
    psycopg2.connect(os.environ["DATABASE_URL"]).close()
    connection = redis.Redis.from_url(os.environ["REDIS_URL"])
    assert connection.ping()
    connection.close()
    names = ["DATABASE_URL", "REDIS_URL", "BOLTZ_DATA_DIR", "SECRET_KEY", "BOLTZ_TICK_SECONDS"]
    seen = {name: os.environ.get(name) for name in names} | {"made": Path(os.environ["BOLTZ_DATA_DIR"]).is_dir()}
    seen["servers"] = [int(path.name) for path in Path("/proc").glob("[0-9]*") if parent(path) == OWNER] if OWNER else []
    Path(f"seen-{os.environ.get('PYTEST_XDIST_WORKER', 'alone')}").write_text(json.dumps(seen))
    while Path("wait").exists():
        time.sleep(0.02)

def parent(path):
    try:
        return int((path / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0

OWNER = 0 if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()
test_once_more = test_the_servers_answer
"""


@pytest.fixture
def suite(tmp_path):
    (tmp_path / "test_look.py").write_text(LOOK)
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = -p tests.real_servers -p no:django -p no:cacheprovider\n")
    return tmp_path


def start(suite, *arguments, **environment):
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "BOLTZ", "COV_"))}
    for name in ("DATABASE_URL", "REDIS_URL"):
        inherited.pop(name)
    return subprocess.Popen(
        [sys.executable, "-m", "pytest", *arguments],
        cwd=suite,
        env=inherited | {"PYTHONPATH": str(ROOT)} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run(suite, *arguments, **environment):
    child = start(suite, *arguments, **environment)
    output, _ = child.communicate(timeout=120)
    assert child.returncode == 0, output
    return output


def seen(suite, worker="alone"):
    return json.loads((suite / f"seen-{worker}").read_text())


def answers(url):
    try:
        psycopg2.connect(url).close()
    except psycopg2.OperationalError:
        return False
    return True


def test_a_suite_gets_real_servers_and_leaves_none(suite):
    output = run(suite)
    found = seen(suite)
    assert len(found["servers"]) == 2
    assert not any(map(processes._started_at, found["servers"]))
    assert found["made"]
    assert not Path(found["BOLTZ_DATA_DIR"]).exists()
    assert "servers: DATABASE_URL 127.0.0.1:" in output


def test_no_password_of_the_servers_is_printed(suite):
    output = run(suite)
    password = seen(suite)["DATABASE_URL"].partition("boltz:")[2].partition("@")[0]
    assert len(password) > 20
    assert password not in output


def test_worker_processes_share_the_servers_and_nothing_in_them(suite):
    run(suite, "-n", "2", "--dist", "each")
    first, second = seen(suite, "gw0"), seen(suite, "gw1")
    assert first["DATABASE_URL"] == second["DATABASE_URL"]
    assert first["REDIS_URL"].rpartition("/")[0] == second["REDIS_URL"].rpartition("/")[0]
    assert first["REDIS_URL"] != second["REDIS_URL"]
    assert first["BOLTZ_DATA_DIR"] != second["BOLTZ_DATA_DIR"]


def test_what_the_developers_shell_holds_does_not_decide_what_tests_see(suite):
    run(suite, BOLTZ_TICK_SECONDS="77", SECRET_KEY="real")
    assert seen(suite)["BOLTZ_TICK_SECONDS"] is None
    assert seen(suite)["SECRET_KEY"] != "real"


def test_servers_that_the_environment_names_are_used(suite):
    run(suite, DATABASE_URL=os.environ["DATABASE_URL"], REDIS_URL=os.environ["REDIS_URL"])
    assert seen(suite)["DATABASE_URL"] == os.environ["DATABASE_URL"]
    assert seen(suite)["servers"] == []


def test_a_suite_that_is_killed_leaves_no_server(suite):
    (suite / "wait").touch()
    child = start(suite)
    assert wait_until(lambda: (suite / "seen-alone").exists() and seen_whole(suite), seconds=60)
    servers = seen(suite)["servers"]
    assert answers(seen(suite)["DATABASE_URL"])
    child.kill()
    child.communicate()
    assert wait_until(lambda: not any(map(processes._started_at, servers)), seconds=20)


def seen_whole(suite):
    try:
        return bool(seen(suite))
    except json.JSONDecodeError:
        return False


def test_a_suite_that_fails_before_its_first_test_leaves_no_server_and_no_directory(suite):
    (suite / "conftest.py").write_text(
        "import os; print(os.environ['BOLTZ_DATA_DIR'], os.environ['REDIS_URL']); oops\n"
    )
    child = start(suite, "-s", "test_look.py")
    output, _ = child.communicate(timeout=120)
    assert child.returncode != 0
    data, url = next(line for line in output.splitlines() if "redis://" in line).split()
    assert not Path(data).exists()
    with redis.Redis.from_url(url) as connection, pytest.raises(redis.ConnectionError):
        connection.ping()


def test_a_server_that_does_not_start_is_said_in_a_line(suite):
    (suite / "early.py").write_text("from local_stack import postgres\npostgres.START_SECONDS = -1.0\n")
    child = start(suite, "-p", "early", PYTHONPATH=f"{ROOT}{os.pathsep}{suite}")
    output, _ = child.communicate(timeout=120)
    assert child.returncode == pytest.ExitCode.USAGE_ERROR
    assert "PostgreSQL was not ready" in output
    assert "Traceback" not in output
