"""Clients that speak HTTP as no library would: byte by byte, too much, too little, many at once.

And what shows whether that has struck: partial files, envelopes and rows, and the memory of the programs.
"""

import contextlib
import http.client
import socket
import ssl
import struct
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from boltz_protocol import codec
from boltz_protocol.messages import Problem
from tests.chaos.faults import members

LOOPBACK = "127.0.0.1"
ANSWER_SECONDS = 60.0
# a linger time of nothing: close() sends RST
RESET = struct.pack("ii", 1, 0)


# --- requests byte by byte


def head_of(method, path, headers, *, authority):
    """Request line and headers."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {authority}", *(f"{name}: {text}" for name, text in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode()


class RawConnection:
    """A TCP connection, with TLS where a certificate is given, that sends what it is told."""

    def __init__(self, port, *, source=LOOPBACK, certificate=None):
        self.socket = socket.create_connection((LOOPBACK, port), ANSWER_SECONDS, source_address=(source, 0))
        if certificate is not None:
            context = ssl.create_default_context(cafile=certificate)
            self.socket = context.wrap_socket(self.socket, server_hostname=LOOPBACK)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, *parts):
        """Send every byte, or as many as the other side takes: who refuses a request need not read its body."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for part in parts:
                self.socket.sendall(part)

    def send_until_refused(self, block, *, at_most):
        """Send a block again and again, until the other side has had enough; returns how many bytes have left."""
        sent = 0
        with contextlib.suppress(ConnectionError):
            while sent < at_most:
                self.socket.sendall(block)
                sent += len(block)
        return sent

    def answer(self):
        """The answer: its status and the code of its problem, if it is one."""
        answer = http.client.HTTPResponse(self.socket)
        answer.begin()
        content = answer.read()
        if answer.headers["Content-Type"] != "application/problem+json":
            return answer.status, None
        return answer.status, codec.decode(content, Problem).code

    def reset(self):
        """End the connection by RST: what the other side still reads is an error."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.socket.close()

    def is_open(self):
        """Whether the other side has neither answered nor gone."""
        self.socket.settimeout(0)
        try:
            self.socket.recv(1)
        except (BlockingIOError, ssl.SSLWantReadError):
            return True
        except OSError:
            return False
        finally:
            with contextlib.suppress(OSError):
                self.socket.settimeout(ANSWER_SECONDS)
        return False


class SlowClients:
    """Connections that have sent `first` and never come to an end; with `drip` a byte of it every now and then."""

    def __init__(self, connections, first, *, drip=b"", every_seconds=0.5):
        self.connections = connections
        self._drip, self._every_seconds = drip, every_seconds
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._go_on, daemon=True)
        for connection, part in zip(connections, first, strict=True):
            connection.send(part)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join()
        for connection in self.connections:
            connection.socket.close()

    def _go_on(self):
        while self._drip and not self._over.wait(self._every_seconds):
            for connection in self.connections:
                with contextlib.suppress(OSError):
                    connection.send(self._drip)

    def waiting(self):
        """How many still wait: neither answered nor cut."""
        return sum(connection.is_open() for connection in self.connections)


def at_once(functions):
    """Run functions in threads that wait for each other; what they return, in order."""
    barrier = threading.Barrier(len(functions), timeout=ANSWER_SECONDS)

    def run(function):
        barrier.wait()
        return function()

    with ThreadPoolExecutor(len(functions)) as threads:
        return list(threads.map(run, functions))


# --- what lies on disk and in memory


def partial_files(mesh):
    """Bodies that are on their way to the disk."""
    return list((mesh.directory / "data" / "inbox").glob("*.part"))


def envelopes(mesh):
    """The digests of all envelopes that are kept."""
    return {path.name for path in (mesh.directory / "data" / "inbox").glob("??/*")}


def received(mesh, model):
    """Every update of a model: its id and the digest of its bytes."""
    return mesh.rows(
        "SELECT u.id, u.body_sha256 FROM rounds_update u JOIN rounds_round r ON r.id = u.round_id"
        " JOIN rounds_federatedmodel m ON m.id = r.model_id WHERE m.name = %s ORDER BY u.id",
        model,
    )


def memory_kib(mesh, name):
    """The proportional share of memory of a program and its children."""
    return sum(pss_kib(process) for process in members(mesh.processes[name].pid))


def pss_kib(process):
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith("Pss:")]
    return int(line.split()[1])


@contextlib.contextmanager
def flat_memory(mesh, *names):
    """Programs that use hardly more memory after the block than before."""
    before = {name: memory_kib(mesh, name) for name in names}
    yield
    after = {name: memory_kib(mesh, name) for name in names}
    grown = {name: (before[name], after[name]) for name in names if after[name] > 1.3 * before[name] + (32 << 10)}
    assert grown == {}
