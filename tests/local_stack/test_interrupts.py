import os
import signal
import sys

import pytest

from local_stack.interrupts import SIGNALS, InterruptedBySignal, handed_to, one_interruption
from local_stack.processes import wait_until


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_arrives_as_an_exception_with_the_shells_exit_code(number):
    with pytest.raises(InterruptedBySignal) as interruption, one_interruption():
        os.kill(os.getpid(), number)
    assert interruption.value.exit_code == 128 + number


def test_what_is_being_stopped_is_not_interrupted_a_second_time():
    finished = []

    def stop_slowly():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            for number in SIGNALS:
                os.kill(os.getpid(), number)
            finished.append(True)

    with pytest.raises(InterruptedBySignal), one_interruption():
        stop_slowly()
    assert finished


def test_the_handlers_of_before_are_back_afterwards():
    before = [signal.getsignal(number) for number in SIGNALS]
    with one_interruption(), handed_to(print):
        pass
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_signals_are_handed_on_but_for_the_terminals_own():
    sent = []
    with handed_to(sent.append):
        for number in SIGNALS:
            os.kill(os.getpid(), number)
    assert sent == [signal.SIGTERM, signal.SIGHUP]


class InterruptedInItsFinaliser:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)


def test_a_signal_that_the_interpreter_swallows_arrives_all_the_same():
    def finalise_and_go_on():
        InterruptedInItsFinaliser()
        wait_until(lambda: False, seconds=30)

    with pytest.raises(InterruptedBySignal, match="SIGTERM"), one_interruption():
        finalise_and_go_on()


def test_other_swallowed_errors_are_reported_as_ever(monkeypatch):
    class Broken:
        def __del__(self):
            raise ValueError("in a finaliser")

    seen = []
    monkeypatch.setattr("sys.unraisablehook", seen.append)
    with one_interruption():
        Broken()
    assert [str(unraisable.exc_value) for unraisable in seen] == ["in a finaliser"]
    assert sys.unraisablehook == seen.append
