"""What a test puts in the place of a function that shall fail."""

from collections.abc import Callable
from typing import NoReturn


def raises(error: BaseException) -> Callable[..., NoReturn]:
    """A function that takes anything and raises `error`."""

    def raising(*_: object, **__: object) -> NoReturn:
        raise error

    return raising
