import os
import signal

import pytest

from local_stack.interrupts import SIGNALS, InterruptedBySignal, handed_to, one_interruption


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
