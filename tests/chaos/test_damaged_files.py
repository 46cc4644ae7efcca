"""Bytes that our disk has changed: an update's staged segments, or its envelope. Nobody else's update is lost for it."""

import pytest

from tests.chaos.extra_programs import replaced_worker
from tests.chaos.faults import envelope_of, paused, resume
from tests.chaos.invariants import ROUND, check_invariants
from tests.chaos.senders import one_hot_senders, send_all

pytestmark = [pytest.mark.processes, pytest.mark.long]


def flip(path):
    """Change one bit in the middle of a file; its size and name stay."""
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        (byte,) = file.read(1)
        file.seek(-1, 1)
        file.write(bytes([byte ^ 1]))


def cut(path):
    """Lose the second half of a file."""
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


@pytest.mark.parametrize("damage", [flip, cut])
def test_a_member_whose_segments_are_damaged_leaves_the_round_and_the_others_stay(mesh, model, parameters, damage):
    first, *others = one_hot_senders(parameters)
    send_all(mesh, model, [first, *others[:-1]])
    mesh.until(lambda: mesh.update_states(model) == ["staged"] * 3, "three are staged")
    round_id = mesh.value(ROUND, model)
    attempt = mesh.value("SELECT staged_attempt FROM rounds_update WHERE id = %s", first.upload_ids[0])
    damage(mesh.directory / "data" / "staged" / str(round_id) / f"{first.upload_ids[0]}.{attempt}")
    others[-1].send(mesh, model)
    check_invariants(mesh, model, others, lost=[first])
    runs = mesh.rows("SELECT fence, state FROM aggregation_run WHERE round_id = %s ORDER BY fence", round_id)
    assert runs == [(1, "failed"), (2, "published")]
    assert mesh.count("SELECT 1 FROM audit_logentry WHERE round = %s AND type = 'member.removed'", f"{model}/1") == 1


@pytest.mark.parametrize("damage", [flip, cut])
def test_an_envelope_that_we_have_damaged_is_not_held_against_its_sender(mesh, model, parameters, damage):
    first, *others = one_hot_senders(parameters)
    # few attempts, and leases that a busy machine does not lose
    settings = {"BOLTZ_MAX_ATTEMPTS": "3", "BOLTZ_LEASE_SECONDS": "20"}
    with replaced_worker(mesh, name="worker-of-few-attempts", settings=settings) as worker:
        with paused(mesh, "beat", "reconciler", "worker-of-few-attempts"):
            upload_id = first.send(mesh, model).upload_id
            damage(envelope_of(mesh, upload_id))
            resume(mesh, "worker-of-few-attempts")
            failed = "SELECT 1 FROM rounds_update WHERE id = %s AND failures > 0"
            mesh.until(lambda: mesh.count(failed, upload_id), "the worker has failed to open it")
        send_all(mesh, model, others)
        check_invariants(mesh, model, others, unreadable=[first])
        assert "BlobMissingError" in worker.log.read_text()
    assert mesh.value("SELECT failures FROM rounds_update WHERE id = %s", upload_id) == 2
    assert mesh.count("SELECT 1 FROM rounds_update WHERE id = %s AND state = 'rejected'", upload_id) == 0
