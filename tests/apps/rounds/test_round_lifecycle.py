"""A round walks from its opening to its freeze, whoever looks at it and however often."""

import hashlib
from datetime import timedelta

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from apps.audit import selectors as log
from apps.audit import services as audit
from apps.clients import services as clients
from apps.keys import services as keys
from apps.rounds import services, tasks
from apps.rounds.models import FederatedModel, ModelVersion, Participation, Round, Update
from apps.rounds.services import freezing, leases, opening, transitions
from boltz_core.rounds.states import RoundState, UpdateState, WrongStateError
from boltz_protocol import codec
from boltz_protocol.encoding import from_base64url
from boltz_protocol.errors import NotNowError
from boltz_protocol.messages import RoundView
from tests.apps.faults import raises
from tests.apps.places import submit
from tests.apps.signed_requests import read
from tests.apps.unchanged import nothing_changes

SECOND = timedelta(seconds=1)


@pytest.fixture
def round_(model):
    return Round.objects.select_related("model").get()


def state():
    return Round.objects.get().state


def decide_all():
    for update_id in Update.objects.filter(state="received").values_list("pk", flat=True):
        services.process_update(update_id)


# --- opening ----------------------------------------------------------------------------------------------------------------


def test_a_round_opens_with_its_base_its_policy_its_key_and_a_logged_descriptor(model, round_):
    descriptor = round_.read_descriptor()
    assert (round_.state, round_.number, round_.base) == ("open", 1, ModelVersion.objects.get())
    assert descriptor.base_sha256 == round_.base.weights_sha256
    assert descriptor.encryption_key.kid == keys.encryption_key().kid
    assert descriptor.policy == model.round_policy()
    assert keys.key_store().exists(round_.staging_kid)
    logged = audit.read_detail(log.entries_of_type("round.opened").get())["descriptor_sha256"]
    assert logged == hashlib.sha256(from_base64url(round_.signed_descriptor().payload)).hexdigest()


def test_a_round_that_is_open_keeps_its_policy_when_the_models_changes(model, round_):
    changed = codec.decode(codec.encode(model.policy | {"target": 77}), type(model.round_policy()))
    services.change_policy(model, changed, actor="test")
    round_.refresh_from_db()
    model.refresh_from_db()
    assert (round_.round_policy().target, model.round_policy().target) == (10, 77)
    assert log.entries_of_type("policy.changed").count() == 1


def test_a_scheduled_round_opens_when_its_time_has_come_and_not_before(mesh):
    model = mesh.make_model(opened=False)
    planned = services.open_round(model, opens_at=timezone.now() + timedelta(hours=1))
    assert (planned.state, planned.base, planned.descriptor) == ("scheduled", None, None)
    with nothing_changes():
        services.advance_round(planned.pk)
    Round.objects.update(opens_at=timezone.now() - SECOND)
    tasks.advance_round(planned.pk)
    assert state() == "open"
    assert Round.objects.get().read_descriptor().base_version == 0


def test_a_scheduled_round_is_shown_without_a_descriptor(mesh, alpha):
    model = mesh.make_model("later", opened=False)
    services.open_round(model, opens_at=timezone.now() + timedelta(hours=1))
    view = read(alpha.get("/api/v1/models/later/rounds/current"), RoundView)
    assert (view.state, view.descriptor, view.version) == ("scheduled", None, None)


def test_a_model_has_one_live_round(model):
    with nothing_changes(), pytest.raises(NotNowError) as refused:
        services.open_round(model)
    assert refused.value.code == "round_live"


def test_the_database_itself_refuses_a_second_live_round(round_):
    with pytest.raises(IntegrityError), transaction.atomic():
        Round.objects.create(
            model=round_.model, number=2, policy={}, opens_at=timezone.now(), closes_at=timezone.now(), state="failed"
        )


def test_who_comes_second_to_open_a_round_leaves_no_key_behind(mesh, monkeypatch):
    model = mesh.make_model(opened=False)
    planned = services.open_round(model, opens_at=timezone.now() + timedelta(hours=1))
    Round.objects.update(opens_at=timezone.now() - SECOND)
    late = Round.objects.select_related("model").get()
    services.advance_round(planned.pk)
    before = mesh.files()
    store = sorted(path.name for path in keys.key_store()._directory.iterdir())
    opening.start(late)
    assert (late.state, late.staging_kid) == ("open", Round.objects.get().staging_kid)
    assert mesh.files() == before
    assert sorted(path.name for path in keys.key_store()._directory.iterdir()) == store
    assert log.entries_of_type("round.opened").count() == 1


def test_a_round_whose_descriptor_cannot_be_signed_leaves_no_key_behind(mesh, monkeypatch):
    model = mesh.make_model(opened=False)
    before = mesh.files()
    monkeypatch.setattr(opening.keys, "sign_document", raises(keys.KeyMissingError("the signing key is away")))
    with pytest.raises(keys.KeyMissingError):
        services.open_round(model)
    for _ in range(3):
        with pytest.raises(keys.KeyMissingError):
            services.advance_round(Round.objects.get().pk)
    assert mesh.files() == before
    assert state() == "scheduled"


def test_a_model_that_keeps_itself_open_opens_the_next_round_after_its_pause(mesh):
    model = mesh.make_model(keeps_open=True, target=1)
    FederatedModel.objects.update(pause_seconds=600)
    round_ = Round.objects.get()
    with nothing_changes():
        assert services.open_rounds_due() == []
    services.abandon_round(round_, actor="test", reason="test")
    [planned] = services.open_rounds_due()
    assert (planned.model, planned.number, planned.state) == (model, 2, "scheduled")
    round_.refresh_from_db()
    assert planned.opens_at == round_.ended_at + timedelta(seconds=600)
    assert services.open_rounds_due() == []


def test_a_model_that_does_not_keep_itself_open_waits_for_an_operator(model, round_):
    services.abandon_round(round_, actor="test", reason="test")
    with nothing_changes():
        assert services.open_rounds_due() == []


def test_a_pause_that_is_over_does_not_open_a_round_in_the_past(mesh):
    model = mesh.make_model(opened=False, keeps_open=True)
    Round.objects.create(
        model=model,
        number=1,
        policy=model.policy,
        state="abandoned",
        opens_at=timezone.now(),
        closes_at=timezone.now(),
        ended_at=timezone.now() - timedelta(hours=7),
    )
    [opened] = services.open_rounds_due()
    assert opened.state == "open"
    assert opened.closes_at > timezone.now() + timedelta(hours=5)


def test_two_that_open_the_next_round_at_once_make_one(mesh, monkeypatch):
    mesh.make_model(opened=False, keeps_open=True)

    def taken(*_, **__):
        raise NotNowError("another process was first", code="round_live")

    monkeypatch.setattr(opening, "open_round", taken)
    assert services.open_rounds_due() == []


# --- sealing ----------------------------------------------------------------------------------------------------------------


def test_nothing_is_sealed_before_its_time(round_, place):
    submit(place)
    with nothing_changes():
        services.advance_round(round_.pk)


def test_the_target_seals(mesh, mesh_http, joined, model):
    Round.objects.update(policy=model.policy | {"target": 2})
    for name in ("alpha", "beta"):
        update = submit(joined(name))
        services.process_update(update.pk)
    assert state() == "frozen"
    sealed = log.entries_of_type("round.sealed").get()
    assert (sealed.actor, audit.read_detail(sealed)) == ("system", {"accepted": 2})


def test_the_target_counts_envelopes_and_not_their_quality(joined, model):
    """Whether one update is valid must not decide who else is in."""
    Round.objects.update(policy=model.policy | {"target": 2, "quorum": 1})
    places = [joined("alpha"), joined("beta")]
    submit(places[0])
    second = submit(places[1])
    Update.objects.filter(pk=second.pk).update(state="rejected", code="not_finite")
    decide_all()
    assert state() == "frozen"


def test_the_deadline_seals_what_has_come(round_, place):
    submit(place)
    Round.objects.update(closes_at=timezone.now() - SECOND)
    services.advance_round(round_.pk)
    assert state() == "sealed"
    decide_all()
    assert state() == "frozen"


def test_an_operator_seals_once(round_, place):
    submit(place)
    services.seal_round(round_, actor="operator_x")
    sealed_at = Round.objects.get().sealed_at
    assert (state(), log.entries_of_type("round.sealed").get().actor) == ("sealed", "operator_x")
    with nothing_changes(), pytest.raises(NotNowError) as refused:
        services.seal_round(Round.objects.get(), actor="operator_x")
    assert refused.value.code == "round_not_open"
    assert Round.objects.get().sealed_at == sealed_at


def test_a_seal_that_comes_second_is_no_matter_to_the_system(round_):
    late = Round.objects.get()
    services.seal_round(round_, actor="system")
    services.seal_round(late, actor="system")
    assert late.state == "sealed"
    assert log.entries_of_type("round.sealed").count() == 1


# --- freezing ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("busy", ["received", "processing"])
def test_the_freeze_waits_for_work(round_, joined, busy):
    done, waiting = submit(joined("alpha")), submit(joined("beta"))
    services.process_update(done.pk)
    if busy == "processing":
        leases.claim(waiting.pk)
    services.seal_round(round_, actor="system")
    with nothing_changes():
        services.advance_round(round_.pk)
    assert state() == "sealed"


def test_the_freeze_fixes_and_logs_the_membership(round_, joined):
    updates = [submit(joined(name)) for name in ("alpha", "beta", "gamma")]
    Update.objects.filter(pk=updates[2].pk).update(state="rejected")
    services.seal_round(round_, actor="system")
    decide_all()
    frozen = Round.objects.get()
    members = sorted((update.pk, update.body_sha256) for update in updates[:2])
    root = hashlib.sha256(codec.encode([list(member) for member in members])).hexdigest()
    assert (frozen.state, frozen.fence) == ("frozen", 0)
    assert frozen.next_kick_at > timezone.now()
    assert audit.read_detail(log.entries_of_type("round.frozen").get()) == {"members": 2, "membership_root": root}
    with nothing_changes():
        services.advance_round(round_.pk)


def test_a_quarantined_update_does_not_outlive_the_freeze(round_, joined):
    kept, doubtful = submit(joined("alpha")), submit(joined("beta"))
    Update.objects.filter(pk=doubtful.pk).update(state=UpdateState.QUARANTINED)
    services.seal_round(round_, actor="system")
    decide_all()
    assert Update.objects.get(pk=kept.pk).state == "staged"
    assert Update.objects.get(pk=doubtful.pk).state == "expired"
    assert audit.read_detail(log.entries_of_type("round.frozen").get())["members"] == 1


@pytest.mark.parametrize("bar", [clients.suspend, clients.revoke])
def test_what_a_barred_client_has_sent_is_left_out_at_the_freeze(round_, joined, bar):
    kept, barred = submit(joined("alpha")), submit(joined("beta"))
    services.process_update(barred.pk)
    bar(barred.client, actor="operator_x", reason="test")
    barred_at = timezone.now()
    services.seal_round(round_, actor="system")
    decide_all()
    barred.refresh_from_db()
    assert Update.objects.get(pk=kept.pk).state == "staged"
    assert (barred.state, barred.code, barred.decided_at > barred_at) == ("expired", "client_suspended", True)
    assert audit.read_detail(log.entries_of_type("round.frozen").get())["members"] == 1


def test_the_log_says_which_staged_updates_were_left_out_at_the_freeze(round_, joined):
    kept, barred = submit(joined("alpha")), submit(joined("beta"))
    services.process_update(barred.pk)
    clients.suspend(barred.client, actor="operator_x", reason="test")
    services.seal_round(round_, actor="system")
    decide_all()
    entries = log.entries_of_type("update.decided").order_by("created_at")
    outcomes = [(entry.subject, audit.read_detail(entry)["outcome"]) for entry in entries]
    theirs = barred.client.pseudonym
    assert outcomes == [(theirs, "staged"), (kept.client.pseudonym, "staged"), (theirs, "expired")]
    left_out = entries.last()
    assert (left_out.round, audit.read_detail(left_out)) == (
        "boltz-core/1",
        {"upload_id": barred.pk, "outcome": "expired", "code": "client_suspended"},
    )


def test_what_a_client_has_sent_counts_when_it_is_resumed_before_the_freeze(round_, joined):
    update = submit(joined("alpha"))
    clients.suspend(update.client, actor="operator_x", reason="test")
    clients.resume(update.client, actor="operator_x", reason="test")
    services.seal_round(round_, actor="system")
    decide_all()
    assert Update.objects.get().state == "staged"


def test_a_round_without_its_quorum_is_abandoned(round_, place, model):
    Round.objects.update(policy=model.policy | {"quorum": 2})
    update = submit(place)
    services.seal_round(round_, actor="system")
    decide_all()
    ended, update = Round.objects.get(), Update.objects.get(pk=update.pk)
    assert (ended.state, ended.reason) == ("abandoned", "1 staged updates; the quorum is 2")
    assert ended.ended_at is not None
    assert (update.state, update.reason) == ("expired", "the round was abandoned")
    assert ModelVersion.objects.count() == 1
    assert log.entries_of_type("round.abandoned").count() == 1
    assert not log.entries_of_type("round.frozen").exists()


def test_a_round_that_nobody_joined_is_abandoned_at_its_deadline(round_):
    Round.objects.update(closes_at=timezone.now() - SECOND)
    services.advance_round(round_.pk)
    assert state() == "abandoned"


def test_a_freeze_that_comes_second_is_no_matter(round_, place):
    submit(place)
    decide_all()
    services.seal_round(round_, actor="system")
    late = Round.objects.get()
    services.advance_round(round_.pk)
    freezing.freeze(late)
    assert late.state == "frozen"
    assert log.entries_of_type("round.frozen").count() == 1


# --- ending by hand ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("before", ["scheduled", "open", "sealed", "frozen", "failed"])
def test_an_operator_abandons_a_round_with_all_its_updates(round_, joined, before):
    updates = [submit(joined(name)) for name in ("alpha", "beta", "gamma")]
    services.process_update(updates[0].pk)
    leases.claim(updates[1].pk)
    Round.objects.update(state=before)
    services.abandon_round(round_, actor="operator_x", reason="wrong data")
    assert (round_.state, round_.reason) == ("abandoned", "wrong data")
    assert set(Update.objects.values_list("state", flat=True)) == {"expired"}
    abandoned = log.entries_of_type("round.abandoned").get()
    assert (abandoned.actor, audit.read_detail(abandoned)) == ("operator_x", {"reason": "wrong data"})
    with nothing_changes():
        services.process_update(updates[2].pk)


@pytest.mark.parametrize("before", ["aggregating", "published", "abandoned"])
def test_a_round_that_is_past_that_can_not_be_abandoned(round_, before):
    Round.objects.update(state=before)
    with nothing_changes(), pytest.raises(NotNowError) as refused:
        services.abandon_round(round_, actor="operator_x", reason="too late")
    assert refused.value.code == "round_not_open"


def test_work_on_an_abandoned_update_is_thrown_away(round_, place):
    update = submit(place)
    lease = leases.claim(update.pk)
    services.abandon_round(round_, actor="test", reason="test")
    with pytest.raises(leases.LeaseLostError):
        leases.finish(lease, UpdateState.STAGED)


def test_a_change_that_is_in_no_table_is_refused(round_):
    with nothing_changes(), pytest.raises(WrongStateError):
        transitions.move_round(round_, RoundState.OPEN, RoundState.PUBLISHED)


def test_a_change_from_a_state_that_has_passed_does_nothing(round_):
    services.seal_round(Round.objects.get(), actor="system")
    with nothing_changes():
        assert not transitions.move_round(round_, RoundState.OPEN, RoundState.SEALED)
    assert round_.state == "open"


# --- what is there to read --------------------------------------------------------------------------------------------------


def test_rows_can_be_named_in_lists(model, round_, place):
    update = submit(place)
    participation = Participation.objects.select_related("client", "round__model").get()
    assert str(round_) == "boltz-core round 1"
    assert str(participation) == "alpha in boltz-core round 1"
    assert str(update) == f"update {update.pk}"
    assert str(ModelVersion.objects.get()) == "boltz-core v0"


# --- clocks -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("off", [timedelta(minutes=10), -timedelta(minutes=10)], ids=["ahead", "behind"])
def test_a_process_whose_clock_is_off_goes_by_the_databases_deadlines(model, off, monkeypatch):
    # nothing is passed in here that could be wrong: it is the clock of the whole process
    right = timezone.now
    monkeypatch.setattr(timezone, "now", lambda: right() + off)
    round_ = Round.objects.get()
    Round.objects.update(closes_at=right() + timedelta(minutes=5))
    services.advance_round(round_.pk)
    assert state() == "open"
    Round.objects.update(closes_at=right() - SECOND)
    services.advance_round(round_.pk)
    assert state() == "abandoned"


def test_a_frozen_round_is_asked_for_again_in_time_though_a_clock_is_off(joined, monkeypatch):
    right = timezone.now
    for name in ("alpha", "beta", "gamma"):
        submit(joined(name))
    decide_all()
    monkeypatch.setattr(timezone, "now", lambda: right() + timedelta(minutes=10))
    services.seal_round(Round.objects.get(), actor="test")
    services.advance_round(Round.objects.get().pk)
    assert state() == "frozen"
    assert Round.objects.get().next_kick_at < right() + timedelta(minutes=1)
