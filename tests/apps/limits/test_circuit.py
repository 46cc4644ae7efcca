"""Redis that is away is left alone after some failures, with an alarm, and asked again once it is back."""

import threading
import time

import pytest

from apps.limits.circuit import FAILURES, Circuit
from apps.limits.redis_buckets import RedisAwayError

AWAY = RedisAwayError("TimeoutError")


class Probe:
    """A Redis as the circuit sees it."""

    def __init__(self):
        self.answers = False
        self.asked = threading.Semaphore(0)

    def __call__(self):
        self.asked.release()
        if not self.answers:
            raise AWAY


@pytest.fixture
def probe():
    return Probe()


@pytest.fixture
def circuit(probe):
    made = Circuit(probe, retry_seconds=0.01)
    yield made
    made.stop()


def until(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def fail(circuit, times=FAILURES):
    for _ in range(times):
        circuit.failed(AWAY)


def test_one_slow_answer_opens_nothing(circuit):
    fail(circuit, FAILURES - 1)
    circuit.succeeded()
    fail(circuit, FAILURES - 1)
    assert not circuit.is_open


def test_failures_in_a_row_open_it_and_raise_the_alarm_once(circuit, caplog):
    fail(circuit, 10)
    assert circuit.is_open
    assert caplog.text.count("rate limits fail open: Redis does not answer (TimeoutError)") == 1
    assert caplog.records[0].levelname == "ERROR"


def test_it_stays_open_for_as_long_as_redis_is_away(circuit, probe):
    fail(circuit)
    for _ in range(3):
        assert probe.asked.acquire(timeout=10)
    assert circuit.is_open


def test_it_closes_by_itself_and_says_how_much_was_not_limited(circuit, probe, caplog):
    fail(circuit)
    for _ in range(7):
        circuit.count_unlimited()
    probe.answers = True
    until(lambda: not circuit.is_open)
    until(lambda: "rate limits hold again" in caplog.text)
    assert "and 7 requests" in caplog.text


def test_a_pause_passes_before_redis_is_asked_again(probe):
    patient = Circuit(probe, retry_seconds=3600)
    probe.answers = True
    fail(patient)
    assert not probe.asked.acquire(timeout=0.05)
    assert patient.is_open
    patient.stop()


def test_a_web_server_looks_though_nobody_asks(circuit, probe):
    alive = threading.Event()
    probe.answers = True
    circuit.watch(alive.set)
    assert alive.wait(10)


def test_no_heartbeat_is_written_while_redis_is_away(circuit, probe):
    alive = threading.Event()
    circuit.watch(alive.set)
    fail(circuit)
    for _ in range(3):
        assert probe.asked.acquire(timeout=10)
    assert not alive.is_set()
    probe.answers = True
    assert alive.wait(10)


def test_a_heartbeat_that_fails_does_not_keep_the_circuit_open(circuit, probe, caplog):
    def broken():
        raise RuntimeError("no database")

    probe.answers = True
    circuit.watch(broken)
    fail(circuit)
    until(lambda: not circuit.is_open)
    fail(circuit)
    until(lambda: not circuit.is_open)
    assert "whoever was to hear that Redis answers has failed" in caplog.text
