"""The combine is exact: the same bits from any number of shards, in any order, as often as one likes."""

from itertools import pairwise

import numpy as np
import pytest

from apps.aggregation import services
from apps.aggregation.models import Run, Shard
from apps.rounds import services as rounds
from apps.rounds import versions
from apps.rounds.models import ModelVersion, Round, Update
from boltz_core.aggregation.decision import Decision
from tests.apps.aggregation.wide_rounds import MAX_NORM, SEGMENT, WideRounds, members_of, run_of, weights_of
from tests.apps.places import submit, vector_of

GAMMA = 2.0**-33  # of the grid for norms up to 0.5
PARAMETERS = 120_000  # seven shards and a bit


@pytest.fixture
def wide(mesh, mesh_http):
    return WideRounds(mesh_http, PARAMETERS)


def see_through(round_, numbers=None):
    """Aggregate a round, its shards in the order given."""
    services.aggregate_round(round_.pk)
    run = run_of(round_)
    for number in numbers or range(run.shards):
        services.combine_shard(run.pk, number)
    services.finish_run(run.pk)
    round_.refresh_from_db()
    return round_.version


def test_one_shard_and_seven_give_one_sha256_in_any_order_and_twice(wide, settings):
    vectors, examples = wide.vectors(3), [60, 252, 1]
    digests = {}
    for shards, order in ((1, None), (7, None), (7, [6, 2, 0, 5, 3, 1, 4]), (7, [0, 0, 1, 2, 3, 3, 4, 5, 6, 0])):
        settings.BOLTZ_SHARD_PARAMETERS = SEGMENT if shards == 7 else 1 << 20
        # other clients and other upload ids, so the rows come in another order too
        turned = len(digests) % 3
        round_ = wide.freeze(vectors[turned:] + vectors[:turned], examples=examples[turned:] + examples[:turned])
        version = see_through(round_, order)
        assert run_of(round_).shards == shards
        digests[len(digests)] = version.weights_sha256
    assert len(digests) == 4
    assert len(set(digests.values())) == 1


def test_one_hot_clients_are_in_the_sum_once_each(wide, several_shards):
    places = [0, 16_383, 16_384, PARAMETERS - 1]
    vectors = [np.zeros(PARAMETERS, np.float32) for _ in places]
    for vector, position in zip(vectors, places, strict=True):
        vector[position] = MAX_NORM
    round_ = wide.freeze(vectors)
    see_through(round_)
    sums = weights_of(round_) * len(places) / MAX_NORM
    assert set(np.unique(sums)) == {0.0, 1.0}
    assert np.flatnonzero(sums).tolist() == places


def test_the_result_is_the_weighted_mean_as_numpy_has_it(wide, several_shards):
    vectors, examples = wide.vectors(5), [10, 20, 30, 40, 252]
    round_ = wide.freeze(vectors, examples=examples)
    see_through(round_)
    expected = np.average(np.stack(vectors).astype(np.float64), axis=0, weights=examples)
    got = weights_of(round_)
    # each row is rounded to the grid once, each weight to 20 bits, the sum to float32 once
    tolerance = GAMMA + 1e-6 * np.abs(vectors).max() + np.spacing(np.abs(expected).astype(np.float32))
    assert (np.abs(got - expected) <= tolerance).all()
    assert round_.version.step_norm == pytest.approx(np.linalg.norm(expected), rel=1e-6)


def test_examples_count_up_to_the_cap_whatever_is_claimed(wide):
    round_ = wide.freeze(wide.vectors(3), examples=[252, 2**53 - 1, 126], example_cap=252)
    see_through(round_)
    shares = {update.examples: update.share for update in members_of(round_)}
    assert shares[252] == shares[2**53 - 1] == pytest.approx(0.4, rel=1e-6)
    assert shares[126] == pytest.approx(0.2, rel=1e-5)
    assert sum(shares.values()) == pytest.approx(1)


def test_one_claim_of_very_many_examples_does_not_drown_the_others(wide):
    vectors = wide.vectors(2)
    round_ = wide.freeze(vectors, examples=[1, 2**53 - 1], example_cap=1)
    see_through(round_)
    assert weights_of(round_) == pytest.approx(np.mean(vectors, axis=0), abs=1e-9)


def test_the_decision_is_recorded_so_that_it_can_be_made_again(wide):
    round_ = wide.freeze(wide.vectors(3), examples=[1, 2, 3])
    see_through(round_)
    run = Run.objects.get()
    decided = Decision.from_record(run.decision)
    assert [member.update_id for member in decided.members] == [update.pk for update in members_of(round_)]
    assert decided.shares == tuple(update.share for update in members_of(round_))


def test_each_shard_is_written_once_with_its_range_and_digest(wide, several_shards):
    round_ = wide.freeze(wide.vectors(1))
    services.aggregate_round(round_.pk)
    run = run_of(round_)
    for number in (3, 3, 0, 6, 1, 2, 4, 5, 0):
        services.combine_shard(run.pk, number)
    shards = list(Shard.objects.order_by("number"))
    assert [shard.number for shard in shards] == list(range(7))
    assert [shards[0].start, *[shard.stop for shard in shards]][-1] == PARAMETERS
    assert all(one.stop == other.start for one, other in pairwise(shards))
    assert str(shards[0]) == f"shard 0 (combine) of run 1 of {round_}"


def test_more_members_than_files_that_may_be_open_change_nothing(wide, several_shards, monkeypatch):
    vectors = wide.vectors(3)
    digests = []
    for most in (256, 2):
        monkeypatch.setattr("apps.rounds.selectors.staged.OPEN_FILES", most)
        digests.append(see_through(wide.freeze(vectors)).weights_sha256)
    assert digests[0] == digests[1]


def test_a_step_is_added_to_the_version_that_the_round_was_opened_on(mesh, place, joined):
    submit(place)
    mesh.finish_round()
    rounds.open_round(Round.objects.get().model)
    submit(joined("beta", 2), vector_of(place.layout, 2))
    mesh.finish_round(2)
    first, second = (vector_of(place.layout, seed) for seed in (1, 2))
    newest = ModelVersion.objects.get(state="current")
    assert (newest.number, newest.base.number, newest.base.state) == (2, 1, "superseded")
    reader = versions.WeightsReader(newest, place.layout)
    assert reader.read(0, 10) == pytest.approx(first + second, abs=1e-7)
    reader.close()


def test_a_round_of_one_small_model_needs_no_chord(mesh, place, messages):
    submit(place)
    rounds.process_update(place.upload_id)
    rounds.seal_round(Round.objects.get(), actor="system")
    rounds.advance_round(Round.objects.get().pk)
    services.aggregate_round(Round.objects.get().pk)
    assert Round.objects.get().state == "published"
    assert not [message for message in messages if message[0].startswith("aggregation.combine")]
    assert Update.objects.get().share == 1.0
