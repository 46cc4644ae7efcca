"""A client leaves in the middle of a round, at each step that its update can be at, and asks for it more than once.

What it has sent counts from the freeze on only, and is gone afterwards; of its name nothing is left.
"""

import pytest

from tests.apps.signed_requests import ME, refusal
from tests.chaos.departures import check_forgotten, check_in_version, check_round, files_of, state_of
from tests.chaos.faults import HeldEnvelope, held_shards, paused, readers, resume
from tests.chaos.invariants import wait_for_version
from tests.chaos.operators import revoke
from tests.chaos.senders import one_hot_senders, send_all
from tests.chaos.wire_faults import RawConnection, at_once, envelopes, partial_files
from tests.chaos.withheld import waits_to_be_decided, withhold

pytestmark = [pytest.mark.processes, pytest.mark.long]

FAILED = (401, "authentication_failed")


@pytest.fixture
def leaver(model, parameters):
    """One who will leave, under a name that no other test uses."""
    sender = one_hot_senders(parameters)[0]
    sender.name = f"leaver-of-{model}"
    return sender


@pytest.fixture
def others(parameters):
    return one_hot_senders(parameters)[1:]


@pytest.fixture
def fourth(model, parameters):
    """Takes the place of one whose update never arrived."""
    sender = one_hot_senders(parameters)[0]
    sender.name = f"fourth-of-{model}"
    return sender


# --- before its update has arrived


def test_one_who_has_joined_leaves(mesh, wire, model, leaver, others, fourth):
    upload = withhold(mesh, wire, leaver, model)
    mesh.client(leaver.name).leave()
    check_forgotten(mesh, upload, leaver.name)
    assert refusal(upload.send()) == FAILED
    send_all(mesh, model, [fourth, *others])
    check_round(mesh, model, [fourth, *others], apart={})


def test_one_leaves_while_its_body_is_on_its_way(mesh, wire, model, leaver, others, fourth):
    upload = withhold(mesh, wire, leaver, model)
    kept = envelopes(mesh)
    half = len(upload.body) // 2
    with RawConnection(mesh.port) as connection:
        connection.send(upload.request(), upload.body[:half])
        mesh.until(lambda: len(partial_files(mesh)) == 1, "half of it is on its way to the disk")
        mesh.client(leaver.name).leave()
        connection.send(upload.body[half:])
        assert connection.answer() == (403, "client_suspended")
    assert (envelopes(mesh), partial_files(mesh)) == (kept, [])
    check_forgotten(mesh, upload, leaver.name)
    send_all(mesh, model, [fourth, *others])
    check_round(mesh, model, [fourth, *others], apart={})


# --- before the freeze


def test_one_leaves_while_its_update_waits(mesh, wire, model, leaver, others):
    upload = withhold(mesh, wire, leaver, model)
    with paused(mesh, "worker", "beat", "reconciler"):
        assert upload.send().status_code == 202
        assert state_of(mesh, upload.upload_id) == "received"
        mesh.client(leaver.name).leave()
        assert state_of(mesh, upload.upload_id) == "erased"
    check_forgotten(mesh, upload, leaver.name)
    send_all(mesh, model, others)
    check_round(mesh, model, others, apart={upload.upload_id: "erased"})


def test_one_leaves_while_its_update_is_decided(mesh, wire, model, leaver, others):
    """The worker finishes what it has begun, and finds that it may keep nothing of it."""
    upload = withhold(mesh, wire, leaver, model)
    with paused(mesh, "beat", "reconciler", "worker"):
        assert upload.send().status_code == 202
        with HeldEnvelope(mesh, upload.upload_id, len(upload.body) // 2) as envelope:
            resume(mesh, "worker")
            mesh.until(lambda: readers(mesh, "worker", envelope.path) and half_staged(mesh), "a worker is inside of it")
            # the worker has its end of the pipe; who erases finds the file
            envelope.put_back()
            mesh.client(leaver.name).leave()
            assert state_of(mesh, upload.upload_id) == "erased"
            assert half_staged(mesh), "the worker is still at it"
            envelope.give_the_rest()
        mesh.until(lambda: not half_staged(mesh), "the worker has come to its end")
    check_forgotten(mesh, upload, leaver.name)
    send_all(mesh, model, others)
    check_round(mesh, model, others, apart={upload.upload_id: "erased"})
    assert not files_of(mesh, upload.upload_id)


def half_staged(mesh):
    return list((mesh.directory / "data" / "staged").glob("*.part"))


def test_one_whose_update_is_staged_leaves_many_times_at_once(mesh, wire, model, leaver, others):
    upload = withhold(mesh, wire, leaver, model)
    assert upload.send().status_code == 202
    mesh.until(lambda: state_of(mesh, upload.upload_id) == "staged", "it is staged")
    assert len(files_of(mesh, upload.upload_id)) == 2
    answers = at_once([lambda: upload.client.delete(ME).status_code] * 20)
    assert answers == [204] * 20
    assert state_of(mesh, upload.upload_id) == "erased"
    check_forgotten(mesh, upload, leaver.name)
    send_all(mesh, model, others)
    check_round(mesh, model, others, apart={upload.upload_id: "erased"})


def test_one_leaves_after_the_seal(mesh, wire, model, leaver, others):
    upload, waiting = withhold(mesh, wire, leaver, model), withhold(mesh, wire, others[0], model)
    assert upload.send().status_code == 202
    with waits_to_be_decided(mesh, waiting):
        send_all(mesh, model, others)
        mesh.until(lambda: mesh.round_state(model) == "sealed", "it is sealed, and one update is not decided")
        mesh.until(lambda: state_of(mesh, upload.upload_id) == "staged", "it is staged")
        mesh.client(leaver.name).leave()
        assert (mesh.round_state(model), state_of(mesh, upload.upload_id)) == ("sealed", "erased")
    check_forgotten(mesh, upload, leaver.name)
    check_round(mesh, model, others, apart={upload.upload_id: "erased"})


def test_one_whose_update_was_refused_leaves(mesh, wire, model, leaver, others):
    upload = withhold(mesh, wire, leaver, model)
    assert upload.send(upload.body[:-1]).status_code == 202
    mesh.until(lambda: state_of(mesh, upload.upload_id) == "rejected", "it is refused")
    mesh.client(leaver.name).leave()
    check_forgotten(mesh, upload, leaver.name)
    send_all(mesh, model, others)
    check_round(mesh, model, others, apart={upload.upload_id: "erased"})


# --- after the freeze


def test_one_who_leaves_while_its_round_is_aggregated_is_in_the_version_and_gone_after_it(
    mesh, wire, model, leaver, others
):
    upload = withhold(mesh, wire, leaver, model)
    with held_shards(mesh, [5]):
        assert upload.send().status_code == 202
        send_all(mesh, model, others)
        mesh.until(lambda: mesh.waiting_for_a_lock("aggregation_shard"), "the last shard is about to be stored")
        assert mesh.round_state(model) == "aggregating"
        mesh.client(leaver.name).leave()
        assert state_of(mesh, upload.upload_id) == "staged"
        check_forgotten(mesh, upload, leaver.name, files_gone=False)
    wait_for_version(mesh, model)
    check_in_version(mesh, model, leaver, others, upload)


def test_one_leaves_after_the_version_is_out(mesh, wire, model, leaver, others):
    upload = withhold(mesh, wire, leaver, model)
    assert upload.send().status_code == 202
    send_all(mesh, model, others)
    wait_for_version(mesh, model)
    mesh.client(leaver.name).leave()
    check_forgotten(mesh, upload, leaver.name)
    check_in_version(mesh, model, leaver, others, upload)


# --- who may no longer take part


def test_one_who_is_revoked_with_an_update_in_the_round_is_left_out_of_it(mesh, wire, model, leaver, others):
    upload = withhold(mesh, wire, leaver, model)
    assert upload.send().status_code == 202
    mesh.until(lambda: state_of(mesh, upload.upload_id) == "staged", "it is staged")
    revoke(mesh, leaver.name)
    assert refusal(upload.client.delete(ME)) == FAILED
    send_all(mesh, model, others)
    check_round(mesh, model, others, apart={upload.upload_id: "expired"})
    assert mesh.value("SELECT code FROM rounds_update WHERE id = %s", upload.upload_id) == "client_suspended"
