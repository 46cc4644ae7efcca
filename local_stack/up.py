"""`./dev up`: the mesh for real use on one machine. Data stays; Ctrl-C stops everything."""

import os
import sys
import time
from pathlib import Path
from typing import NoReturn

from local_stack import directory_lock, interrupts, ports
from local_stack.errors import StackError
from local_stack.mesh import DEFAULT_PORT, ROOT, Mesh

LOOK_SECONDS = 1.0


def data_directory() -> Path:
    """Where `./dev up` keeps everything: BOLTZ_HOME, else .boltz/ beside the code."""
    return Path(os.environ.get("BOLTZ_HOME") or ROOT / ".boltz").absolute()


def chosen_port() -> int:
    """BOLTZ_PORT, else 8010.

    Raises:
        StackError: it is not a port.
    """
    text = os.environ.get("BOLTZ_PORT") or str(DEFAULT_PORT)
    if not text.isascii() or not text.isdecimal() or not 0 < int(text) < 1 << 16:
        raise StackError(f"BOLTZ_PORT is {text!r}; it must be a port between 1 and 65535.")
    return int(text)


def run() -> int:
    """Start the mesh, keep it running, stop it on a signal. Returns the exit code."""
    port = chosen_port()
    # everything that is made here is for its owner only
    os.umask(0o077)
    is_up = False
    try:
        with (
            interrupts.one_interruption(),
            directory_lock.hold(data_directory()),
            Mesh(data_directory(), port=port) as mesh,
        ):
            ports.require_free(port, variable="BOLTZ_PORT")
            say("starting PostgreSQL, Redis, web, worker, beat and reconciler")
            mesh.start()
            say(_welcome(mesh))
            is_up = True
            _keep_running(mesh)
    except interrupts.InterruptedBySignal as interruption:
        say("stopped; the data is kept")
        return 0 if is_up else interruption.exit_code


def say(text: str) -> None:
    """To a person."""
    print(text, file=sys.stderr, flush=True)


def _keep_running(mesh: Mesh) -> NoReturn:
    """Start again what has ended: any process may be killed at any time and nothing is lost."""
    while True:
        time.sleep(LOOK_SECONDS)
        for name, process in mesh.all_processes().items():
            if not process.is_running():
                say(f"{name} ended with code {process.exit_code}; starting it again (log: {process.log})")
                try:
                    mesh.restart(name)
                except StackError as error:
                    # tried again at the next look
                    say(str(error))


def _welcome(mesh: Mesh) -> str:
    address = f"http://localhost:{mesh.port}"
    # as root it may have had to lie elsewhere (postgres.py)
    cluster = (mesh.directory / "postgres").resolve()
    lines = [
        "",
        f"  The mesh is up at {address}",
        f"    API      {address}/api/v1/    (documentation: {address}/api/docs/)",
        f"    admin    {address}/admin/",
        f"    data     {mesh.directory}" + (f" and {cluster}" if cluster.parent != mesh.directory else ""),
        f"    logs     {mesh.directory / 'log'}",
        "",
        "  Anyone on this machine may enrol (BOLTZ_DEV_MODE): this is not a deployment. Ctrl-C stops everything.",
    ]
    password = mesh.new_admin_password()
    if password is not None:
        lines += [
            "",
            f"  Log in as   admin   {password}",
            "  This password is shown once. `./dev manage changepassword admin` sets another.",
        ]
    return "\n".join([*lines, ""])
