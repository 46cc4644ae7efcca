"""Counts what is sent to Redis, on any connection: one message is one round trip."""

import contextlib
from collections.abc import Iterator

import redis

SETTING_UP = (b"AUTH", b"SELECT", b"PING", b"SCRIPT")


@contextlib.contextmanager
def round_trips(monkeypatch) -> Iterator[list[bytes]]:
    """The commands of the limits that were sent meanwhile; those that make a connection are not counted."""
    sent: list[bytes] = []
    real = redis.connection.Connection.send_packed_command

    def send(connection, command, *arguments, **options):
        raw = b"".join(command) if isinstance(command, list) else command
        name = raw.split(b"\r\n")[2].upper()
        if name not in SETTING_UP and b"limit:" in raw:
            sent.append(name)
        return real(connection, command, *arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(redis.connection.Connection, "send_packed_command", send)
        yield sent
