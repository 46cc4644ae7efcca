"""The whole mesh on one machine: two servers, four programs, one directory that holds everything they keep.

In the directory: postgres/ and redis/ (the servers' data), data/ (envelopes, staged updates, versions, keys),
secrets/ (0600), log/, run/ (process ids).
"""

import base64
import os
import secrets
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from local_stack import ports, programs
from local_stack.errors import StackError
from local_stack.postgres import Postgres
from local_stack.processes import Process, ProcessFailedError, Program, wait_until
from local_stack.redis import Redis
from local_stack.secret_files import kept_secret, write_secret
from local_stack.unprivileged import make_directory

ROOT = Path(__file__).resolve().parent.parent
DEFAULT_PORT = 8010
READY_SECONDS = 90.0


class Mesh:
    """Starts and stops the mesh, as a whole or part by part.

    As a context manager it stops everything at the end, whatever happened.

    Args:
        directory: where everything is kept.
        port: where the API listens; 0 takes a free one.
        fast: give up durability; for tests.
        settings: more environment variables for the programs, such as BOLTZ_TICK_SECONDS.
    """

    def __init__(
        self, directory: Path, *, port: int = 0, fast: bool = False, settings: Mapping[str, str] | None = None
    ) -> None:
        self.directory = directory.resolve()
        make_directory(self.directory)
        self.port = port or ports.free_port()
        self.postgres = Postgres(self.directory, fast=fast)
        self.redis = Redis(self.directory, fast=fast)
        self._settings = dict(settings or {})
        self.processes = {program.name: self._process(program) for program in self._programs()}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Where clients find the mesh."""
        return f"http://{ports.LOOPBACK}:{self.port}"

    def environment(self) -> dict[str, str]:
        """What the programs of the mesh read; the servers must have been started or found."""
        data = self.directory / "data"
        data.mkdir(mode=0o700, exist_ok=True)
        return os.environ | {
            "DJANGO_SETTINGS_MODULE": "boltz_federated.settings",
            "DATABASE_URL": self.postgres.url,
            "REDIS_URL": self.redis.url,
            "SECRET_KEY": kept_secret(self._secret("secret-key"), lambda: secrets.token_urlsafe(48)),
            "BOLTZ_KEY_ENCRYPTION_KEY": kept_secret(
                self._secret("key-encryption-key"), lambda: base64.b64encode(secrets.token_bytes(32)).decode()
            ),
            "BOLTZ_DATA_DIR": str(data),
            "ALLOWED_HOSTS": "localhost,127.0.0.1,[::1]",
            "BOLTZ_DEV_MODE": "1",
            # more threads than cores fight each other (performance.md)
            "OPENBLAS_NUM_THREADS": "1",
            "REMAP_SIGTERM": "SIGQUIT",
            "PYTHONUNBUFFERED": "1",
            **self._settings,
        }

    def start_servers(self) -> None:
        """Start PostgreSQL and Redis."""
        self.postgres.start()
        self.redis.start()

    def attach(self) -> bool:
        """Find servers that another process runs on this directory."""
        return self.postgres.attach() and self.redis.attach()

    def start(self) -> None:
        """Start everything, with the database up to date and first_start done, and wait until the API is ready."""
        self.start_servers()
        self.manage("migrate", "--noinput")
        self.first_start()
        self.start_programs()
        self.wait_until_ready()

    def start_programs(self) -> None:
        """Start web, worker, beat and reconciler."""
        for name in self.processes:
            self.start_program(name)

    def start_program(self, name: str) -> None:
        """Start one of them, for the first time or again."""
        if name == "web":
            ports.require_free(self.port, variable="BOLTZ_PORT")
        self.processes[name].start(environment=self.environment())

    def all_processes(self) -> dict[str, Process]:
        """Servers and programs by name."""
        servers = [process for process in (self.postgres.process, self.redis.process) if process is not None]
        return {process.program.name: process for process in servers} | self.processes

    def restart(self, name: str) -> None:
        """Start one of all_processes() that has ended; it keeps its port and its data."""
        match name:
            case "postgres":
                self.postgres.start()
            case "redis":
                self.redis.start()
            case _:
                self.start_program(name)

    def wait_until_ready(self) -> None:
        """Wait until /readyz says yes.

        Raises:
            ProcessFailedError: a program ended, or the API was not ready in time.
        """
        if not wait_until(self._is_ready, seconds=READY_SECONDS):
            raise ProcessFailedError(f"The API was not ready after {READY_SECONDS:.0f} s. See {self.directory / 'log'}")

    def manage(self, *arguments: str, settings: Mapping[str, str] | None = None) -> str:
        """Run manage.py to its end and return what it printed.

        Raises:
            StackError: it failed; the message holds what it printed.
        """
        ended = subprocess.run(
            programs.manage(*arguments),
            cwd=ROOT,
            env=self.environment() | dict(settings or {}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if ended.returncode:
            raise StackError(f"manage.py {' '.join(arguments)} failed:\n{ended.stdout}{ended.stderr}")
        return ended.stdout

    def first_start(self, *arguments: str) -> None:
        """Let `manage.py first_start` make what is not there yet: keys, the admin user, boltz-core, round 1."""
        self.manage("first_start", *arguments, settings={"BOLTZ_ADMIN_PASSWORD": self._admin_password()})

    def new_admin_password(self) -> str | None:
        """The admin's password, once: it is forgotten by being returned, and None afterwards.

        Between the start that makes the admin and this call it lies in a file: a start that is killed loses nothing.
        """
        waiting, told = self._secret("new-admin-password"), self._secret("admin-password-was-told")
        if told.exists() or not waiting.exists():
            return None
        password = waiting.read_text()
        write_secret(told, "")
        waiting.unlink()
        return password

    def stop(self) -> None:
        """Stop what was started here: programs, then servers. All programs are asked before any is waited for."""
        for process in self.processes.values():
            process.ask_to_stop()
        for process in self.processes.values():
            process.see_off()
        self.redis.stop()
        self.postgres.stop()

    def _programs(self) -> tuple[Program, ...]:
        return (
            programs.web(host=ports.LOOPBACK, port=self.port),
            programs.beat(),
            programs.worker(),
            programs.reconciler(),
        )

    def _process(self, program: Program) -> Process:
        return Process(program, directory=self.directory, working_directory=ROOT)

    def _secret(self, name: str) -> Path:
        return self.directory / "secrets" / name

    def _admin_password(self) -> str:
        """The password for a first start; a later start gives one that nothing uses, as the admin exists."""
        if self._secret("admin-password-was-told").exists():
            return secrets.token_urlsafe(15)
        return kept_secret(self._secret("new-admin-password"), lambda: secrets.token_urlsafe(15))

    def _is_ready(self) -> bool:
        for process in self.processes.values():
            process.require_running()
        try:
            # the environment's proxy settings are not for this machine
            return httpx.get(f"{self.url}/readyz", timeout=2, trust_env=False).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False
