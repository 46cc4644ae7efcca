"""The mesh's encryption key changes in the middle of a round: nothing in flight is lost, and the old key really goes."""

from datetime import timedelta
from io import StringIO

import pytest
from django.conf import settings
from django.core.management import call_command
from django.utils import timezone

from apps.audit import selectors as log
from apps.audit import services as audit
from apps.keys import services as keys
from apps.keys.models import MeshKey
from apps.rounds import services
from apps.rounds.models import Round, Update
from apps.rounds.services import key_rotation, leases
from boltz_client import open_round, participation
from boltz_client.update import seal_update
from tests.apps.faults import can_be_destroyed_again, cannot_be_destroyed, raises
from tests.apps.hostile_envelopes import descriptor_of, seal, send
from tests.apps.mesh import data
from tests.apps.places import submit, vector_of
from tests.apps.raw_wsgi import Interrupted, call
from tests.apps.signed_requests import refusal
from tests.apps.together import together
from tests.apps.unchanged import nothing_changes

ROUND = "/api/v1/models/boltz-core/rounds/1"


@pytest.fixture
def body(place):
    return seal(place, vector_of(place.layout))


@pytest.fixture
def rotate(place):
    """Rotate, as if it had been this many seconds ago; the old key's id."""

    def run(seconds_ago=0):
        old = keys.encryption_key().kid
        services.rotate_encryption_key(actor="test")
        MeshKey.objects.filter(kid=old).update(not_after=timezone.now() - timedelta(seconds=seconds_ago))
        return old

    return run


def key_files():
    return {path.name for path in keys.key_store()._directory.glob("*.key")}


# --- uploads on their way ---------------------------------------------------------------------------------------------------


def test_an_envelope_sealed_before_the_rotation_is_taken_and_opened(place, body, rotate):
    old = rotate()
    assert send(place, body).status_code == 202
    services.process_update(place.upload_id)
    update = Update.objects.get()
    assert (update.state, update.server_kid) == ("staged", old)


def test_an_update_taken_before_the_rotation_is_opened_after_it(place, rotate):
    submit(place)
    rotate(seconds_ago=10**6)
    services.process_update(place.upload_id)
    assert Update.objects.get().state == "staged"


def test_an_envelope_for_a_key_that_is_past_its_grace_is_refused(place, body, rotate):
    rotate(seconds_ago=settings.BOLTZ_KEY_GRACE_SECONDS / 2 + 5)
    with nothing_changes():
        assert refusal(send(place, body)) == (409, "encryption_key_retired")


def test_a_key_that_passes_its_grace_while_the_body_is_under_way_is_refused(place, body, rotate, wsgi_application):
    """It could be destroyed before the update is decided, and that would look like a fault of the client's."""
    late = settings.BOLTZ_KEY_GRACE_SECONDS / 2 + 5
    headers = place.client.signer.headers("PUT", place.path, body=body, content_type="application/vnd.boltz.envelope")
    stream = Interrupted(body, lambda: rotate(seconds_ago=late), first=len(body) - 1)
    answer = call(wsgi_application, "PUT", place.path, headers, stream, length=len(body))
    assert refusal(answer) == (409, "encryption_key_retired")
    assert not Update.objects.exists()


def test_the_descriptor_of_an_open_round_names_the_new_key(place, rotate):
    before = place.descriptor
    rotate()
    after = descriptor_of(place.client, ROUND)
    assert after.encryption_key.kid == keys.encryption_key().kid != before.encryption_key.kid
    assert after.base_sha256 == before.base_sha256
    renewed = audit.read_detail(log.entries_of_type("round.descriptor_renewed").get())
    assert renewed.keys() == {"descriptor_sha256"}


def test_rounds_that_are_not_open_keep_their_descriptor(place, rotate):
    services.seal_round(Round.objects.get(), actor="system")
    before = Round.objects.get().descriptor
    rotate()
    assert Round.objects.get().descriptor == before


def test_a_round_that_was_opened_during_a_rotation_gets_the_new_key_by_the_tick(place, rotate):
    """Its descriptor was signed before the rotation and committed after it: nobody could take part for long."""
    stale = Round.objects.get().descriptor
    rotate()
    Round.objects.update(descriptor=stale)
    key_rotation.renew_descriptors()
    assert descriptor_of(place.client, ROUND).encryption_key.kid == keys.encryption_key().kid
    with nothing_changes():
        key_rotation.renew_descriptors()


def test_the_sdk_seals_again_by_itself(mesh, model, rotate, monkeypatch):
    """The key is retired between the moment it reads the descriptor and the moment its envelope arrives."""
    client = mesh.client("beta")
    sealed_for = []

    def seal_and_rotate(update, descriptor, *arguments, **named):
        sealed_for.append(descriptor.encryption_key.kid)
        envelope = seal_update(update, descriptor, *arguments, **named)
        if len(sealed_for) == 1:
            rotate(seconds_ago=10**6)
        return envelope

    monkeypatch.setattr(participation, "seal_update", seal_and_rotate)
    result = client.participate_in_round("boltz-core", data(1), round_number=1)
    assert len(sealed_for) == len(set(sealed_for)) == 2
    assert open_round is not None
    services.process_update(result.upload_id)
    update = Update.objects.get()
    assert (update.state, update.server_kid) == ("staged", sealed_for[1])


# --- destruction ------------------------------------------------------------------------------------------------------------


def test_a_retired_key_is_kept_for_its_grace_time(place, rotate):
    old = rotate(seconds_ago=settings.BOLTZ_KEY_GRACE_SECONDS - 60)
    with nothing_changes():
        assert services.destroy_retired_keys() == []
    assert keys.key_store().exists(old)


@pytest.mark.parametrize("state", ["received", "processing"])
def test_a_retired_key_is_kept_while_an_update_in_work_needs_it(place, rotate, state):
    submit(place)
    if state == "processing":
        leases.claim(place.upload_id)
    old = rotate(seconds_ago=10**6)
    with nothing_changes():
        assert services.destroy_retired_keys() == []
    assert keys.key_store().exists(old)


def test_a_retired_key_that_nothing_needs_is_really_gone(place, rotate):
    submit(place)
    old = rotate(seconds_ago=10**6)
    services.process_update(place.upload_id)
    before = key_files()
    assert services.destroy_retired_keys() == [old]
    assert before - key_files() == {f"{old}.key"}
    assert MeshKey.objects.get(kid=old).state == "destroyed"
    with pytest.raises(keys.KeyMissingError):
        keys.key_store().unwrap(old, bytes(384))
    assert old not in {key.kid for key in keys.key_set().keys}


def test_destruction_logs_its_intent_and_its_end_and_happens_once(place, rotate):
    old = rotate(seconds_ago=10**6)
    services.destroy_retired_keys()
    with nothing_changes():
        assert services.destroy_retired_keys() == []
    assert [audit.read_detail(entry)["kid"] for entry in log.entries_of_type("key.destruction_begun")] == [old]
    assert [audit.read_detail(entry)["kid"] for entry in log.entries_of_type("key.destroyed")] == [old]


def test_an_act_that_fails_again_and_again_is_announced_once(place, rotate, monkeypatch):
    old = rotate(seconds_ago=10**6)
    with monkeypatch.context() as fault:
        fault.setattr(key_rotation.keys, "destroy_retired_key", raises(OSError(30, "read-only file system")))
        for _ in range(3):
            assert services.destroy_retired_keys() == []
    assert services.destroy_retired_keys() == [old]
    assert log.entries_of_type("key.destruction_begun").count() == 1


def test_a_key_that_cannot_be_destroyed_does_not_keep_the_others(place, rotate, caplog):
    stuck, other = rotate(seconds_ago=10**6), 43 * "k"
    keys.key_store().put(other, use="enc", alg="RSA-OAEP-256", secret=b"private half")
    long_ago = timezone.now() - timedelta(days=365)
    MeshKey.objects.create(kid=other, use="enc", state="retired", public={}, not_before=long_ago, not_after=long_ago)
    file = keys.key_store()._path(stuck)
    cannot_be_destroyed(file)
    assert services.destroy_retired_keys() == [other]
    assert "IsADirectoryError" in caplog.text
    assert set(MeshKey.objects.filter(use="enc").values_list("kid", "state")) >= {
        (stuck, "retired"),
        (other, "destroyed"),
    }
    can_be_destroyed_again(file)
    assert services.destroy_retired_keys() == [stuck]


def test_a_destruction_that_another_process_was_faster_with_is_logged_once(place, rotate, monkeypatch):
    rotate(seconds_ago=10**6)
    monkeypatch.setattr(keys, "destroy_retired_key", lambda _: False)
    assert services.destroy_retired_keys() == []
    assert not log.entries_of_type("key.destroyed").exists()


def test_the_current_key_is_never_destroyed(place):
    MeshKey.objects.update(not_after=timezone.now() - timedelta(days=365))
    assert services.destroy_retired_keys() == []
    assert keys.key_store().exists(keys.encryption_key().kid)


# --- when -------------------------------------------------------------------------------------------------------------------


def test_a_key_is_rotated_when_it_has_reached_its_age_and_not_before(place):
    young = keys.encryption_key()
    with nothing_changes():
        key_rotation.rotate_when_due()
    MeshKey.objects.filter(kid=young.kid).update(not_before=timezone.now() - timedelta(days=8))
    key_rotation.rotate_when_due()
    assert keys.encryption_key().kid != young.kid
    with nothing_changes():
        key_rotation.rotate_when_due()


@pytest.mark.django_db(transaction=True)
def test_two_ticks_that_find_a_key_due_at_once_rotate_it_once(mesh, monkeypatch):
    monkeypatch.setattr("apps.dispatch._publisher.put", lambda *_: True)
    MeshKey.objects.filter(use="enc").update(not_before=timezone.now() - timedelta(days=8))
    together(*[key_rotation.rotate_when_due] * 2)
    assert MeshKey.objects.filter(use="enc").count() == 2
    assert log.entries_of_type("key.rotated").count() == 1


def test_an_operator_rotates_from_the_command_line(place):
    out = StringIO()
    call_command("rotate_keys", use="enc", stdout=out)
    assert out.getvalue().strip() == keys.encryption_key().kid
    call_command("rotate_keys", use="sig", stdout=out)
    assert out.getvalue().split()[1] == keys.signing_key().kid
    assert MeshKey.objects.count() == 4
    assert place.client.get(ROUND).status_code == 200


def test_receipts_from_before_a_rotation_of_the_signing_key_stay_the_same(place, body):
    first = send(place, body)
    key_rotation.rotate_signing_key(actor="test")
    assert send(place, body).content == first.content
    assert len(keys.key_set().successions) == 1


# --- clocks -----------------------------------------------------------------------------------------------------------------


def test_a_process_whose_clock_is_ahead_takes_and_keeps_a_key_for_its_full_time(place, rotate, monkeypatch):
    old, right = rotate(seconds_ago=400), timezone.now
    # nothing is passed in here that could be wrong: it is the clock of the whole process
    monkeypatch.setattr(timezone, "now", lambda: right() + timedelta(minutes=10))
    assert keys.is_usable(old)
    assert key_rotation.destroy_retired_keys() == []


def test_a_process_whose_clock_is_behind_retires_a_key_by_the_databases(place, monkeypatch):
    old, right = keys.encryption_key().kid, timezone.now
    monkeypatch.setattr(timezone, "now", lambda: right() - timedelta(minutes=16))
    services.rotate_encryption_key(actor="test")
    assert keys.is_usable(old)
    assert key_rotation.destroy_retired_keys() == []
