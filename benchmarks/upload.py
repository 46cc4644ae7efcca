"""Uploads of 4 and 40 MB, from the first byte to the last receipt, beside a bare loop from sockets to files.

The web server is what `./dev up` starts, with Postgres, Redis and fsync; the worker rests, so that nothing else is
measured. Signatures, quotas, the round's rules, the row, the log entry and the receipt are all there. Senders are the
same for both: threads that push whole requests through sockets of their own. Runs take turns; the best of each counts.
"""

import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.bare_server import ANSWER, LENGTH_BYTES
from benchmarks.prepared import prepared_updates, signed_head
from benchmarks.round import make_model
from benchmarks.started import started_mesh
from local_stack import ports

MEGABYTE = 1e6
SIZES = ((1_000_000, 32), (10_000_000, 8))
SENDERS = 4
WEB_PROCESSES = 2
ACCEPTED = b"HTTP/1.1 202"


def measure(*, repeat: int) -> list[dict[str, str | float]]:
    """One row for each size of body."""
    return [measure_size(parameters, bodies, repeat=repeat) for parameters, bodies in SIZES]


def measure_size(parameters: int, bodies: int, *, repeat: int) -> dict[str, str | float]:
    """Bodies a second of ours and of the bare loop, and their ratio."""
    with started_mesh() as (mesh, folder):
        for name in ("worker", "beat"):
            mesh.processes[name].kill()
        make_model(mesh, folder, parameters, target=bodies * (repeat + 1))
        ours, bare, durable = [], [], []
        for run in range(repeat):
            updates = prepared_updates(mesh, folder / f"homes-{run}", parameters, bodies)
            contents = [update.sealed.body for update in updates]
            with bare_servers(folder, durable=False) as port:
                bare.append(seconds_to_send([(bare_head(body), body) for body in contents], port, ANSWER))
            with bare_servers(folder, durable=True) as port:
                durable.append(seconds_to_send([(bare_head(body), body) for body in contents], port, ANSWER))
            requests = [(signed_head(update, mesh.port), update.sealed.body) for update in updates]
            ours.append(seconds_to_send(requests, mesh.port, ACCEPTED))
    rates = [bodies / min(seconds) for seconds in (ours, bare, durable)]
    return {
        "body": f"{4 * parameters / MEGABYTE:.0f} MB",
        "bodies/s": rates[0],
        "GB/s": rates[0] * 4 * parameters / 1e9,
        "bare/s": rates[1],
        "bare, hash, fsync/s": rates[2],
        "x bare": rates[0] / rates[1],
        "x bare, hash, fsync": rates[0] / rates[2],
    }


def bare_head(body: memoryview) -> bytes:
    """The length of a body."""
    return len(body).to_bytes(LENGTH_BYTES, "big")


@contextmanager
def bare_servers(folder: Path, *, durable: bool) -> Iterator[int]:
    """As many processes as the web server has; gives their port."""
    port = ports.free_port()
    with tempfile.TemporaryDirectory(dir=folder) as directory, ExitStack() as stack:
        command = [sys.executable, "-m", "benchmarks.bare_server", "--port", str(port), "--directory", directory]
        command += ["--durable"] if durable else []
        for _ in range(WEB_PROCESSES):
            server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
            stack.callback(server.wait)
            stack.callback(server.kill)
            assert server.stdout is not None  # noqa: S101 - started with a pipe
            server.stdout.readline()
        yield port


def seconds_to_send(
    requests: list[tuple[bytes, memoryview]], port: int, answer: bytes, *, senders: int = SENDERS
) -> float:
    """Send every request, each sender its share over one connection, until the last answer."""
    failures: list[str] = []
    threads = [
        threading.Thread(target=send, args=(requests[number::senders], port, answer, failures.append))
        for number in range(senders)
    ]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise SystemExit(f"an upload was not taken: {failures[0]}")
    return time.perf_counter() - started


def send(requests: list[tuple[bytes, memoryview]], port: int, answer: bytes, failed: Callable[[str], None]) -> None:
    """Send requests one after the other over one connection, and read each answer."""
    with socket.create_connection((ports.LOOPBACK, port), timeout=120) as connection:
        for head, body in requests:
            connection.sendall(head)
            connection.sendall(body)
            said = connection.recv(64 * 1024)
            if not said.startswith(answer):
                failed(said.decode("latin-1"))
                return
            while answer == ACCEPTED and not is_whole(said):
                said += connection.recv(64 * 1024)


def is_whole(said: bytes) -> bool:
    """Whether an HTTP answer with a Content-Length has arrived to its end."""
    head, _, body = said.partition(b"\r\n\r\n")
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
    return len(body) >= int(fields[b"content-length"])
