"""Which TCP ports of this machine may be used, and who holds one that may not."""

import contextlib
import secrets
import socket
from pathlib import Path

from local_stack.errors import StackError

LOOPBACK = "127.0.0.1"
# below the range of outgoing connections on Linux: a server that starts again finds its port free
FREE_PORTS = range(20_000, 32_000)
_ATTEMPTS = 200
_LISTENING = "0A"


class PortTakenError(StackError):
    """Somebody else listens where we were asked to listen."""


def is_free(port: int, *, host: str = LOOPBACK) -> bool:
    """Whether a server could listen on the port now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """A port of the loopback address that nobody listens on.

    Raises:
        StackError: no free port was found.
    """
    for _ in range(_ATTEMPTS):
        port = secrets.choice(FREE_PORTS)
        if is_free(port):
            return port
    raise StackError(f"No free port was found between {FREE_PORTS.start} and {FREE_PORTS.stop}.")


def require_free(port: int, *, variable: str) -> None:
    """Refuse a port that is taken.

    Args:
        port: where a server is about to listen.
        variable: the environment variable that chooses another port; the message names it.

    Raises:
        PortTakenError: it is taken. The message names the port, its holder where the kernel tells, and the way out.
    """
    if is_free(port):
        return
    holder = _holder(port) or "another process"
    raise PortTakenError(
        f"Port {port} is taken by {holder}. Stop it, or choose another port: {variable}={port + 1} before the command."
    )


def _holder(port: int) -> str | None:
    """Name and process id of the listener, as far as /proc shows it to this user."""
    sockets = {f"socket:[{inode}]" for inode in _listening_inodes(port)}
    for process in Path("/proc").glob("[0-9]*") if sockets else ():
        # processes end while they are looked at, and those of other users keep their files to themselves
        with contextlib.suppress(OSError):
            if any(str(link.readlink()) in sockets for link in (process / "fd").iterdir()):
                return f"{(process / 'comm').read_text().strip()} (process {process.name})"
    return None


def _listening_inodes(port: int) -> set[str]:
    """The inodes of all sockets that listen on the port, from the kernel's tables."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(table).read_text().splitlines()[1:]:
                _, local, _, state, *rest = line.split()
                if state == _LISTENING and int(local.rpartition(":")[2], 16) == port:
                    inodes.add(rest[5])
    return inodes
