"""Running PostgreSQL when we are root: it refuses root, so it runs as `nobody`, who must be able to reach its files.

Known weakness: every program that runs as `nobody` on this machine could read the cluster. This stack is for one
machine and its owner; a deployment gives PostgreSQL a user of its own.
"""

import contextlib
import fcntl
import hashlib
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local_stack.errors import StackError

COPIES = Path("/var/tmp")  # noqa: S108 - what is found there is used only when it is ours and nobody else may write it
KEPT_DATA = Path("/var/lib")
_WRITABLE_BY_OTHERS = 0o022
_TEMPORARY_BYTES = 1 << 29
_SETTLED_SECONDS = 60.0


@dataclass(frozen=True)
class User:
    """A user of this machine to run a server as."""

    uid: int
    gid: int

    def popen_arguments(self) -> dict[str, Any]:
        """What subprocess needs to know."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def can_reach(self, path: Path) -> bool:
        """Whether this user gets through every directory down to the path.

        Raises:
            StackError: the kernel does not let us become that user.
        """
        try:
            check = subprocess.run(["test", "-x", str(path)], cwd="/", check=False, **self.popen_arguments())
        except OSError as error:
            raise StackError(
                f"PostgreSQL refuses to run as root, and this root may not become another user ({error.strerror}). "
                "Run the command as a plain user."
            ) from error
        return check.returncode == 0


def server_user() -> User | None:
    """Who PostgreSQL runs as; None means ourselves."""
    if os.geteuid() != 0:
        return None
    nobody = pwd.getpwnam("nobody")
    return User(nobody.pw_uid, nobody.pw_gid)


def make_directory(directory: Path) -> None:
    """Make a directory for the owner only; as root others may pass through, for the server's user lives below."""
    if not directory.exists():
        directory.mkdir(parents=True)
        _let_pass(directory)


def _let_pass(directory: Path) -> None:
    # said apart from mkdir, whose mode the umask takes from
    directory.chmod(0o711 if os.geteuid() == 0 else 0o700)


def reachable_installation(installation: Path, user: User | None) -> Path:
    """The PostgreSQL tree itself, or a copy that the user can reach (one in root's home cannot be reached).

    The wheel's libraries lie beside the package and are found by a relative path, so the copy keeps the layout.

    Raises:
        StackError: something that is not ours lies where the copy belongs.
    """
    if user is None or user.can_reach(installation / "bin" / "postgres"):
        return installation
    package = installation.parent
    parts = [installation, package.with_name(f"{package.name}.libs")]
    name = hashlib.sha256(
        f"{installation} {(installation / 'bin' / 'postgres').stat().st_mtime_ns}".encode()
    ).hexdigest()[:12]
    copy = COPIES / f"boltz-postgresql-{name}"
    copied = [copy / part.relative_to(package.parent) for part in parts]
    if copy.exists() or copy.is_symlink():
        found = copy.lstat()
        # anyone may write to this directory, and what lies here is run
        if copy.is_symlink() or found.st_uid != os.geteuid() or found.st_mode & _WRITABLE_BY_OTHERS:
            raise StackError(f"{copy} was not made by this program. Remove it and run the command again.")
        if list(map(_listing, parts)) == list(map(_listing, copied)):
            return copied[0]
        shutil.rmtree(copy)
    fresh = Path(tempfile.mkdtemp(prefix="boltz-postgresql-", dir=COPIES))
    for part in parts:
        if part.is_dir():
            shutil.copytree(part, fresh / part.relative_to(package.parent), symlinks=True)
    for directory in (fresh, fresh / package.name):
        directory.chmod(0o755)
    # somebody who did the same at the same time has the same copy
    with contextlib.suppress(OSError):
        fresh.rename(copy)
    if fresh.exists():
        shutil.rmtree(fresh)
    return copied[0]


def _listing(tree: Path) -> dict[Path, int]:
    """Every file of a tree with its size: cleaners of temporary directories remove single files."""
    return {path.relative_to(tree): path.lstat().st_size for path in tree.rglob("*") if not path.is_dir()}


@contextmanager
def temporary_directory(name: str) -> Iterator[Path]:
    """A directory that the server's user can reach, in memory where there is room, removed at the end.

    What a killed process left behind is removed by a later one: a lock says who still lives.
    """
    prefix = f"boltz-{name}-"
    parent = Path("/dev/shm")  # noqa: S108 - made by mkdtemp
    if not os.access(parent, os.W_OK) or shutil.disk_usage(parent).free < _TEMPORARY_BYTES:
        parent = Path(tempfile.gettempdir())
    for old in parent.glob(f"{prefix}*"):
        _remove_if_abandoned(old)
    directory = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    # held as long as we live, whatever ends us
    held = os.open(directory, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    _let_pass(directory)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        os.close(held)


def _remove_if_abandoned(directory: Path) -> None:
    """Remove a directory that is ours and that nobody holds; one that was made just now may not be held yet."""
    with contextlib.suppress(OSError):
        found = directory.lstat()
        if found.st_uid != os.geteuid() or time.time() - found.st_mtime < _SETTLED_SECONDS:
            return
        file = os.open(directory, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(directory, ignore_errors=True)
        finally:
            os.close(file)
