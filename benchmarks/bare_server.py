"""What `bench upload` is compared with: sockets to files, and nothing else.

A body comes as eight bytes of its length and the bytes; the answer is two bytes. Nobody is asked who it is, nothing is
checked, no row is written. With --durable the body is hashed on its way and on the disk before the answer, under a new
name, as an accepted update is.
"""

import argparse
import hashlib
import os
import secrets
import socket
import threading
from pathlib import Path

BLOCK_BYTES = 256 * 1024
LENGTH_BYTES = 8
ANSWER = b"ok"


def receive(connection: socket.socket, directory: Path, *, durable: bool) -> None:
    """Store one body after the other until the sender hangs up."""
    block = memoryview(bytearray(BLOCK_BYTES))
    with connection:
        while length := connection.recv(LENGTH_BYTES, socket.MSG_WAITALL):
            path = directory / secrets.token_hex(8)
            digest, left = hashlib.sha256(), int.from_bytes(length, "big")
            with path.open("xb", buffering=0) as file:
                while left:
                    count = connection.recv_into(block[: min(left, BLOCK_BYTES)])
                    left -= count
                    file.write(block[:count])
                    if durable:
                        digest.update(block[:count])
                if durable:
                    os.fsync(file.fileno())
                    path.rename(directory / f"{digest.hexdigest()}-{path.name}")
            connection.sendall(ANSWER)


def main() -> None:
    """Serve until killed, a thread for each connection. Several processes share the port."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bare_server")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--directory", type=Path, required=True)
    parser.add_argument("--durable", action="store_true")
    options = parser.parse_args()
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(("127.0.0.1", options.port))
        listener.listen(64)
        print("ready", flush=True)
        while True:
            connection, _ = listener.accept()
            work = {"target": receive, "args": (connection, options.directory), "daemon": True}
            threading.Thread(**work, kwargs={"durable": options.durable}).start()


if __name__ == "__main__":
    main()
