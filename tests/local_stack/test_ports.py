import os
import socket
from pathlib import Path

import pytest

from local_stack import ports


@pytest.fixture
def listener():
    with socket.socket() as server:
        server.bind((ports.LOOPBACK, 0))
        server.listen()
        yield server


def test_a_free_port_can_be_listened_on():
    port = ports.free_port()
    with socket.socket() as server:
        server.bind((ports.LOOPBACK, port))


def test_a_free_port_is_none_that_an_outgoing_connection_may_take():
    assert ports.free_port() in ports.FREE_PORTS


def test_a_port_that_is_listened_on_is_not_free(listener):
    assert not ports.is_free(listener.getsockname()[1])


def test_a_port_that_another_server_shares_is_not_free():
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        server.bind((ports.LOOPBACK, 0))
        server.listen()
        assert not ports.is_free(server.getsockname()[1])


def test_a_taken_port_is_said_with_its_holder_and_the_way_out(listener):
    port = listener.getsockname()[1]
    name = Path("/proc/self/comm").read_text().strip()
    with pytest.raises(ports.PortTakenError) as refusal:
        ports.require_free(port, variable="BOLTZ_PORT")
    assert f"Port {port} is taken by {name} (process {os.getpid()})" in str(refusal.value)
    assert f"BOLTZ_PORT={port + 1}" in str(refusal.value)


def test_a_taken_port_whose_holder_is_hidden_is_said_all_the_same(listener, monkeypatch):
    monkeypatch.setattr(ports, "_listening_inodes", lambda _port: set())
    with pytest.raises(ports.PortTakenError, match="taken by another process"):
        ports.require_free(listener.getsockname()[1], variable="BOLTZ_PORT")


def test_a_free_port_is_not_refused():
    ports.require_free(ports.free_port(), variable="BOLTZ_PORT")


def test_no_free_port_is_an_error_and_no_endless_search(monkeypatch):
    monkeypatch.setattr(ports, "is_free", lambda _port: False)
    with pytest.raises(ports.StackError, match="No free port"):
        ports.free_port()
