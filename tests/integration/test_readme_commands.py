"""README.md as a stranger follows it: each block runs, in order, in a copy of the repository, and so does each row of its table.

Commands that this suite runs in full elsewhere, or that would run this very suite, are shortened here.
"""

import re

import httpx
import pytest

from local_stack import ports, unprivileged
from tests.docs import documents
from tests.integration.checkout import Checkout
from tests.integration.readme_blocks import Block, blocks_to_run

pytestmark = pytest.mark.processes

UP = "./dev up"
SHORTENED = {
    # would run this test
    "./dev test": "./dev test -n0 tests/unit/core/test_grid.py",
    # .ci/run has it in full
    "./dev lint": "./dev lint spelling",
}


@pytest.fixture
def checkout():
    with unprivileged.temporary_directory("readme") as folder:
        yield Checkout(folder)


@pytest.fixture(scope="module")
def readme():
    return documents.read("README.md")


# --- the table "the document's command / ours": what is checked for each row, while the mesh is up


def sets_up(checkout, setup):
    assert checkout.run_line(setup) == ""


def migrates(checkout, migrate, up):
    assert "Running migrations" in checkout.run_line(migrate)
    assert up == UP


def serves_by_uvicorn(checkout, uvicorn, up):
    port = ports.free_port()
    with checkout.going(uvicorn.replace("8011", str(port)), "Application startup complete"):
        answer = httpx.get(f"http://{ports.LOOPBACK}:{port}/readyz", trust_env=False, timeout=60)
    assert answer.json() == {"database": "ok", "redis": "ok"}
    assert up == UP


def runs_by_celery(checkout, worker, beat, up):
    with checkout.going(f"{worker} -c 1", "[queues]", to_the_end=False):
        pass
    with checkout.going(beat, "is starting", to_the_end=False):
        pass
    assert up == UP


def aggregates(checkout, aggregate):
    # round 1 is out by now, and stays as it is
    assert "is published as version 1" in checkout.run_line(aggregate)


def trains_by_the_example(checkout, example):
    # "from any folder": with the paths of this one
    words = [str(checkout.folder / word) for word in example.split()]
    said = checkout.run(*words, "--url", f"http://localhost:{checkout.port}", folder=checkout.home)
    assert "pulled boltz-core version 1" in said
    assert "receipt: sha256" in said


def measures_coverage(checkout, test):
    checkout.run_line(f"{test} -n0 tests/unit/core/test_grid.py")
    assert (checkout.folder / "htmlcov" / "index.html").exists()


def needs_an_engine(checkout, make_env):
    assert (checkout.folder / make_env).exists()
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


def test_the_first_command_that_a_stranger_types_is_the_demo(readme, default_demo):
    assert blocks_to_run(readme)[0] == Block("bash", f"{default_demo.command}\n")
    assert default_demo.exit_code == 0, default_demo.text


def test_every_block_and_every_row_works_while_the_mesh_is_up(checkout, readme):
    blocks = blocks_to_run(readme)
    assert Block("bash", f"{UP}\n") in blocks
    lines = [line for block in blocks if block.language == "bash" for line in block.text.splitlines()]
    python = "".join(block.text for block in blocks if block.language == "python")
    (table,) = documents.tables_with(readme, "the document's command")
    with checkout.going(UP, "The mesh is up"):
        checkout.other_participants(2)
        said = checkout.run(".venv/bin/python", "-c", checkout.at_our_port(python) + "\nprint(result.decision)")
        assert said == "received\n"
        for line in lines:
            if line not in {UP, "./dev demo"}:
                checkout.run_line(SHORTENED.get(line, line))
        status = "./dev client status boltz-core --url http://localhost:8010 --name my-client"
        assert "aggregated  in version 1" in checkout.run_line(status)
        for check, ours in zip(ROWS.values(), table.column("ours"), strict=True):
            check(checkout, *re.findall(r"`([^`]+)`", ours))


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
