"""Keys that are changed while a round collects updates: the clients' own, and the mesh's two."""

import pytest

from tests.apps.signed_requests import SignedClient, Signer, refusal
from tests.chaos.invariants import check_invariants
from tests.chaos.senders import one_hot_senders, random_senders, send_all
from tests.chaos.wire_faults import RawConnection, envelopes, partial_files, received
from tests.chaos.withheld import Withheld, waits_to_be_decided, withhold

pytestmark = [pytest.mark.processes, pytest.mark.long]

FAILED = (401, "authentication_failed")


def current_key(mesh, use):
    return mesh.value("SELECT kid FROM keys_meshkey WHERE use = %s AND state = 'current'", use)


def key_state(mesh, kid):
    return mesh.value("SELECT state FROM keys_meshkey WHERE kid = %s", kid)


def key_file(mesh, kid):
    return mesh.directory / "data" / "keys" / f"{kid}.key"


def let_its_time_be_over(mesh, kid):
    """A quarter of an hour later, as far as one retired key is concerned."""
    with mesh.session(autocommit=True) as cursor:
        cursor.execute("UPDATE keys_meshkey SET not_after = now() - interval '1 hour' WHERE kid = %s", [kid])


def with_new_key(mesh, wire, sender, upload):
    """The same bytes in the hands of the client's new key."""
    member = mesh.client(sender.name)._member()
    signed = SignedClient(wire, Signer(member.identity._private_key), member.record)
    return Withheld(upload.path, upload.body, signed, upload.layout)


# --- of a client


def test_a_client_that_changes_its_key_in_the_middle_of_a_round_counts_once(mesh, wire, model, parameters):
    senders = one_hot_senders(parameters)
    upload = withhold(mesh, wire, senders[0], model)
    mesh.client(senders[0].name).rotate_key()
    renewed = with_new_key(mesh, wire, senders[0], upload)
    assert renewed.client.signer.kid != upload.client.signer.kid
    kept = envelopes(mesh)
    assert refusal(upload.send()) == FAILED
    # what was sealed in the name of the old key is no envelope of the new one
    assert refusal(renewed.send()) == (422, "header_mismatch")
    assert (received(mesh, model), envelopes(mesh), partial_files(mesh)) == ([], kept, [])
    senders[0].send(mesh, model)
    # and once more after it was taken
    mesh.client(senders[0].name).rotate_key()
    send_all(mesh, model, senders)
    check_invariants(mesh, model, senders)


def test_a_client_that_changes_its_key_in_the_middle_of_a_body_is_taken_at_its_word(mesh, wire, model, parameters):
    """A signature is judged when the headers arrive; the row keeps the key that made it."""
    senders = random_senders(parameters, seed=41)
    upload = withhold(mesh, wire, senders[0], model)
    half = len(upload.body) // 2
    with RawConnection(mesh.port) as connection:
        connection.send(upload.request(), upload.body[:half])
        mesh.until(lambda: len(partial_files(mesh)) == 1, "half of it is on its way to the disk")
        mesh.client(senders[0].name).rotate_key()
        connection.send(upload.body[half:])
        assert connection.answer() == (202, None)
    signed_by = mesh.value("SELECT client_kid FROM rounds_update WHERE id = %s", upload.upload_id)
    assert signed_by == upload.client.signer.kid
    send_all(mesh, model, senders)
    check_invariants(mesh, model, senders)


# --- of the mesh


def test_updates_sealed_for_a_retired_key_count_and_keep_it_alive_as_long_as_one_waits(mesh, wire, model, parameters):
    senders = one_hot_senders(parameters)
    old = current_key(mesh, "enc")
    uploads = [withhold(mesh, wire, sender, model) for sender in senders[:3]]
    mesh.manage("rotate_keys", "--use", "enc")
    assert (key_state(mesh, old), current_key(mesh, "enc") == old) == ("retired", False)
    # under way when it was retired
    assert uploads[0].send().status_code == 202
    with waits_to_be_decided(mesh, uploads[1]):
        let_its_time_be_over(mesh, old)
        for _ in range(2):
            mesh.wait_for_worker()
        assert mesh.update_states(model) == ["received", "staged"]
        assert key_state(mesh, old) == "retired"
        assert key_file(mesh, old).exists()
        # too late for another one: its SDK seals it again for the new key
        assert refusal(uploads[2].send()) == (409, "encryption_key_retired")
    send_all(mesh, model, senders)
    check_invariants(mesh, model, senders)
    mesh.until(lambda: key_state(mesh, old) == "destroyed", "the key is destroyed once nothing needs it")
    assert not key_file(mesh, old).exists()


def test_the_receipts_of_a_round_may_be_signed_by_two_keys(mesh, wire, model, parameters):
    senders = random_senders(parameters, seed=43)
    old = current_key(mesh, "sig")
    upload = withhold(mesh, wire, senders[0], model)
    first = upload.send()
    senders[1].send(mesh, model)
    mesh.manage("rotate_keys", "--use", "sig")
    assert current_key(mesh, "sig") != old
    # the same receipt, by the old key
    assert upload.send().content == first.content
    send_all(mesh, model, senders)
    kids = {mesh.value("SELECT receipt->>'kid' FROM rounds_update WHERE id = %s", s.upload_ids[0]) for s in senders}
    assert kids == {old, current_key(mesh, "sig")}
    check_invariants(mesh, model, senders)
