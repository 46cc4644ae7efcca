"""Updates at the wrong time and in the wrong place: early, late, on another base, by the wrong client, moved elsewhere."""

from io import BytesIO

import pytest

from boltz_client.errors import RoundNotOpenError
from boltz_protocol import envelope
from tests.apps.hostile_envelopes import ENVELOPE_TYPE, Place, head_bytes, seal, take_place
from tests.apps.hostile_envelopes import send as put
from tests.apps.signed_requests import ME, enrolled, refusal
from tests.chaos.faults import paused
from tests.chaos.invariants import check_invariants
from tests.chaos.operators import let_it_be_time, make_model_for_later, open_next_round, revoke
from tests.chaos.senders import one_hot_senders, random_senders, send_all
from tests.chaos.wire_faults import RawConnection, envelopes, partial_files, received
from tests.chaos.withheld import withhold

pytestmark = [pytest.mark.processes, pytest.mark.long]

FAILED = (401, "authentication_failed")


# --- time


def test_an_update_that_comes_before_its_round_opens_is_refused(mesh, wire, parameters):
    model, senders = "for-later", one_hot_senders(parameters)
    make_model_for_later(mesh, model, target=len(senders))
    early = enrolled(wire, f"early-of-{model}")
    round_path = f"/api/v1/models/{model}/rounds/1"
    assert refusal(early.post(f"{round_path}/participation", {})) == (409, "round_not_open")
    answer = early.request("PUT", f"{round_path}/updates/made-up", body=b"BTE1", content_type=ENVELOPE_TYPE)
    assert refusal(answer) == (409, "not_joined")
    for sender in senders:
        with pytest.raises(RoundNotOpenError, match="opens"):
            sender.send(mesh, model)
    assert (mesh.round_state(model), received(mesh, model), partial_files(mesh)) == ("scheduled", [], [])
    let_it_be_time(mesh, model)
    mesh.until(lambda: mesh.round_state(model) == "open", "the tick opens it")
    send_all(mesh, model, senders)
    check_invariants(mesh, model, senders)


def test_an_update_that_comes_after_the_seal_is_refused(mesh, wire, model, parameters):
    senders = random_senders(parameters, seed=31)
    late = withhold(mesh, wire, one_hot_senders(parameters)[0], model)
    with RawConnection(mesh.port) as connection:
        half = len(late.body) // 2
        connection.send(late.request(), late.body[:half])
        mesh.until(lambda: len(partial_files(mesh)) == 1, "half of it is on its way to the disk")
        with paused(mesh, "worker"):
            send_all(mesh, model, senders)
            mesh.until(lambda: mesh.round_state(model) != "open", "the round is sealed without it")
            connection.send(late.body[half:])
            assert connection.answer() == (409, "round_sealed")
            assert refusal(late.send()) == (409, "round_sealed")
    check_invariants(mesh, model, senders)
    # when there is a version too
    assert refusal(late.send()) == (409, "round_sealed")
    assert not partial_files(mesh)


def test_an_update_on_another_base_version_is_refused(mesh, wire, model, parameters):
    senders = one_hot_senders(parameters)
    upload = withhold(mesh, wire, senders[0], model)
    kept = envelopes(mesh)
    on_another_base = seal(upload.place(), senders[0].vector, base_sha256="0" * 64)
    assert refusal(upload.send(on_another_base)) == (409, "wrong_base_version")
    assert (received(mesh, model), envelopes(mesh), partial_files(mesh)) == ([], kept, [])
    send_all(mesh, model, senders)
    check_invariants(mesh, model, senders)


# --- place


def test_an_envelope_in_the_place_of_another_client_is_refused(mesh, wire, model, parameters):
    senders = one_hot_senders(parameters)
    mine, theirs = (withhold(mesh, wire, sender, model) for sender in senders[:2])
    kept = envelopes(mesh)
    # its bytes in my place, signed by me; its place, signed by me; my bytes in its place, as if signed by it
    assert refusal(mine.send(theirs.body)) == (422, "header_mismatch")
    thief = Place(mine.client, mine.place().descriptor, theirs.upload_id, mine.layout)
    assert refusal(put(thief, seal(thief, senders[0].vector))) == (403, "not_your_upload")
    with RawConnection(mesh.port) as connection:
        connection.send(
            theirs.request().replace(theirs.client.signer.kid.encode(), mine.client.signer.kid.encode()), theirs.body
        )
        assert connection.answer() == FAILED
    assert (received(mesh, model), envelopes(mesh), partial_files(mesh)) == ([], kept, [])
    send_all(mesh, model, senders)
    check_invariants(mesh, model, senders)


def test_envelopes_swapped_between_two_models_are_refused(mesh, wire, model, parameters):
    senders, other_model = one_hot_senders(parameters), mesh.fresh_model()
    here, there = (withhold(mesh, wire, senders[0], name) for name in (model, other_model))
    assert refusal(here.send(there.body)) == (422, "header_mismatch")
    assert refusal(there.send(here.body)) == (422, "header_mismatch")
    assert received(mesh, model) == received(mesh, other_model) == []
    send_all(mesh, model, senders)
    check_invariants(mesh, model, senders)
    for sender in senders:
        sender.upload_ids.clear()
        sender.send(mesh, other_model)
    check_invariants(mesh, other_model, senders)


def test_an_envelope_of_one_round_is_refused_in_the_next(mesh, wire, model, parameters):
    senders = one_hot_senders(parameters)
    upload = withhold(mesh, wire, senders[0], model)
    send_all(mesh, model, senders)
    check_invariants(mesh, model, senders)
    open_next_round(mesh, model)
    place = take_place(upload.client, upload.layout, model=model, round_number=2)
    assert place.upload_id != upload.upload_id
    for body in (
        upload.body,
        seal(Place(upload.client, place.descriptor, upload.upload_id, upload.layout), senders[0].vector),
    ):
        assert refusal(put(place, body)) == (422, "header_mismatch")
    assert mesh.update_states(model, 2) == []


def test_a_sealed_content_under_a_header_that_fits_opens_for_nobody_else(mesh, wire, model, parameters):
    """Behind the door too: what is moved under a right header is refused when it is opened."""
    senders = one_hot_senders(parameters)
    theirs = withhold(mesh, wire, senders[0], model)
    thief = take_place(enrolled(wire, f"thief-of-{model}"), theirs.layout, model=model)
    right = envelope.read_header(BytesIO(theirs.body).read).header
    own = seal(thief, senders[1].vector, plain_length=right.plain_length)
    forged = own[: head_bytes(own)] + theirs.body[head_bytes(theirs.body) :]
    assert put(thief, forged).status_code == 202
    mesh.until(lambda: mesh.update_states(model) == ["rejected"], "it is decided")
    assert mesh.value("SELECT code FROM rounds_update WHERE id = %s", thief.upload_id) == "undecryptable"
    members = senders[:3]
    send_all(mesh, model, members)
    check_invariants(mesh, model, members, refused=[thief.upload_id])


# --- standing


def test_a_revoked_client_sends_nothing_more_not_even_the_rest_of_a_body(mesh, wire, model, parameters):
    senders = one_hot_senders(parameters)
    name = f"revoked-of-{model}"
    stolen = one_hot_senders(parameters)[1]
    stolen.name = name
    upload = withhold(mesh, wire, stolen, model)
    kept = envelopes(mesh)
    with RawConnection(mesh.port) as connection:
        half = len(upload.body) // 2
        connection.send(upload.request(), upload.body[:half])
        mesh.until(lambda: len(partial_files(mesh)) == 1, "half of it is on its way to the disk")
        revoke(mesh, name)
        connection.send(upload.body[half:])
        assert connection.answer() == (403, "client_suspended")
    assert refusal(upload.send()) == FAILED
    assert refusal(upload.client.get(ME)) == FAILED
    assert (received(mesh, model), envelopes(mesh), partial_files(mesh)) == ([], kept, [])
    send_all(mesh, model, senders)
    check_invariants(mesh, model, senders)
