import base64
import signal

import httpx
import pytest

from local_stack import directory_lock, ports
from local_stack import mesh as module
from local_stack.errors import StackError
from local_stack.mesh import Mesh
from local_stack.processes import ProcessFailedError, wait_until

pytestmark = pytest.mark.processes


@pytest.fixture
def mesh(directory):
    with Mesh(directory, fast=True, settings={"BOLTZ_TICK_SECONDS": "0.5"}) as made:
        yield made


def test_a_mesh_starts_is_ready_survives_its_worker_and_stops(mesh):
    mesh.start()
    assert httpx.get(f"{mesh.url}/readyz", trust_env=False).json() == {"database": "ok", "redis": "ok"}
    assert set(mesh.all_processes()) == {"postgres", "redis", "web", "worker", "beat", "reconciler"}
    mesh.processes["worker"].send_to_group(signal.SIGKILL)
    assert wait_until(lambda: not mesh.processes["worker"].is_running(), seconds=10)
    mesh.restart("worker")
    mesh.wait_until_ready()
    mesh.stop()
    assert not any(process.is_running() for process in mesh.all_processes().values())


def test_a_frozen_worker_does_not_hold_up_the_end(mesh):
    mesh.start()
    mesh.processes["worker"].send_to_group(signal.SIGSTOP)
    mesh.stop()
    assert not mesh.processes["worker"].is_running()


def test_the_programs_are_told_what_the_settings_want(mesh):
    mesh.start_servers()
    environment = mesh.environment()
    assert environment["DATABASE_URL"] == mesh.postgres.url
    assert environment["REDIS_URL"] == mesh.redis.url
    assert len(base64.b64decode(environment["BOLTZ_KEY_ENCRYPTION_KEY"])) == 32
    assert len(environment["SECRET_KEY"]) >= 50
    assert environment["BOLTZ_TICK_SECONDS"] == "0.5"
    assert mesh.environment() == environment


def test_a_command_of_django_that_fails_is_an_error_with_what_it_said(mesh):
    mesh.start_servers()
    with pytest.raises(StackError, match=r"manage.py no_such_command failed(.|\n)*Unknown command"):
        mesh.manage("no_such_command")


def test_a_program_that_ends_while_it_is_waited_for_is_an_error_with_its_log(mesh):
    # without tables and keys nothing is ready, and the reconciler cannot run
    mesh.start_servers()
    mesh.start_programs()
    mesh.processes["beat"].kill()
    with pytest.raises(ProcessFailedError, match=r"ended with code"):
        mesh.wait_until_ready()


def test_a_mesh_that_does_not_get_ready_is_given_up(mesh, monkeypatch):
    monkeypatch.setattr(module, "READY_SECONDS", 0.1)
    monkeypatch.setattr(mesh, "_is_ready", lambda: False)
    with pytest.raises(ProcessFailedError, match="not ready after 0 s"):
        mesh.wait_until_ready()


def test_the_admins_password_is_told_once(mesh, monkeypatch):
    given = []
    monkeypatch.setattr(mesh, "manage", lambda *_arguments, settings: given.append(settings["BOLTZ_ADMIN_PASSWORD"]))
    # a start that was killed before it could tell, and the next one
    mesh.first_start()
    mesh.first_start()
    assert mesh.new_admin_password() == given[0] == given[1]
    assert mesh.new_admin_password() is None
    mesh.first_start()
    assert given[2] != given[0]
    assert mesh.new_admin_password() is None


def test_the_port_of_another_server_is_not_taken_over(mesh, directory):
    with Mesh(directory / "other", port=mesh.port, fast=True) as other:
        mesh.start_servers()
        other.start_servers()
        mesh.start_program("web")
        assert wait_until(lambda: not ports.is_free(mesh.port), seconds=60)
        with pytest.raises(ports.PortTakenError):
            other.start_program("web")


def test_servers_of_another_process_are_found(mesh, directory):
    with directory_lock.hold(directory):
        mesh.start_servers()
        found = Mesh(directory)
        assert found.attach()
        assert found.environment()["DATABASE_URL"] == mesh.postgres.url
