"""A published round, made again from its record and its staged updates: the same bits, or what differs by name."""

from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from apps.aggregation import services
from apps.aggregation.models import Run
from apps.rounds import versions
from apps.rounds.services import shredding
from boltz_protocol.errors import NotNowError
from tests.apps.aggregation.test_rules_in_rounds import KRUM, NNM, POLICIES, make_vectors
from tests.apps.aggregation.wide_rounds import SEGMENT, flip, members_of, run_of, staged
from tests.apps.unchanged import nothing_changes


@pytest.fixture
def krum_round(wide):
    """A published round of Krum."""
    return published(wide, KRUM)


def published(wide, policy):
    round_ = wide.freeze(make_vectors(wide), **policy)
    services.aggregate_now(round_, actor="test")
    assert round_.state == "published"
    return round_


def altered(round_, **fields):
    """The round, its record changed in the database."""
    run = run_of(round_)
    Run.objects.filter(pk=run.pk).update(decision=run.decision | fields)
    return round_


@pytest.mark.parametrize("policy", [{}, *POLICIES.values()], ids=["plain", *POLICIES])
def test_a_round_replays_to_the_same_bits_and_nothing_is_written(wide, settings, policy):
    settings.BOLTZ_SHARD_PARAMETERS = SEGMENT
    round_ = published(wide, policy)
    settings.BOLTZ_SHARD_PARAMETERS = 2 * SEGMENT
    with nothing_changes():
        replay = services.replay_round(round_)
    assert replay == services.Replay(round_.version.weights_sha256, round_.version.weights_sha256, ())


def test_the_command_says_so(krum_round):
    out = StringIO()
    call_command("replay_run", model=krum_round.model.name, round="1", stdout=out)
    assert krum_round.version.weights_sha256 in out.getvalue()


def test_a_weight_that_was_altered_in_the_record_is_named_three_times(krum_round):
    members = [dict(member, weight=1) for member in run_of(krum_round).decision["members"]]
    differences = services.replay_round(altered(krum_round, members=members)).differences
    assert [said.split(",")[0][:28] for said in differences] == [
        "the log has another decision",
        "decided again",
        "the weights have the digest ",
    ]


def test_a_geometry_that_was_altered_in_the_record_is_named(krum_round):
    differences = services.replay_round(altered(krum_round, geometry_sha256="0" * 64)).differences
    assert any(said.startswith("the members' geometry is") for said in differences)


def test_a_segment_that_was_altered_is_named(krum_round):
    flip(staged(members_of(krum_round)[3]))
    replay = services.replay_round(krum_round)
    assert replay.replayed_sha256 is None
    assert any("does not open" in said for said in replay.differences)


def test_a_base_that_was_altered_is_named(wide, krum_round):
    versions._verified.clear()
    flip(Path(versions.storage().path(krum_round.base.storage_name())))
    assert any("changed on disk" in said for said in services.replay_round(krum_round).differences)


def test_a_record_that_contradicts_itself_is_named(wide):
    round_ = published(wide, NNM)
    assert services.replay_round(altered(round_, mass="2.0")).differences == ("the record's mass is 2.0",)


def test_a_round_that_published_nothing_cannot_be_replayed(wide):
    round_ = wide.freeze(make_vectors(wide), **KRUM)
    with pytest.raises(NotNowError, match="only a published round"):
        services.replay_round(round_)


def test_a_round_that_was_shredded_cannot_be_replayed(krum_round):
    shredding.shred_round(krum_round)
    krum_round.refresh_from_db()
    with pytest.raises(NotNowError, match="replay window is over"):
        services.replay_round(krum_round)


def test_the_command_fails_with_what_differs(krum_round):
    altered(krum_round, geometry_sha256="0" * 64)
    with pytest.raises(CommandError, match="is not what it was:\n- the log has another decision"):
        call_command("replay_run", model=krum_round.model.name, round="1")


@pytest.mark.parametrize(("round_number", "code"), [("7", "unknown_round"), ("x", "unknown_round")])
def test_the_command_names_what_it_does_not_know(krum_round, round_number, code):
    with pytest.raises(CommandError, match=code):
        call_command("replay_run", model=krum_round.model.name, round=round_number)
