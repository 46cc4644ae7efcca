"""`manage.py aggregate`: one round, now, in this process."""

from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from apps.aggregation import services
from apps.aggregation.models import Run
from apps.audit import selectors as log
from apps.rounds import services as rounds
from apps.rounds.models import Round
from apps.rounds.services import leases
from tests.apps.aggregation.wide_rounds import lose, run_of
from tests.apps.places import submit
from tests.apps.unchanged import nothing_changes


def aggregate(model="boltz-core", number="1"):
    out = StringIO()
    call_command("aggregate", model=model, round=number, stdout=out)
    return out.getvalue().strip()


def test_an_open_round_is_sealed_decided_and_published(place, joined):
    submit(place)
    submit(joined("beta"))
    assert aggregate() == "boltz-core round 1 is published as version 1"
    assert Round.objects.get().version.members == 2
    assert log.entries_of_type("round.sealed").get().actor == "command-line"


def test_the_current_round_needs_no_number(place):
    submit(place)
    assert aggregate(number="current") == "boltz-core round 1 is published as version 1"


def test_a_published_round_is_said_to_be_so_again(place):
    submit(place)
    aggregate()
    with nothing_changes():
        assert aggregate() == "boltz-core round 1 is published as version 1"


def test_a_round_of_several_shards_is_combined_in_this_process(wide, several_shards):
    round_ = wide.freeze(wide.vectors(2), name="wide")
    assert aggregate("wide") == "wide round 1 is published as version 1"
    assert run_of(round_).shards == 3


def test_a_failed_round_is_run_again(wide):
    round_ = wide.freeze(wide.vectors(1), name="wide")
    Round.objects.update(state="failed")
    assert aggregate("wide") == "wide round 1 is published as version 1"
    assert run_of(round_).fence == 1


def test_a_run_that_another_process_has_lost_is_taken_over(wide, several_shards):
    round_ = wide.freeze(wide.vectors(1), name="wide")
    services.aggregate_round(round_.pk)
    lose(run_of(round_))
    assert aggregate("wide") == "wide round 1 is published as version 1"
    assert run_of(round_).fence == 2


def test_a_run_of_another_process_is_helped_along(wide, several_shards):
    round_ = wide.freeze(wide.vectors(1), name="wide")
    services.aggregate_round(round_.pk)
    assert aggregate("wide") == "wide round 1 is published as version 1"
    assert Run.objects.count() == 1


def test_an_open_round_without_its_quorum_says_so_and_stays_open(model):
    with nothing_changes(), pytest.raises(CommandError, match="0 updates and its quorum is 1; it stays open"):
        aggregate()
    assert Round.objects.get().state == "open"


def test_work_that_another_process_has_is_waited_for_elsewhere(place):
    update = submit(place)
    leases.claim(update.pk)
    with pytest.raises(CommandError, match="is sealed: its work goes on in the workers"):
        aggregate()


@pytest.mark.parametrize(
    ("model_name", "number", "code"),
    [("other", "1", "unknown_model"), ("boltz-core", "7", "unknown_round"), ("boltz-core", "x", "unknown_round")],
)
def test_what_is_not_there_is_said(model, model_name, number, code):
    with nothing_changes(), pytest.raises(CommandError, match=code):
        aggregate(model_name, number)


def test_an_abandoned_round_is_not_aggregated(model):
    rounds.abandon_round(Round.objects.get(), actor="test", reason="test")
    with nothing_changes(), pytest.raises(CommandError, match="round_not_open"):
        aggregate()
