"""Who runs the servers of a directory: one process at a time, told apart by a lock that ends with its holder."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from local_stack.errors import StackError
from local_stack.unprivileged import make_directory


class DirectoryInUseError(StackError):
    """Another process runs the servers of this directory."""


@contextmanager
def hold(directory: Path) -> Iterator[None]:
    """Hold the directory's lock.

    Raises:
        DirectoryInUseError: another process holds it; the message names it.
    """
    make_directory(directory)
    with (directory / "lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise DirectoryInUseError(f"The mesh in {directory} is run by process {file.read()} already.") from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
