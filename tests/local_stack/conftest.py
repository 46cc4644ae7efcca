import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def directory():
    # not at the top: the coverage of what is imported there is not measured
    from local_stack import unprivileged

    with unprivileged.temporary_directory("stack-tests") as made:
        yield made


@pytest.fixture
def python():
    """Run a script in a process of its own; it is killed at the end if the test has not seen to its end."""
    children = []

    def run(script, *arguments):
        child = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        children.append(child)
        return child

    yield run
    for child in children:
        child.kill()
        child.communicate()
