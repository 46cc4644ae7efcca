"""Which version is current: by itself, by an operator's hand, and back again."""

import pytest
from django.db import IntegrityError, transaction

from apps.aggregation import services as aggregation
from apps.aggregation.services import beginning
from apps.audit import selectors as log
from apps.audit import services as audit
from apps.rounds import selectors, services, versions
from apps.rounds.models import ModelVersion, Round, Update, Verdict
from apps.rounds.services import opening, promotion
from boltz_core.rounds.states import VersionState, WrongStateError
from boltz_protocol.errors import NotNowError
from tests.apps.mesh import MODEL
from tests.apps.together import together
from tests.apps.unchanged import nothing_changes

pytestmark = pytest.mark.django_db(transaction=True)

WHY = {"actor": "test", "reason": "the forecasts are off"}


def detail(kind):
    return audit.read_detail(log.entries_of_type(kind).get())


@pytest.fixture
def three(trained):
    """Versions 0 to 3; 3 is current."""
    for _ in range(3):
        trained.train()
    return trained


# --- by itself ----------------------------------------------------------------------------------------------------------


def test_without_a_gate_a_version_is_current_when_it_is_published(trained):
    trained.train()
    assert trained.states() == ["superseded", "current"]
    assert not Verdict.objects.exists()
    assert not log.entries_of_type("version.promoted").exists()


def test_a_model_cannot_have_two_current_versions(three):
    with pytest.raises(IntegrityError, match="one_current_version"), transaction.atomic():
        ModelVersion.objects.filter(number=1).update(state=VersionState.CURRENT)


# --- back ---------------------------------------------------------------------------------------------------------------


def test_a_roll_back_makes_an_earlier_version_current_and_marks_those_after_it(three):
    services.roll_back(three.version(1), **WHY)
    assert three.states() == ["superseded", "current", "rolled_back", "rolled_back"]
    assert detail("version.rolled_back") == {
        "model": MODEL,
        "version": 1,
        "instead_of": 3,
        "reason": "the forecasts are off",
        "taken_back": [2, 3],
    }


def test_clients_get_the_version_that_was_rolled_back_to(three):
    assert three.client.pull(MODEL).manifest.number == 3
    services.roll_back(three.version(1), **WHY)
    assert selectors.model_view(three.model).current_version == 1
    pulled = three.client.pull(MODEL)
    assert (pulled.manifest.number, pulled.manifest.weights_sha256) == (1, three.version(1).weights_sha256)


def test_the_next_round_opens_on_the_version_that_was_rolled_back_to(three):
    services.roll_back(three.version(1), **WHY)
    assert three.open().base == three.version(1)


def test_a_version_after_a_roll_back_has_a_number_of_its_own(three):
    services.roll_back(three.version(1), **WHY)
    made = three.train()
    assert (made.number, made.base.number, made.state) == (4, 1, "current")
    assert made.read_manifest().base_sha256 == three.version(1).weights_sha256
    assert three.states() == ["superseded", "superseded", "rolled_back", "rolled_back", "current"]


def test_a_roll_back_can_go_to_a_version_that_was_rolled_back_before(three):
    services.roll_back(three.version(1), **WHY)
    three.train()
    services.roll_back(three.version(2), **WHY)
    assert three.states() == ["superseded", "superseded", "current", "rolled_back", "rolled_back"]


def test_a_roll_back_by_mistake_is_undone_by_a_promotion(three):
    services.roll_back(three.version(0), **WHY)
    services.promote(three.version(3), **WHY)
    assert three.states() == ["superseded", "rolled_back", "rolled_back", "current"]


@pytest.mark.parametrize("number", [2, 3])
def test_there_is_no_roll_back_to_the_current_version_or_a_later_one(three, number):
    services.roll_back(three.version(2), **WHY)
    with nothing_changes(), pytest.raises(WrongStateError, match="there is no way back to it"):
        services.roll_back(three.version(number), **WHY)


def test_damaged_weights_do_not_become_current(three, settings):
    target = three.version(1)
    path = settings.BOLTZ_DATA_DIR / "versions" / target.storage_name()
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")
    with nothing_changes(), pytest.raises(versions.DamagedVersionError, match="changed on disk"):
        services.roll_back(target, **WHY)


# --- back, with a live round --------------------------------------------------------------------------------------------


def test_a_round_on_top_of_what_is_taken_back_is_abandoned_with_its_updates(three):
    three.open()
    three.send(4)
    services.roll_back(three.version(1), **WHY)
    round_ = three.mesh.round(4)
    assert (round_.state, round_.reason) == ("abandoned", "its base was rolled back to version 1")
    assert Update.objects.get(round=round_).state == "expired"
    assert three.open().base == three.version(1)


def test_a_round_that_is_only_scheduled_opens_on_the_version_that_was_rolled_back_to(three):
    round_ = Round.objects.get(pk=three.open().pk)
    Round.objects.filter(pk=round_.pk).update(state="scheduled", base=None, descriptor=None)
    services.roll_back(three.version(1), **WHY)
    services.advance_round(round_.pk)
    assert (three.mesh.round(4).state, three.mesh.round(4).base) == ("open", three.version(1))


def test_the_version_of_a_round_that_was_being_combined_stays_a_candidate(three):
    three.open()
    three.send(4)
    round_ = three.mesh.round(4)
    services.process_update(Update.objects.get(round=round_).pk)
    services.seal_round(round_, actor="test")
    services.advance_round(round_.pk)
    assert beginning.begin_run(round_.pk)
    services.roll_back(three.version(1), **WHY)

    made = three.finish(4)
    services.judge_candidate(made.pk)

    assert three.states() == ["superseded", "current", "rolled_back", "rolled_back", "candidate"]
    verdict = Verdict.objects.get(version=made)
    assert (verdict.state, verdict.reason) == ("held_back", "its base is version 3, and version 1 is current")
    refused = detail("version.refused")
    assert (refused["version"], refused["outcome"], refused["reason"]) == (4, "held_back", verdict.reason)
    assert three.open().base == three.version(1)


def test_a_round_does_not_open_on_a_version_that_is_taken_back_at_that_moment(three, monkeypatch):
    sign = opening.sign_descriptor

    def taken_back_meanwhile(round_):
        signed = sign(round_)
        if round_.base.number == 3:
            # as it is when the round is opened after the roll-back has looked for live ones
            with transaction.atomic():
                promotion.take_back_after(three.version(1))
                promotion.move_version(three.version(1), VersionState.SUPERSEDED, VersionState.CURRENT)
        return signed

    monkeypatch.setattr(opening, "sign_descriptor", taken_back_meanwhile)
    keys_before = len(three.mesh.files("keys"))
    round_ = three.open()
    assert (round_.state, round_.base) == ("scheduled", None)
    assert len(three.mesh.files("keys")) == keys_before
    services.advance_round(round_.pk)
    assert (three.mesh.round(4).state, three.mesh.round(4).base) == ("open", three.version(1))


# --- by hand ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def candidate(three):
    """Version 4 is a candidate on top of 3, without a verdict yet."""
    made = three.train()
    ModelVersion.objects.filter(pk=made.pk).update(state="candidate")
    ModelVersion.objects.filter(number=3).update(state="current")
    return three


def test_a_candidate_is_promoted_by_hand(candidate):
    services.promote(candidate.version(4), **WHY)
    assert candidate.states() == ["superseded", "superseded", "superseded", "superseded", "current"]
    assert detail("version.promoted") == {
        "model": MODEL,
        "version": 4,
        "instead_of": 3,
        "reason": "the forecasts are off",
    }


def test_a_candidate_is_not_what_clients_get_as_the_latest(candidate):
    assert candidate.client.pull(MODEL).manifest.number == 3
    assert candidate.open().base == candidate.version(3)


def test_a_candidate_stays_one_when_a_roll_back_goes_behind_it(candidate):
    services.roll_back(candidate.version(1), **WHY)
    assert candidate.states() == ["superseded", "current", "rolled_back", "rolled_back", "candidate"]


@pytest.mark.parametrize("number", [0, 3])
def test_the_current_version_and_those_before_it_are_not_promoted(candidate, number):
    with nothing_changes(), pytest.raises(WrongStateError, match="it cannot be promoted"):
        services.promote(candidate.version(number), **WHY)


def test_a_candidate_is_not_rolled_back_to(candidate):
    with nothing_changes(), pytest.raises(WrongStateError, match="there is no way back to it"):
        services.roll_back(candidate.version(4), **WHY)


def test_a_live_round_goes_on_after_a_promotion_and_its_version_stays_a_candidate(candidate):
    candidate.open()
    candidate.send(5)
    services.promote(candidate.version(4), **WHY)
    made = candidate.finish(5)
    services.judge_candidate(made.pk)
    assert (made.number, made.base.number, candidate.states()[4:]) == (5, 3, ["current", "candidate"])


# --- several at once ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("attempt", range(4))
def test_of_many_who_change_the_current_version_at_once_each_sees_what_the_others_did(candidate, attempt):
    decisions = [
        lambda: services.promote(candidate.version(4), **WHY),
        lambda: services.promote(candidate.version(4), **WHY),
        lambda: services.roll_back(candidate.version(1), **WHY),
        lambda: services.roll_back(candidate.version(2), **WHY),
    ]
    outcomes = together(*decisions[attempt:], *decisions[:attempt])
    done = [outcome for outcome in outcomes if outcome is None]
    assert [outcome for outcome in outcomes if not isinstance(outcome, NotNowError | None)] == []
    assert (
        1
        <= len(done)
        == log.entries_of_type("version.promoted").count() + (log.entries_of_type("version.rolled_back").count())
    )
    assert candidate.states().count("current") == 1


@pytest.mark.parametrize("number", [4, 5])
def test_a_roll_back_and_a_publication_at_once_end_in_one_current_version(three, number):
    for _ in range(number - 4):
        three.train()
    three.open()
    three.send(number)
    round_ = three.mesh.round(number)
    services.process_update(Update.objects.get(round=round_).pk)
    services.seal_round(round_, actor="test")
    services.advance_round(round_.pk)
    aggregation.aggregate_round(round_.pk)

    published, rolled_back = together(
        lambda: aggregation.aggregate_now(three.mesh.round(number), actor="test"),
        lambda: services.roll_back(three.version(1), **WHY),
    )

    assert not isinstance(published, Exception)
    assert rolled_back is None or isinstance(rolled_back, NotNowError)
    for verdict in selectors.verdicts_waiting():
        services.judge_candidate(verdict.version_id)
    states = three.states()
    assert states.count("current") == 1
    assert states[1] == "current" if rolled_back is None else states[-1] == "current"
