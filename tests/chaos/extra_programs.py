"""Programs beside those of a mesh, or in the place of one, with a command line or settings of their own."""

import contextlib
import dataclasses

from local_stack import programs
from local_stack.mesh import ROOT
from local_stack.processes import Process
from tests.chaos.faults import members


@contextlib.contextmanager
def extra(mesh, program, *, name, settings=None, arguments=()):
    """One more program, which the mesh knows by `name`, as does PostgreSQL (application_name)."""
    program = dataclasses.replace(program, name=name, command=(*program.command, *arguments))
    process = Process(program, directory=mesh.directory, working_directory=ROOT)
    environment = mesh.environment() | {"PGAPPNAME": name} | dict(settings or {})
    process.start(environment=environment)
    group = process.pid
    mesh.processes[name] = process
    try:
        yield process
    finally:
        process.kill()
        # its children may hold a port for a moment longer
        mesh.until(lambda: not members(group), f"every process of {name} is gone")
        del mesh.processes[name]


@contextlib.contextmanager
def replaced_worker(mesh, *, name, settings=None, arguments=()):
    """A worker in the place of the mesh's own."""
    mesh.processes["worker"].kill()
    with extra(mesh, programs.worker(), name=name, settings=settings, arguments=arguments) as process:
        mesh.wait_for_worker()
        yield process


def connected(mesh, name):
    """Whether a program of this name has a connection to the database."""
    return mesh.count("SELECT 1 FROM pg_stat_activity WHERE application_name = %s", name) > 0
