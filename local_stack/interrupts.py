"""Ctrl-C and its relatives: as one exception, once; or handed to a child."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_AGAIN_SECONDS = 0.02


class InterruptedBySignal(BaseException):
    """Somebody wants us to end. Like KeyboardInterrupt, it is no error."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number
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

    with _handler(interrupt), _sent_again_when_swallowed(interrupt):
        yield


@contextmanager
def _sent_again_when_swallowed(handle: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Send a signal again whose exception came where the interpreter swallows it.

    That is in finalisers, and in hooks that run at a fork: with much memory to copy a fork is long, what came meanwhile
    is handled right after it, and there logging has a hook (of 200 Ctrl-C during forks, 4 were lost).
    """
    before = sys.unraisablehook

    def look(unraisable: Any) -> None:
        interruption = unraisable.exc_value
        if not isinstance(interruption, InterruptedBySignal):
            return before(unraisable)
        for number in SIGNALS:
            signal.signal(number, handle)
        # from another thread and a moment later: raised here, it would be swallowed as well
        threading.Timer(_AGAIN_SECONDS, os.kill, (os.getpid(), interruption.number)).start()
        return None

    sys.unraisablehook = look
    try:
        yield
    finally:
        sys.unraisablehook = before


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
