"""Fixtures of the whole suite."""

import os

import pytest


@pytest.fixture(autouse=True)
def _umask_as_it_was():
    """A command that was run in this process may have set one that keeps `nobody` out of later tests' directories."""
    os.umask(0o022)
    yield
    os.umask(0o022)
