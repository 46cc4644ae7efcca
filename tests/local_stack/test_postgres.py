import os
import signal
import stat
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest

from local_stack import postgres as module
from local_stack import processes, unprivileged
from local_stack.errors import StackError
from local_stack.postgres import Postgres
from local_stack.processes import wait_until

pytestmark = pytest.mark.processes
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="a plain user runs PostgreSQL as itself")


@pytest.fixture
def start(directory):
    started = []

    def start(*, fast=True):
        server = Postgres(directory, fast=fast)
        started.append(server)
        server.start()
        return server

    yield start
    for server in started:
        server.stop()


def ask(server, question):
    with closing(psycopg2.connect(server.url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(question)
        return cursor.fetchone()[0] if cursor.description else None


def test_it_is_a_postgresql_18_that_asks_for_the_password(start):
    server = start()
    assert ask(server, "SHOW server_version").startswith("18.")
    assert ask(server, "SHOW password_encryption") == "scram-sha-256"
    with pytest.raises(psycopg2.OperationalError, match="password"):
        psycopg2.connect(host="127.0.0.1", port=server.port, user="boltz", password="guess", dbname="boltz")


def test_it_listens_on_the_loopback_address_only(start):
    assert ask(start(), "SHOW listen_addresses") == "127.0.0.1"


def test_the_password_is_in_a_file_for_its_owner_and_in_no_command_line(start, directory):
    server = start()
    file = directory / "secrets" / "postgres-password"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_text() not in Path(f"/proc/{server.process.pid}/cmdline").read_text()


def test_it_is_durable_unless_asked_to_be_fast(start):
    server = start(fast=False)
    assert [ask(server, f"SHOW {name}") for name in ("fsync", "synchronous_commit", "full_page_writes")] == ["on"] * 3


def test_a_second_start_finds_the_data_of_the_first(start):
    server = start(fast=False)
    ask(server, "CREATE TABLE kept AS SELECT 7 AS number")
    server.stop()
    assert ask(start(fast=False), "SELECT number FROM kept") == 7


def test_a_killed_server_starts_again_on_the_same_port_with_what_was_committed(start):
    server = start(fast=False)
    ask(server, "CREATE TABLE kept AS SELECT 7 AS number")
    port = server.port
    server.process.send(signal.SIGKILL)
    assert wait_until(lambda: not server.process.is_running(), seconds=10)
    server.start()
    assert server.port == port
    assert ask(server, "SELECT number FROM kept") == 7


def test_another_process_can_find_the_running_server(start, directory):
    server = start()
    found = Postgres(directory)
    assert found.attach()
    assert found.url == server.url
    found.stop()
    assert ask(server, "SELECT 1") == 1


def test_a_server_that_is_not_there_is_not_found(start, directory):
    assert not Postgres(directory).attach()
    start().process.kill()
    assert not Postgres(directory).attach()


def test_it_dies_with_the_process_that_started_it(directory, python):
    starter = python(
        """
        import sys, time
        from pathlib import Path
        from local_stack.postgres import Postgres
        server = Postgres(Path(sys.argv[1]), fast=True)
        server.start()
        print(server.process.pid, flush=True)
        time.sleep(600)
        """,
        directory,
    )
    pid = int(starter.stdout.readline())
    starter.kill()
    assert wait_until(lambda: not processes._started_at(pid), seconds=20)


def test_a_cluster_that_was_half_made_is_made_anew(start, directory):
    (directory / "postgres" / "base").mkdir(parents=True)
    (directory / "postgres" / "stray").write_text("x")
    if user := unprivileged.server_user():
        for path in [directory / "postgres", *(directory / "postgres").iterdir()]:
            os.chown(path, user.uid, user.gid)
    assert ask(start(), "SELECT 1") == 1


def test_a_cluster_that_cannot_be_made_is_an_error_with_what_initdb_said(directory, monkeypatch):
    monkeypatch.setattr(module, "NAME", "pg_reserved")
    with pytest.raises(StackError, match=r"could not make its cluster(.|\n)*pg_"):
        Postgres(directory, fast=True).start()


def test_a_server_that_ends_at_once_is_an_error_with_the_end_of_its_log(start, directory):
    server = start()
    server.stop()
    (directory / "postgres" / "postgresql.conf").write_text("no_such_setting = 1\n")
    with pytest.raises(StackError, match="no_such_setting"):
        server.start()


def test_a_lost_password_is_said_and_leaves_no_server(start, directory):
    start().stop()
    (directory / "secrets" / "postgres-password").unlink()
    server = Postgres(directory, fast=True)
    with pytest.raises(StackError, match="did not let us in"):
        server.start()
    assert not server.process.is_running()


def test_a_missing_wheel_is_said_with_the_way_out(directory, monkeypatch):
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(StackError, match=r"\./dev setup"):
        Postgres(directory).start()


@as_root
def test_root_does_not_run_it_as_root(start):
    server = start()
    assert Path(f"/proc/{server.process.pid}").stat().st_uid == unprivileged.server_user().uid


@as_root
def test_data_that_must_stay_gets_a_place_of_its_own_where_nobody_cannot_reach(tmp_path, monkeypatch, directory):
    tmp_path.chmod(0o700)
    monkeypatch.setattr(unprivileged, "KEPT_DATA", directory)
    server = Postgres(tmp_path)
    try:
        server.start()
        assert (tmp_path / "postgres").is_symlink()
        assert (tmp_path / "postgres").resolve().parent == directory
        assert ask(server, "SELECT 1") == 1
        assert Postgres(tmp_path).attach()
    finally:
        server.stop()


@as_root
def test_data_for_a_test_must_lie_where_nobody_can_reach(tmp_path):
    tmp_path.chmod(0o700)
    with pytest.raises(StackError, match="temporary_directory"):
        Postgres(tmp_path, fast=True).start()
