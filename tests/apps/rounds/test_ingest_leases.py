"""One update, any number of workers, messages and crashes: it is decided once, and our failures are never the client's."""

import time
from datetime import timedelta

import numpy as np
import pytest
from django.db.models.functions import Now
from django.utils import timezone

from apps.audit import selectors as log
from apps.audit import services as audit
from apps.keys import services as keys
from apps.rounds import services, stores, tasks, versions
from apps.rounds.models import Round, Update
from apps.rounds.services import ingest, leases, lifecycle
from boltz_core.ingest.segments import sealed_length, segment_count
from boltz_core.rounds.states import UpdateState, WrongStateError
from boltz_protocol.errors import NotNowError
from tests.apps.faults import raises
from tests.apps.hostile_envelopes import raw
from tests.apps.places import NORM, submit, vector_of
from tests.apps.unchanged import files, world


@pytest.fixture
def update(place):
    return submit(place)


def staged_files():
    return [name for name in files() if name.startswith("staged")]


def let_the_lease_run_out():
    Update.objects.update(lease_expires_at=Now() - timedelta(seconds=1))


def the_pause_is_over():
    Update.objects.update(not_before=Now() - timedelta(seconds=1))


def no_trace_of_blame(update):
    update.refresh_from_db()
    assert (update.claims, update.norm, update.examples, update.staged_key) == (None, None, None, None)
    assert not log.entries_of_type("update.decided").exists()
    return True


# --- decided once -----------------------------------------------------------------------------------------------------------


def test_a_right_update_is_staged_with_its_facts(update, place):
    services.process_update(update.pk)
    update.refresh_from_db()
    assert (update.state, update.examples, update.staged_attempt) == ("staged", 60, 1)
    assert update.norm == pytest.approx(NORM, rel=1e-6)
    assert (update.step_dot, update.lease_token) == (None, None)
    assert update.claims["examples"] == 60
    assert staged_files() == [f"staged/{update.round_id}/{update.pk}.1"]
    assert files()[staged_files()[0]] == sealed_length(place.layout.parameters)
    detail = audit.read_detail(log.entries_of_type("update.decided").get())
    assert detail == {"upload_id": update.pk, "outcome": "staged", "norm": repr(update.norm), "examples": 60}


def test_nothing_of_an_update_lies_in_clear_on_disk(update, place, mesh):
    services.process_update(update.pk)
    vector = raw(vector_of(place.layout))
    for path in mesh.files():
        content = path.read_bytes()
        assert vector[:12] not in content
        assert vector[-12:] not in content


def test_deciding_twice_changes_nothing_the_second_time(update):
    tasks.process_update(update.pk)
    before = world()
    tasks.process_update(update.pk)
    assert world() == before


def test_a_message_for_an_update_that_is_not_there_does_nothing(mesh):
    before = world()
    services.process_update("never-was")
    assert world() == before


def test_the_dot_with_the_last_step_is_measured_from_the_second_version_on(mesh, place, joined):
    submit(place)
    mesh.finish_round()
    services.open_round(Round.objects.get().model)
    beta = joined("beta", 2)
    step = vector_of(place.layout)
    mine = vector_of(place.layout, 2)
    second = submit(beta, mine)
    services.process_update(second.pk)
    mesh.finish_round(2)
    services.open_round(Round.objects.first().model)
    third = submit(joined("gamma", 3), step)
    services.process_update(third.pk)
    second.refresh_from_db()
    third.refresh_from_db()
    assert second.step_dot == pytest.approx(float(mine.astype(float) @ step.astype(float)), rel=1e-5)
    assert third.step_dot == pytest.approx(float(mine.astype(float) @ step.astype(float)), rel=1e-5)


# --- leases -----------------------------------------------------------------------------------------------------------------


def test_a_claimed_update_is_not_claimed_again_while_its_lease_holds(update):
    assert leases.claim(update.pk) == leases.Lease(update.pk, Update.objects.get().lease_token, 1)
    before = world()
    assert leases.claim(update.pk) is None
    services.process_update(update.pk)
    assert world() == before


def test_an_expired_lease_is_taken_over_as_another_attempt(update):
    first = leases.claim(update.pk)
    let_the_lease_run_out()
    second = leases.claim(update.pk)
    assert (first.attempt, second.attempt) == (1, 2)
    assert Update.objects.get().lost_leases == 1
    assert Update.objects.get().failures == 0


@pytest.mark.parametrize(
    "step",
    [
        leases.renew,
        lambda lease: leases.finish(lease, UpdateState.STAGED),
        lambda lease: leases.finish(lease, UpdateState.REJECTED, code="not_finite"),
    ],
    ids=["renew", "accept", "reject"],
)
def test_who_has_lost_the_lease_can_do_nothing_more(update, step):
    first = leases.claim(update.pk)
    let_the_lease_run_out()
    leases.claim(update.pk)
    before = world()
    with pytest.raises(leases.LeaseLostError):
        step(first)
    leases.give_back(first, "late")
    assert world() == before


def test_the_lease_is_renewed_while_segments_are_written(update, settings):
    settings.BOLTZ_LEASE_SECONDS = 0.03
    lease = leases.claim(update.pk)
    expires = Update.objects.get().lease_expires_at
    keeper = leases.Keeper(lambda: leases.renew(lease))
    keeper.keep()
    assert Update.objects.get().lease_expires_at == expires
    deadline = time.monotonic() + 5
    settings.BOLTZ_LEASE_SECONDS = 60
    while Update.objects.get().lease_expires_at == expires and time.monotonic() < deadline:
        keeper.keep()
    assert Update.objects.get().lease_expires_at > expires + timedelta(seconds=30)


def test_who_stages_an_update_keeps_its_lease_at_each_segment(update, monkeypatch):
    kept = []
    monkeypatch.setattr(leases.Keeper, "keep", lambda _keeper: kept.append("kept"))
    ingest.process_update(update.pk)
    assert kept == ["kept"] * segment_count(update.round.model.parameters)


def test_the_segments_of_a_worker_that_has_lost_its_lease_are_removed(update, monkeypatch):
    """It was slow, another one takes over at the last moment: its file goes, the other one's stays."""
    real = ingest.accept

    def overtaken(row, lease, staged):
        with monkeypatch.context() as second:
            second.setattr(ingest, "accept", real)
            let_the_lease_run_out()
            services.process_update(row.pk)
        real(row, lease, staged)

    monkeypatch.setattr(ingest, "accept", overtaken)
    services.process_update(update.pk)
    update.refresh_from_db()
    assert (update.state, update.staged_attempt, update.lost_leases) == ("staged", 2, 1)
    assert staged_files() == [f"staged/{update.round_id}/{update.pk}.2"]
    assert log.entries_of_type("update.decided").count() == 1


def test_a_rejection_by_a_worker_that_has_lost_its_lease_does_not_count(update, monkeypatch):
    real = ingest.stage

    def wrong(row, lease):
        monkeypatch.setattr(ingest, "stage", real)
        let_the_lease_run_out()
        services.process_update(row.pk)
        raise ingest.SenderError("late and wrong", code="not_finite")

    monkeypatch.setattr(ingest, "stage", wrong)
    services.process_update(update.pk)
    update.refresh_from_db()
    assert (update.state, update.code) == ("staged", "")


def test_an_update_whose_workers_are_lost_again_and_again_is_stalled_without_blame(update, settings):
    for lost in range(settings.BOLTZ_MAX_ATTEMPTS):
        assert leases.claim(update.pk).attempt == lost + 1
        let_the_lease_run_out()
    assert leases.claim(update.pk) is None
    assert no_trace_of_blame(update)
    assert (update.state, update.code) == ("stalled", "server_fault")
    assert "lost 5 times" in update.reason
    assert log.entries_of_type("update.stalled").count() == 1


# --- our own failures -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [MemoryError(), OSError(28, "No space left on device"), ZeroDivisionError()])
def test_a_failure_of_ours_gives_the_update_back_and_it_succeeds_later(update, monkeypatch, error):
    with monkeypatch.context() as fault:
        fault.setattr(ingest, "stage_update", raises(error))
        services.process_update(update.pk)
    assert no_trace_of_blame(update)
    assert (update.state, update.failures, update.lost_leases, update.lease_token) == ("received", 1, 0, None)
    assert staged_files() == []
    the_pause_is_over()
    services.process_update(update.pk)
    update.refresh_from_db()
    assert (update.state, update.staged_attempt) == ("staged", 2)


def test_messages_that_come_twice_do_not_shorten_the_pause_after_a_failure(update, monkeypatch):
    with monkeypatch.context() as fault:
        fault.setattr(ingest, "stage_update", raises(ZeroDivisionError()))
        for _ in range(10):
            services.process_update(update.pk)
    update.refresh_from_db()
    assert (update.state, update.failures, update.attempts) == ("received", 1, 1)


def test_failures_of_ours_are_tried_again_after_growing_pauses_and_then_stalled(update, monkeypatch, settings):
    monkeypatch.setattr(ingest, "stage_update", raises(ZeroDivisionError()))
    pauses = []
    for _ in range(settings.BOLTZ_MAX_ATTEMPTS - 1):
        services.process_update(update.pk)
        update.refresh_from_db()
        the_pause_is_over()
        pauses.append((update.next_kick_at - timezone.now()).total_seconds())
    assert pauses == pytest.approx([30, 60, 120, 240], abs=5)
    services.process_update(update.pk)
    assert no_trace_of_blame(update)
    assert (update.state, update.code, update.reason) == ("stalled", "server_fault", "ZeroDivisionError")
    before = world()
    services.process_update(update.pk)
    assert world() == before


def test_no_pause_is_longer_than_a_quarter_of_an_hour(update, settings):
    settings.BOLTZ_MAX_ATTEMPTS = 30
    Update.objects.update(failures=20)
    leases.give_back(leases.claim(update.pk), "test")
    assert (Update.objects.get().next_kick_at - timezone.now()).total_seconds() == pytest.approx(900, abs=5)


def test_lost_leases_and_failures_are_counted_apart(update, settings):
    leases.claim(update.pk)
    let_the_lease_run_out()
    leases.give_back(leases.claim(update.pk), "test")
    the_pause_is_over()
    assert leases.claim(update.pk).attempt == 3
    assert Update.objects.values_list("lost_leases", "failures").get() == (1, 1)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(path.read_bytes()[:3]),
        lambda path: path.write_bytes(path.read_bytes()[:-1] + b"\0"),
        lambda path: path.write_bytes(b"BTE1" + b"\xff" * 5000),
        lambda path: path.write_bytes(b""),
    ],
    ids=["gone", "cut", "cut in the head", "changed", "overwritten", "empty"],
)
def test_an_envelope_that_was_damaged_on_our_disk_is_not_held_against_its_client(update, damage):
    damage(stores.envelope_path(update.body_sha256))
    services.process_update(update.pk)
    assert no_trace_of_blame(update)
    assert (update.state, update.code, update.failures) == ("received", "", 1)
    assert staged_files() == []


def test_a_key_that_is_gone_is_our_fault(update):
    keys.key_store().destroy(update.server_kid)
    services.process_update(update.pk)
    assert no_trace_of_blame(update)
    assert (update.state, update.failures) == ("received", 1)


def test_a_staging_key_that_is_gone_is_our_fault(update):
    keys.key_store().destroy(update.round.staging_kid)
    services.process_update(update.pk)
    assert no_trace_of_blame(update)
    assert (update.state, update.failures) == ("received", 1)
    assert staged_files() == []


def test_a_base_version_that_is_damaged_is_our_fault_and_no_file_stays_open(mesh, place, joined):
    submit(place)
    mesh.finish_round()
    model = Round.objects.get().model
    services.open_round(model)
    update = submit(joined("beta", 2))
    base = model.versions.get(number=0)
    versions.storage().delete(base.storage_name())
    services.process_update(update.pk)
    update.refresh_from_db()
    assert (update.state, update.failures) == ("received", 1)


def test_a_stalled_update_does_not_keep_its_round_from_ending(update, joined, monkeypatch, settings):
    settings.BOLTZ_MAX_ATTEMPTS = 1
    submit(joined("beta"))
    lifecycle.seal_round(update.round, actor="system")

    with monkeypatch.context() as fault:
        fault.setattr(ingest, "stage_update", raises(ZeroDivisionError()))
        services.process_update(update.pk)
    for other in Update.objects.filter(state="received"):
        services.process_update(other.pk)
    assert Round.objects.get().state == "frozen"
    update.refresh_from_db()
    assert (update.state, update.code, update.reason) == ("expired", "server_fault", "ZeroDivisionError")


# --- an operator has it tried again -----------------------------------------------------------------------------------------


@pytest.fixture
def stalled(update, monkeypatch, settings):
    settings.BOLTZ_MAX_ATTEMPTS = 1
    with monkeypatch.context() as fault:
        fault.setattr(ingest, "stage_update", raises(ZeroDivisionError()))
        services.process_update(update.pk)
    update.refresh_from_db()
    assert update.state == "stalled"
    return update


def test_a_stalled_update_that_is_tried_again_is_staged_under_a_new_attempt(stalled):
    services.try_again(stalled, actor="operator_x")
    services.process_update(stalled.pk)
    stalled.refresh_from_db()
    assert (stalled.state, stalled.code, stalled.reason, stalled.staged_attempt) == ("staged", "", "", 2)
    entry = log.entries_of_type("update.tried_again").get()
    assert (entry.actor, entry.subject) == ("operator_x", stalled.client.pseudonym)


def test_what_is_not_stalled_is_not_tried_again(update):
    before = world()
    with pytest.raises(WrongStateError):
        services.try_again(update, actor="operator_x")
    assert world() == before


def test_after_the_freeze_nothing_is_tried_again(stalled, joined):
    other = submit(joined("beta"))
    lifecycle.seal_round(stalled.round, actor="system")
    services.process_update(other.pk)
    before = world()
    with pytest.raises(NotNowError) as refused:
        services.try_again(stalled, actor="operator_x")
    assert refused.value.code == "round_sealed"
    assert world() == before


def test_a_reason_is_printable_and_short():
    text = ingest.printable("a\0b\x1b[31m\u202e" + "x" * 1000)
    assert text.isprintable()
    assert len(text) == 300
    assert text.startswith("a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}[31m\N{REPLACEMENT CHARACTER}x")


def test_a_minus_zero_is_staged_as_zero(place, mesh):
    update = submit(place, np.full(place.layout.parameters, -0.0, np.float32))
    mesh.finish_round()
    update.refresh_from_db()
    assert (update.state, update.norm) == ("aggregated", 0.0)
    file = versions.storage().open(update.version.storage_name())
    assert b"\x80" not in file.read()[-place.layout.data_bytes :]
    file.close()
