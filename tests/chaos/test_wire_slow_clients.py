"""Clients that begin and do not end: headers and bodies that drip or stall, with nginx in front and without it.

That others get their answers shows in a whole round: four of them take part and its version is published while every
slow connection is still waiting.
"""

import httpx
import pytest

from tests.chaos import nginx as proxies
from tests.chaos.invariants import check_invariants
from tests.chaos.nginx import needed
from tests.chaos.senders import one_hot_senders, send_all
from tests.chaos.wire_faults import RawConnection, SlowClients, partial_files
from tests.chaos.withheld import withhold

pytestmark = pytest.mark.processes

nginx, trusted = proxies.nginx, proxies.trusted

# of the web server: `manage.py serve`
PROCESSES, THREADS = 2, 16
# of nginx: connections of one address in work
LIMIT = 64
STRANGER = "127.0.0.2"
HALF_A_HEAD = b"PUT /api/v1/models/m/rounds/1/updates/u HTTP/1.1\r\nHost: localhost\r\n"
DRIPPING_HEADER = b"X-Slow: 1\r\n"


@pytest.fixture
def slow(mesh, wire, model, parameters):
    """An update whose body is on its way for ever: its head, and a little of what it announces."""
    upload = withhold(mesh, wire, one_hot_senders(parameters)[0], mesh.fresh_model())
    return lambda authority=None: upload.request(authority=authority) + upload.body[:1000]


def answers(mesh):
    """Whether the web server answers within a second."""
    try:
        return httpx.get(f"{mesh.url}/healthz", timeout=1, trust_env=False).is_success
    except httpx.TransportError:
        return False


@pytest.mark.long
def test_headers_that_drip_into_the_web_server_keep_nobody_waiting(mesh, model, parameters):
    senders = one_hot_senders(parameters)
    connections = [RawConnection(mesh.port) for _ in range(10 * PROCESSES * THREADS)]
    first = [HALF_A_HEAD] * len(connections)
    with SlowClients(connections, first, drip=DRIPPING_HEADER) as many:
        assert many.waiting() == len(connections)
        send_all(mesh, model, senders)
        check_invariants(mesh, model, senders)
        # none of them has held a thread; it is time that ends them
        mesh.until(lambda: many.waiting() == 0, "the web server has cut every one of them")


def test_bodies_that_stall_in_the_web_server_keep_nobody_waiting_while_threads_are_left(mesh, model, slow, parameters):
    senders = one_hot_senders(parameters)
    connections = [RawConnection(mesh.port) for _ in range(THREADS // 2)]
    with SlowClients(connections, [slow() for _ in connections]) as many:
        mesh.until(lambda: len(partial_files(mesh)) == len(connections), "the web server is inside of every body")
        send_all(mesh, model, senders)
        check_invariants(mesh, model, senders)
        assert many.waiting() == len(partial_files(mesh)) == len(connections)
    mesh.until(lambda: not partial_files(mesh), "nothing is left of them")


@pytest.mark.long
def test_more_stalled_bodies_than_threads_stop_the_web_server_until_they_are_gone(mesh, model, slow, parameters):
    """What nginx is there for; and that it mends itself."""
    senders = one_hot_senders(parameters)
    connections = [RawConnection(mesh.port) for _ in range(4 * PROCESSES * THREADS)]
    with SlowClients(connections, [slow() for _ in connections]):
        threads = PROCESSES * THREADS
        mesh.until(lambda: len(partial_files(mesh)) == threads, "every thread of the web server is inside of a body")
        assert not answers(mesh)
    mesh.until(lambda: answers(mesh) and not partial_files(mesh), "it answers again, and nothing is left of them")
    send_all(mesh, model, senders)
    check_invariants(mesh, model, senders)


@pytest.mark.long
@needed
def test_slow_clients_of_nginx_do_not_reach_the_web_server(mesh, trusted, model, slow, parameters):
    senders = one_hot_senders(parameters)
    for sender in senders:
        # a home belongs to the address at which it has enrolled
        sender.name = f"{sender.name}-of-{model}"
    heads, bodies = (
        [RawConnection(trusted.port, source=STRANGER, certificate=trusted.certificate) for _ in range(LIMIT)]
        for _ in range(2)
    )
    first = [HALF_A_HEAD] * LIMIT + [slow(trusted.authority) for _ in bodies]
    # one byte suits headers and bodies
    with SlowClients(heads + bodies, first, drip=b"x") as many:
        for sender in senders:
            with mesh.new_client(sender.name, url=trusted.url) as client:
                client.register("eu-west-1", sender.kind)
                sender.send(mesh, model, client)
        assert many.waiting() >= LIMIT
        assert not partial_files(mesh)
        # one address has no more than its connections
        with RawConnection(trusted.port, source=STRANGER, certificate=trusted.certificate) as one_more:
            one_more.send(slow(trusted.authority))
            assert one_more.answer() == (429, "rate_limited")
        check_invariants(mesh, model, senders)


@pytest.mark.long
@needed
def test_nginx_cuts_who_says_nothing(mesh, nginx, model, slow, parameters):
    connections = [RawConnection(nginx.port, certificate=nginx.certificate) for _ in range(8)]
    first = [HALF_A_HEAD] * 4 + [slow(nginx.authority)] * 4
    with SlowClients(connections, first) as many:
        assert many.waiting() == len(connections)
        mesh.until(lambda: many.waiting() == 0, "nginx has cut every one of them")
    assert not partial_files(mesh)
    senders = one_hot_senders(parameters)
    send_all(mesh, model, senders)
    check_invariants(mesh, model, senders)
