"""Ctrl-C and its relatives: as one exception, once; or handed to a child."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class InterruptedBySignal(BaseException):
    """Somebody wants us to end. Like KeyboardInterrupt, it is no error."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


@contextmanager
def one_interruption() -> Iterator[None]:
    """Turn the first of the signals into InterruptedBySignal and ignore the others.

    What stops may not be stopped half-way; so whatever follows the first signal must be bounded in time.
    """

    def interrupt(number: int, _frame: FrameType | None) -> NoReturn:
        for other in SIGNALS:
            signal.signal(other, signal.SIG_IGN)
        raise InterruptedBySignal(number)

    with _handler(interrupt):
        yield


@contextmanager
def handed_to(send: Callable[[int], Any]) -> Iterator[None]:
    """Hand the signals on instead of ending; but SIGINT, which a terminal sends to the whole group anyway."""

    def hand_on(number: int, _frame: FrameType | None) -> None:
        if number != signal.SIGINT:
            send(number)

    with _handler(hand_on):
        yield


@contextmanager
def _handler(handle: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    before = {number: signal.signal(number, handle) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
