"""What a test puts in the place of a function, or of a file, that shall fail."""

from collections.abc import Callable
from pathlib import Path
from typing import NoReturn


def raises(error: BaseException) -> Callable[..., NoReturn]:
    """A function that takes anything and raises `error`."""

    def raising(*_: object, **__: object) -> NoReturn:
        raise error

    return raising


def cannot_be_destroyed(path: Path) -> None:
    """Whoever removes this file gets an `OSError`, root too: a directory is in its place."""
    path.unlink()
    path.mkdir()


def can_be_destroyed_again(path: Path) -> None:
    """What is there now can be removed."""
    path.rmdir()
    path.touch()
