"""The same again: a hundred times at once, with other bytes at once, and a request played byte for byte."""

from collections import Counter
from contextlib import ExitStack
from functools import partial

import pytest

from tests.apps.signed_requests import ME, refusal
from tests.chaos.invariants import check_invariants
from tests.chaos.senders import one_hot_senders, random_senders, send_all
from tests.chaos.wire_faults import RawConnection, at_once, envelopes, partial_files, received
from tests.chaos.withheld import withhold

pytestmark = pytest.mark.processes

FAILED = (401, "authentication_failed")


def spent_nonces(mesh, upload):
    return mesh.count("SELECT 1 FROM clients_spentnonce WHERE kid = %s", upload.client.signer.kid)


@pytest.mark.long
def test_a_hundred_uploads_of_the_same_bytes_at_once_are_one(mesh, unlimited, model, parameters):
    senders = one_hot_senders(parameters)
    upload = withhold(mesh, unlimited, senders[0], model)
    kept, spent = envelopes(mesh), spent_nonces(mesh, upload)
    answers = at_once([upload.send] * 100)
    assert [answer.status_code for answer in answers] == [202] * 100
    assert len({answer.content for answer in answers}) == 1
    # each was a request of its own
    assert spent_nonces(mesh, upload) == spent + 100
    assert len(received(mesh, model)) == 1
    assert len(envelopes(mesh)) == len(kept) + 1
    assert not partial_files(mesh)
    send_all(mesh, model, senders)
    check_invariants(mesh, model, senders)


@pytest.mark.long
def test_of_two_bodies_under_one_upload_id_at_the_same_time_one_is_taken(mesh, wire, model, parameters):
    senders = random_senders(parameters, seed=29)
    kept = envelopes(mesh)
    for sender in senders:
        # its SDK seals the update anew each time, and remembers both
        bodies = [withhold(mesh, wire, sender, model) for _ in range(2)]
        assert bodies[0].path == bodies[1].path
        assert bodies[0].body != bodies[1].body
        with ExitStack() as stack:
            connections = [stack.enter_context(RawConnection(mesh.port)) for _ in bodies]
            for connection, upload in zip(connections, bodies, strict=True):
                connection.send(upload.request(), upload.body[:-1])
            mesh.until(lambda: len(partial_files(mesh)) == 2, "both are on their way to the disk")
            at_once([partial(one.send, upload.body[-1:]) for one, upload in zip(connections, bodies, strict=True)])
            answers = [connection.answer() for connection in connections]
        assert sorted(answers) == [(202, None), (409, "upload_conflict")]
        lost = bodies[answers.index((409, "upload_conflict"))]
        assert refusal(lost.send()) == (409, "upload_conflict")
    assert len(received(mesh, model)) == len(envelopes(mesh) - kept) == 4
    assert not partial_files(mesh)
    send_all(mesh, model, senders)
    check_invariants(mesh, model, senders)


def player(wire, request):
    """Sends the very same bytes over a new connection each time."""

    def play():
        with RawConnection(wire.base_url.port) as connection:
            connection.send(request)
            return connection.answer()

    return play


@pytest.mark.long
def test_an_upload_that_is_played_again_byte_for_byte_is_refused(mesh, wire, model, parameters):
    senders = one_hot_senders(parameters)
    upload = withhold(mesh, wire, senders[0], model)
    play = player(wire, upload.request() + upload.body)
    assert play() == (202, None)
    kept = envelopes(mesh)
    assert at_once([play] * 10) == [FAILED] * 10
    assert (len(received(mesh, model)), envelopes(mesh), partial_files(mesh)) == (1, kept, [])
    send_all(mesh, model, senders)
    check_invariants(mesh, model, senders)
    # and when the round is over, while its signature is still valid
    assert play() == FAILED


@pytest.mark.long
def test_one_request_that_comes_a_hundred_times_at_once_is_answered_once(mesh, unlimited, model, parameters):
    senders = one_hot_senders(parameters)
    upload = withhold(mesh, unlimited, senders[0], model)
    answers = Counter(at_once([player(unlimited, upload.request() + upload.body)] * 100))
    assert answers == {(202, None): 1, FAILED: 99}
    send_all(mesh, model, senders)
    check_invariants(mesh, model, senders)


@pytest.mark.long
def test_a_signature_is_good_for_one_request_of_one_method(mesh, wire, model, parameters):
    """Else who has seen a client ask for its record could erase it."""
    senders = one_hot_senders(parameters)
    client = withhold(mesh, wire, senders[0], model).client
    seen, unused = (client.signer.headers("GET", ME, authority=client.authority) for _ in range(2))
    assert wire.get(ME, headers=seen).status_code == 200
    assert refusal(wire.get(ME, headers=seen)) == FAILED
    assert refusal(wire.delete(ME, headers=unused)) == FAILED
    send_all(mesh, model, senders)
    check_invariants(mesh, model, senders)


@pytest.mark.long
def test_what_was_signed_for_another_mesh_is_refused(mesh, wire, model, parameters):
    """The same key, the same path, the same bytes, recorded at another door."""
    senders = one_hot_senders(parameters)
    upload = withhold(mesh, wire, senders[0], model)
    with RawConnection(mesh.port) as connection:
        foreign = upload.request(authority="mesh.example.com").replace(
            b"Host: mesh.example.com", b"Host: " + upload.client.authority.encode()
        )
        connection.send(foreign, upload.body)
        assert connection.answer() == FAILED
    assert received(mesh, model) == []
    send_all(mesh, model, senders)
    check_invariants(mesh, model, senders)
