"""Limits in tests: every test begins with full buckets, and may have a Redis that is away."""

import uuid

import pytest

from apps.limits import limiter as limits

PATIENT_SECONDS = 10.0


@pytest.fixture(autouse=True)
def _full_buckets(settings, monkeypatch):
    """All of the suite comes from one address; what one test uses up is not the next one's to miss.

    A busy machine is no Redis that hangs: tests of that set the real time-out.
    """
    monkeypatch.setattr(limits, "TIMEOUT_SECONDS", PATIENT_SECONDS)
    settings.BOLTZ_REDIS_PREFIX = f"test-{uuid.uuid4().hex}:"
    limits.limiter.cache_clear()
    yield
    limits.limiter().close()
    limits.limiter.cache_clear()
