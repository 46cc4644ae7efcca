"""What holds for one who has left, and for the round in which an update does not count any more."""

from tests.apps.signed_requests import ME, refusal
from tests.chaos.invariants import (
    ONE_ENTRY_EACH,
    ROUND,
    check_canaries,
    check_promise,
    check_version,
    wait_for_version,
)

FAILED = (401, "authentication_failed")


def files_of(mesh, upload_id):
    """What lies on disk of an update."""
    found = mesh.rows("SELECT body_sha256, round_id FROM rounds_update WHERE id = %s", upload_id)
    staged = mesh.directory / "data" / "staged"
    kept = [path for _, round_id in found for path in (staged / str(round_id)).glob(f"{upload_id}.*")]
    inbox = mesh.directory / "data" / "inbox"
    return kept + [path for digest, _ in found for path in inbox.glob(f"??/{digest}")]


def state_of(mesh, upload_id):
    return mesh.value("SELECT state FROM rounds_update WHERE id = %s", upload_id)


def check_forgotten(mesh, upload, name, *, files_gone=True):
    """I8 for one who has left: no name, no key, no byte of what it sent, and no second departure."""
    client_id = upload.client.record.id
    ((state, now_named, region),) = mesh.rows("SELECT state, name, region FROM clients_client WHERE id = %s", client_id)
    assert (state, now_named[:7], region) == ("erased", "erased-", "")
    assert mesh.count("SELECT 1 FROM clients_client WHERE name = %s", name) == 0
    assert mesh.count("SELECT 1 FROM clients_clientkey WHERE client_id = %s AND state = 'active'", client_id) == 0
    ((subject_kid, forgotten),) = mesh.rows(
        "SELECT s.kid, s.forgotten_at IS NOT NULL FROM audit_subject s"
        " JOIN clients_client c ON c.pseudonym = s.pseudonym WHERE c.id = %s",
        client_id,
    )
    assert forgotten
    assert not (mesh.directory / "data" / "keys" / f"{subject_kid}.key").exists()
    entries = dict(
        mesh.rows(
            "SELECT type, count(*) FROM audit_logentry WHERE subject ="
            " (SELECT pseudonym FROM clients_client WHERE id = %s) GROUP BY type",
            client_id,
        )
    )
    assert (entries["client.erased"], entries["subject.forgotten"]) == (1, 1)
    assert refusal(upload.client.get(ME)) == FAILED
    assert upload.client.delete(ME).status_code == 204
    if files_gone:
        mesh.until(
            lambda: not files_of(mesh, upload.upload_id), f"no byte of {files_of(mesh, upload.upload_id)} is left"
        )


def check_round(mesh, model, members, *, apart):
    """The invariants of a round in which some updates, by id with their state, do not count."""
    wait_for_version(mesh, model)
    round_id = mesh.value(ROUND, model)
    for sender in members:
        check_promise(mesh, model, sender)
    states = dict(mesh.rows("SELECT id, state FROM rounds_update WHERE round_id = %s", round_id))
    assert states == {sender.upload_ids[0]: "aggregated" for sender in members} | apart
    check_canaries(check_version(mesh, round_id, members), members, ())
    log = dict(mesh.rows("SELECT type, count(*) FROM audit_logentry WHERE round = %s GROUP BY type", f"{model}/1"))
    assert {type_: log.get(type_) for type_ in ONE_ENTRY_EACH} == dict.fromkeys(ONE_ENTRY_EACH, 1)
    assert log["update.received"] == len(members) + len(apart)


def check_in_version(mesh, model, leaver, others, upload):
    """A published version keeps what it was made of; of the update nothing but its share is left."""
    check_forgotten(mesh, upload, leaver.name)
    round_id = mesh.value(ROUND, model)
    members = [leaver, *others]
    check_canaries(check_version(mesh, round_id, members), members, ())
    for sender in others:
        check_promise(mesh, model, sender)
    ((state, claims, norm, staged_key),) = mesh.rows(
        "SELECT state, claims, norm, staged_key FROM rounds_update WHERE id = %s", upload.upload_id
    )
    assert (state, claims, norm, staged_key) == ("aggregated", None, None, None)
