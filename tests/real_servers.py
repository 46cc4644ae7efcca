"""Pytest plugin: the suite runs against real PostgreSQL and real Redis, which live as long as it does.

Loaded by `-p tests.real_servers`, so that it works before pytest-django reads the settings. Servers that DATABASE_URL and
REDIS_URL name already are used instead. With xdist the controller starts them, and each worker process has its own database
(pytest-django), its own Redis database and its own data directory.
"""

import base64
import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest

SERVERS = ("DATABASE_URL", "REDIS_URL")
DIRECTORY = "BOLTZ_TEST_DIRECTORY"
# what a developer's shell holds must not decide what the tests see
ENVIRONMENT = {
    "DJANGO_SETTINGS_MODULE": "boltz_federated.settings",
    "SECRET_KEY": "a-secret-key-for-tests-only-that-is-long-enough-for-django",
    "BOLTZ_KEY_ENCRYPTION_KEY": base64.b64encode(bytes(range(32))).decode(),
    "ALLOWED_HOSTS": "localhost,127.0.0.1,[::1],testserver",
    "BOLTZ_DEV_MODE": "1",
    "BOLTZ_ENROLMENT": "open",
    "OPENBLAS_NUM_THREADS": "1",
}

_stack = pytest.StashKey[ExitStack]()


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Iterator[None]:
    """Start the servers, or take our share of the ones that run, before any other plugin reads the environment."""
    if worker := os.environ.get("PYTEST_XDIST_WORKER"):
        _take_share(int(worker.removeprefix("gw")) + 1)
    else:
        early_config.stash[_stack] = _start()
    try:
        return (yield)
    except BaseException:
        # pytest does not get as far as pytest_unconfigure
        _stop(early_config)
        raise


def pytest_report_header() -> str:
    """Which servers these are, without their passwords."""
    return "servers: " + ", ".join(f"{name} {urlsplit(os.environ[name]).netloc.rpartition('@')[2]}" for name in SERVERS)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """The suite has ended."""
    _stop(config)


def _stop(config: pytest.Config) -> None:
    """Stop the servers and remove what they kept."""
    if stack := config.stash.get(_stack, None):
        stack.close()


def _start() -> ExitStack:
    """Servers, directory and environment of the whole suite; closing the result ends them all.

    Raises:
        pytest.UsageError: a server did not start.
    """
    # not at the top: worker processes measure the coverage of these, so they may not be loaded before that begins
    from local_stack import unprivileged
    from local_stack.errors import StackError
    from local_stack.postgres import Postgres
    from local_stack.redis import Redis

    with ExitStack() as stack:
        directory = stack.enter_context(unprivileged.temporary_directory("tests"))
        for name in [name for name in os.environ if name.startswith("BOLTZ_") and name != "BOLTZ_VENV"]:
            del os.environ[name]
        if not all(os.environ.get(name) for name in SERVERS):
            postgres, redis = Postgres(directory, fast=True), Redis(directory, fast=True)
            stack.callback(postgres.stop)
            stack.callback(redis.stop)
            try:
                postgres.start()
                redis.start()
            except StackError as error:
                raise pytest.UsageError(str(error)) from error
            os.environ.update(DATABASE_URL=postgres.url, REDIS_URL=redis.url)
        os.environ.update(ENVIRONMENT)
        os.environ[DIRECTORY] = str(directory)
        _take_share(0)
        return stack.pop_all()


def _take_share(number: int) -> None:
    """A Redis database and a data directory for one process of the suite."""
    data = Path(os.environ[DIRECTORY]) / f"data-{number}"
    data.mkdir(mode=0o700, exist_ok=True)
    os.environ["BOLTZ_DATA_DIR"] = str(data)
    os.environ["REDIS_URL"] = urlunsplit(urlsplit(os.environ["REDIS_URL"])._replace(path=f"/{number}"))
