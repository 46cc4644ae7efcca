"""README.md as a stranger follows it: each block runs, in order, in a copy of the repository, and so does each row of its table.

Commands that this suite runs in full elsewhere, or that would run this very suite, are shortened here.
"""

import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest

from boltz_client import FederatedClient
from local_stack import ports, unprivileged
from local_stack.mesh import ROOT
from local_stack.processes import Process, Program, wait_until
from tests.docs import documents
from tests.integration.readme_blocks import Block, blocks_to_run
from tests.integration.running_mesh import DEADLINE_SECONDS

pytestmark = pytest.mark.processes

NOT_COPIED = shutil.ignore_patterns(
    ".*cache*", ".git", ".venv", ".boltz", "__pycache__", ".hypothesis", ".coverage*", "htmlcov"
)
# of the shell in which the suite runs
FOREIGN = (
    "BOLTZ_",
    "DJANGO_",
    "PYTEST_",
    "COV_",
    "DATABASE_URL",
    "REDIS_URL",
    "SECRET_KEY",
    "ALLOWED_HOSTS",
    "PYTHONPATH",
)
UP = "./dev up"
SHORTENED = {
    # in full in test_demo.py
    "./dev demo": "./dev demo --rounds 1 --clients 3 --port 0",
    # would run this test
    "./dev test": "./dev test -n0 tests/unit/core/test_grid.py",
    # .ci/run has it in full
    "./dev lint": "./dev lint spelling",
}


class Checkout:
    """A copy of the repository with its .venv, in which commands run as a stranger's would."""

    def __init__(self, folder):
        self.folder = folder / "checkout"
        self.home = folder / "home"
        self.home.mkdir()
        self.port = ports.free_port()
        shutil.copytree(ROOT, self.folder, ignore=NOT_COPIED)
        self._make_venv()
        self._up = None

    def _make_venv(self):
        """What `./dev setup` would make, out of the environment that runs this test."""
        venv = self.folder / ".venv"
        venv.mkdir()
        for name in ("bin", "lib", "pyvenv.cfg"):
            (venv / name).symlink_to(Path(sys.prefix) / name)
        # as ./dev computes it, so that it does not install everything again
        lock = (self.folder / "requirements-dev.txt").read_bytes()
        stamp = hashlib.sha256(lock + sys.version.encode() + str(self.folder).encode())
        (venv / ".stamp").write_text(stamp.hexdigest())

    @property
    def environment(self):
        own = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
        path = f"{self.folder / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}"
        return own | {
            "HOME": str(self.home),
            "PATH": path,
            "BOLTZ_PORT": str(self.port),
            "PYTHONPATH": str(self.folder),
        }

    def run(self, *command, folder=None):
        """Run a command to its end; returns what it printed."""
        ended = subprocess.run(
            command,
            cwd=folder or self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, f"{command} ended with {ended.returncode}:\n{ended.stdout}"
        return ended.stdout

    def run_line(self, line, **options):
        """Run a line of a shell, at the port of this checkout's mesh."""
        return self.run("bash", "-euo", "pipefail", "-c", self.at_our_port(SHORTENED.get(line, line)), **options)

    def at_our_port(self, text):
        return text.replace("localhost:8010", f"localhost:{self.port}")

    @contextmanager
    def going(self, line, what, *, to_the_end=True):
        """A command that goes on until it is interrupted, once it has said `what`; or killed, to save its farewell."""
        name = hashlib.sha256(line.encode()).hexdigest()[:8]
        process = Process(
            Program(name, ("bash", "-c", f"exec {line}")), directory=self.home, working_directory=self.folder
        )
        process.start(environment=self.environment)
        try:
            assert wait_until(
                lambda: what in process.log.read_text() or not process.is_running(), seconds=DEADLINE_SECONDS
            ), process.log_tail()
            process.require_running()
            yield process
        finally:
            if to_the_end:
                # Ctrl-C on a terminal reaches the whole group
                process.send_to_group(signal.SIGINT)
                ended = wait_until(lambda: not process.is_running(), seconds=DEADLINE_SECONDS)
            process.kill()
        assert not to_the_end or ended, process.log_tail()

    def other_participants(self, count):
        """The mesh's other clients, without whom a round does not reach its quorum."""
        random = np.random.default_rng(1)
        for number in range(count):
            name = f"other-{number}"
            with FederatedClient(name, f"http://localhost:{self.port}", home=self.home / name) as client:
                client.register(region="eu-west-1")
                data = {"X": random.normal(size=(50, 9)) * 0.3, "y": random.normal(size=50) * 0.1}
                client.participate_in_round("boltz-core", data)


@pytest.fixture
def checkout():
    with unprivileged.temporary_directory("readme") as folder:
        yield Checkout(folder)


@pytest.fixture(scope="module")
def readme():
    return documents.read("README.md")


# --- the table "the document's command / ours": what is checked for each row, while the mesh is up


def sets_up(checkout):
    assert checkout.run_line("./dev setup") == ""


def migrates(checkout):
    assert "Running migrations" in checkout.run_line("./dev manage migrate")


def serves_by_uvicorn(checkout):
    port = ports.free_port()
    command = f"python -m local_stack run -- uvicorn boltz_federated.asgi:application --port {port}"
    with checkout.going(command, "Application startup complete"):
        answer = httpx.get(f"http://{ports.LOOPBACK}:{port}/readyz", trust_env=False, timeout=60)
    assert answer.json() == {"database": "ok", "redis": "ok"}


def runs_by_celery(checkout):
    command = "python -m local_stack run -- celery -A worker.celery:app"
    with checkout.going(f"{command} worker -c 1", "[queues]", to_the_end=False):
        pass
    with checkout.going(f"{command} beat", "is starting", to_the_end=False):
        pass


def aggregates(checkout):
    # round 1 is out by now, and stays as it is
    assert "is published as version 1" in checkout.run_line("./dev manage aggregate --model boltz-core --round 1")


def trains_by_the_example(checkout):
    python = str(checkout.folder / ".venv" / "bin" / "python")
    script = str(checkout.folder / "client" / "example_local_train.py")
    said = checkout.run(python, script, "--url", f"http://localhost:{checkout.port}", folder=checkout.home)
    assert "pulled boltz-core version 1" in said
    assert "receipt: sha256" in said


def measures_coverage(checkout):
    checkout.run_line("pytest -q --cov=. --cov-report=html -n0 tests/unit/core/test_grid.py")
    assert (checkout.folder / "htmlcov" / "index.html").exists()


def needs_an_engine(checkout):
    # tests/local_stack/test_compose.py starts each service's command line, as written, on the embedded servers
    assert (checkout.folder / "docker-compose.yml").exists()


ROWS = {
    "pip install -r requirements.txt": sets_up,
    "python manage.py migrate": migrates,
    "uvicorn boltz_federated.asgi:application --port 8010": serves_by_uvicorn,
    "celery -A worker.celery:app worker": runs_by_celery,
    "python manage.py aggregate --model boltz-core --round 1": aggregates,
    "python client/example_local_train.py": trains_by_the_example,
    "docker compose up": needs_an_engine,
    "pytest -q --cov=. --cov-report=html": measures_coverage,
}


def test_every_row_of_the_table_has_a_check(readme):
    (table,) = documents.tables_with(readme, "the document's command")
    commands = [re.match(r"`([^`]+)`", cell)[1] for cell in table.column("the document's command")]
    assert commands == list(ROWS)


def test_the_demo_runs_as_the_readme_says(checkout, readme):
    assert blocks_to_run(readme)[0] == Block("bash", "./dev demo\n")
    checkout.run_line("./dev demo")
    assert (checkout.folder / "demo-report.html").exists()


def test_every_block_and_every_row_works_while_the_mesh_is_up(checkout, readme):
    blocks = blocks_to_run(readme)
    assert Block("bash", f"{UP}\n") in blocks
    lines = [line for block in blocks if block.language == "bash" for line in block.text.splitlines()]
    python = "".join(block.text for block in blocks if block.language == "python")
    with checkout.going(UP, "The mesh is up"):
        checkout.other_participants(2)
        said = checkout.run(".venv/bin/python", "-c", checkout.at_our_port(python) + "\nprint(result.decision)")
        assert said == "received\n"
        for line in lines:
            if line not in {UP, "./dev demo"}:
                checkout.run_line(line)
        status = "./dev client status boltz-core --url http://localhost:8010 --name my-client"
        assert "aggregated  in version 1" in checkout.run_line(status)
        for check in ROWS.values():
            check(checkout)


# --- the extraction itself

EXAMPLE = """
```bash
./dev demo
```
```text
what it prints
```
<!-- test: skip no engine here -->
```bash
docker compose up
```
```python
x = 1
```
"""


def test_blocks_to_be_run_are_found_in_order():
    assert blocks_to_run(EXAMPLE) == [Block("bash", "./dev demo\n"), Block("python", "x = 1\n")]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("```\nls\n```", "a block is tagged ''"),
        ("```sh\nls\n```", "a block is tagged 'sh'"),
        ("<!-- test: skip too slow -->\n```bash\n./dev demo\n```", "skipped"),
        ("<!-- test: skip no engine -->\n```bash\ndocker compose up\n./dev demo\n```", "skipped"),
    ],
)
def test_a_block_that_would_not_be_run_is_refused(text, why):
    with pytest.raises(ValueError, match=why):
        blocks_to_run(text)
