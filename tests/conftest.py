"""Fixtures of the whole suite."""

import os
import sys

import pytest


@pytest.fixture(autouse=True)
def _umask_as_it_was():
    """A command that was run in this process may have set one that keeps `nobody` out of later tests' directories."""
    os.umask(0o022)
    yield
    os.umask(0o022)


@pytest.fixture(autouse=True)
def _no_connection_outlives_its_test():
    """Whoever watches for held looks keeps a connection for a while; a test database is dropped sooner than that."""
    module = sys.modules.get("apps.rounds.selectors.held_looks")
    if module is not None:
        module.HELD_LOOKS._idle_seconds = 0.02
