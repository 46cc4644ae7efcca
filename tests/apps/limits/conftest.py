"""A Redis of these tests' own, which may hang or be gone without harm to others."""

import contextlib
import signal

import pytest

from apps.limits import limiter, redis_buckets
from local_stack import unprivileged
from local_stack.redis import Redis


@pytest.fixture(scope="module")
def own_redis():
    with unprivileged.temporary_directory("limits") as directory:
        server = Redis(directory, fast=True)
        server.start()
        yield server
        server.stop()


@pytest.fixture
def hanging(own_redis, monkeypatch):
    """`with hanging():` Redis is there and says nothing; whoever asks waits for as long as in a deployment."""
    monkeypatch.setattr(limiter, "TIMEOUT_SECONDS", redis_buckets.TIMEOUT_SECONDS)

    @contextlib.contextmanager
    def hang():
        own_redis.process.send(signal.SIGSTOP)
        try:
            yield
        finally:
            own_redis.process.send(signal.SIGCONT)

    return hang
