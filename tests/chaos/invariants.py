"""What holds after any fault (reliability.md), told by the clients' journals, the database and the files.

Never by what the server says of itself. Small Roman of the design: I1 what was answered with 202 is there, I2 the
aggregate is right to the bit, I3 nothing refused is in it, I4 one version a round, I6 one log entry a transition,
I7 nothing is stuck, I8 the broker holds ids only.
"""

import hashlib

import numpy as np
import safetensors.numpy

from boltz_client.home import Home
from boltz_client.journal import Journal
from boltz_protocol import codec
from boltz_protocol.encoding import from_base64url
from boltz_protocol.messages import Receipt
from tests.chaos.senders import SENDERS
from tests.integration.recomputation import expected_weights, file_digest

ROUND = "SELECT r.id FROM rounds_round r JOIN rounds_federatedmodel m ON m.id = r.model_id WHERE m.name = %s AND r.number = 1"
ONE_ENTRY_EACH = (
    "round.scheduled",
    "round.opened",
    "round.sealed",
    "round.frozen",
    "round.published",
    "version.published",
)


def wait_for_version(mesh, model):
    """Wait for the round's end."""
    mesh.until(lambda: mesh.round_state(model) == "published", f"{model} round 1 is published")


def check_invariants(mesh, model, senders, *, refused=(), lost=(), unreadable=()):
    """All that can be said about round 1 of a model with updates of `senders`.

    `refused` are the ids of some that were refused. Of others our own disk has damaged the staged segments (`lost`), or
    the envelope before it was opened (`unreadable`).
    """
    wait_for_version(mesh, model)
    round_id = mesh.value(ROUND, model)
    for sender in (*senders, *lost):
        check_promise(mesh, model, sender)
    check_members(mesh, round_id, senders, refused, (*lost, *unreadable))
    weights = check_version(mesh, round_id, senders)
    check_canaries(weights, senders, (*lost, *unreadable))
    decided = len(senders) + len(refused) + len(lost)
    check_log(mesh, f"{model}/1", received=decided + len(unreadable), decided=decided)
    check_programs_named_nobody(mesh, (*senders, *lost, *unreadable))
    assert mesh.count("SELECT 1 FROM aggregation_run WHERE state = 'running' AND round_id = %s", round_id) == 0


def check_promise(mesh, model, sender):
    """I1: the receipt in the client's own journal names bytes that lie on disk and in the row, under its upload id."""
    entry = Journal(Home(mesh.homes / sender.name)).read(model, 1)
    receipt = codec.decode(from_base64url(entry.receipt.payload), Receipt)
    assert receipt.body_sha256 in entry.sent
    assert sender.upload_ids == [entry.upload_id] * len(sender.upload_ids)
    rows = mesh.rows(
        "SELECT u.id, u.body_sha256, u.body_bytes FROM rounds_update u JOIN clients_client c ON c.id = u.client_id"
        " WHERE c.name = %s AND u.round_id = (" + ROUND + ")",
        sender.name,
        model,
    )
    assert rows == [(entry.upload_id, receipt.body_sha256, receipt.body_bytes)]
    envelope = mesh.directory / "data" / "inbox" / receipt.body_sha256[:2] / receipt.body_sha256
    assert hashlib.sha256(envelope.read_bytes()).hexdigest() == receipt.body_sha256


def check_members(mesh, round_id, senders, refused, lost):
    """I3, I7: who was staged is in, who was refused is not, and nobody waits. What we lose is nobody's fault but ours."""
    sent, gone = ids_of(senders), ids_of(lost)
    states = dict(mesh.rows("SELECT id, state FROM rounds_update WHERE round_id = %s", round_id))
    expected = dict.fromkeys(sent, "aggregated") | dict.fromkeys(refused, "rejected") | dict.fromkeys(gone, "expired")
    assert states == expected
    codes = mesh.rows("SELECT id, code FROM rounds_update WHERE round_id = %s AND state = 'expired'", round_id)
    assert dict(codes) == dict.fromkeys(gone, "server_fault")
    decision = mesh.value("SELECT decision FROM aggregation_run WHERE round_id = %s AND state = 'published'", round_id)
    assert {member["update_id"] for member in decision["members"]} == sent


def ids_of(senders):
    """The ids of all that these have sent."""
    return {upload_id for sender in senders for upload_id in sender.upload_ids}


def check_version(mesh, round_id, senders):
    """I2, I4: one version, and its file is the one that follows from what the clients have kept."""
    rules = mesh.value("SELECT policy FROM rounds_round WHERE id = %s", round_id)
    base = np.zeros_like(senders[0].vector)
    expected = expected_weights(base, senders, max_norm=rules["max_norm"], example_cap=rules["example_cap"])
    ((digest, members),) = mesh.rows(
        "SELECT weights_sha256, members FROM rounds_modelversion WHERE round_id = %s", round_id
    )
    assert members == len(senders)
    file = mesh.directory / "data" / "versions" / digest[:2] / f"{digest}.safetensors"
    assert hashlib.sha256(file.read_bytes()).hexdigest() == digest
    weights = safetensors.numpy.load_file(file)["w"]
    np.testing.assert_array_equal(weights, expected)
    assert digest == file_digest({"w": expected})
    return weights


def check_canaries(weights, senders, lost):
    """I2: who counts, counts once, with its share; who does not is not there at all."""
    shares = [np.unique(weights[sender.canary]) for sender in senders]
    assert [len(share) for share in shares] == [1] * len(senders)
    # each canary is SENDERS, so that four who weigh the same make 1
    assert abs(np.sum(shares) - SENDERS) < 1e-4
    assert all(share > 0 for share in shares)
    if len({sender.examples for sender in senders}) == 1:
        assert np.allclose(shares, SENDERS / len(senders), rtol=1e-6)
    for sender in lost:
        assert not weights[sender.canary].any()


def check_log(mesh, label, *, received, decided):
    """I6: each step of the round is in the log once."""
    counted = dict(mesh.rows("SELECT type, count(*) FROM audit_logentry WHERE round = %s GROUP BY type", label))
    assert {type_: counted.get(type_) for type_ in ONE_ENTRY_EACH} == dict.fromkeys(ONE_ENTRY_EACH, 1)
    assert (counted["update.received"], counted["update.decided"]) == (received, decided)


def check_programs_named_nobody(mesh, senders):
    """I8: no log of our programs holds a client's name."""
    for name in mesh.processes:
        said = mesh.processes[name].log.read_text(errors="replace")
        assert [sender.name for sender in senders if sender.name in said] == [], name
