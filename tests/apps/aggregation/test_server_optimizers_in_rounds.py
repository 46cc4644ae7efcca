"""Server optimizers: their state belongs to a version, lies beside its weights, and is in its manifest."""

import os
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from msgspec import structs

from apps.aggregation import services
from apps.aggregation.services import shard_files
from apps.rounds import services as rounds
from apps.rounds import versions
from apps.rounds.models import ModelVersion
from apps.rounds.services import registry
from boltz_core.aggregation.server_optimizer import OPTIMIZERS, make_optimizer
from boltz_core.aggregation.server_step import apply_step
from tests.apps.aggregation.wide_rounds import (
    PARAMETERS,
    SEGMENT,
    SHARDS,
    combine_all,
    flip,
    run_of,
    step_files,
    weights_of,
)
from tests.apps.hostile_envelopes import seal, send, take_place
from tests.apps.signed_requests import enrolled

NAMES = [name for name in OPTIMIZERS if name != "none"]


def another_round(wide, model, vectors, name):
    """The next round of a model, aggregated."""
    round_ = rounds.open_round(model)
    for number, vector in enumerate(vectors):
        place = take_place(
            enrolled(wide.http, f"{name}-{number}"),
            model.tensor_layout(),
            model=model.name,
            round_number=round_.number,
        )
        assert send(place, seal(place, vector)).status_code == 202
        rounds.process_update(place.upload_id)
    round_.refresh_from_db()
    return services.aggregate_now(round_, actor="test")


def state_of(version):
    """The vectors that are stored with a version."""
    with versions.open_stored(versions.state_in(version)) as file:
        return safetensors.numpy.load(file.read())


def expected(name, steps):
    """Weights and state after these steps, in one go."""
    optimizer = make_optimizer(name)
    weights = np.zeros(PARAMETERS, np.float32)
    state = {key: np.full(PARAMETERS, value, np.float32) for key, value in optimizer.initial_state.items()}
    for step in steps:
        wide = step.astype(np.float64)
        optimizer.change_step(wide, state)
        apply_step(weights, wide)
    return weights, state


@pytest.mark.parametrize("name", NAMES)
def test_two_rounds_under_an_optimizer_give_what_it_gives_in_one_go(wide, several_shards, name):
    first, second = wide.vectors(1), wide.vectors(1)
    round_ = services.aggregate_now(wide.freeze(first, optimizer=name), actor="test")
    weights, state = expected(name, first)
    np.testing.assert_allclose(weights_of(round_), weights, rtol=1e-6, atol=1e-8)
    for key, vector in state.items():
        np.testing.assert_allclose(state_of(round_.version)[key], vector, rtol=1e-5, atol=1e-9)
    weights, state = expected(name, first + second)
    later = another_round(wide, round_.model, second, name)
    np.testing.assert_allclose(weights_of(later), weights, rtol=1e-5, atol=1e-7)
    for key, vector in state.items():
        np.testing.assert_allclose(state_of(later.version)[key], vector, rtol=1e-5, atol=1e-9)
    assert services.replay_round(later).differences == ()


def test_the_manifest_covers_the_state_and_clients_do_not_need_it(wide):
    round_ = services.aggregate_now(wide.freeze(wide.vectors(1), optimizer="yogi"), actor="test")
    manifest = round_.version.read_manifest()
    assert (manifest.optimizer, manifest.state_sha256) == ("yogi", round_.version.state_sha256)
    assert round_.base.read_manifest().state_sha256 is None


@pytest.mark.parametrize("name", NAMES)
def test_however_many_shards_there_are_weights_and_state_are_the_same_to_the_bit(wide, settings, name):
    vectors, found = wide.vectors(1), set()
    for shard_parameters in (10 * SEGMENT, 2 * SEGMENT, SEGMENT):
        settings.BOLTZ_SHARD_PARAMETERS = shard_parameters
        version = services.aggregate_now(wide.freeze(vectors, optimizer=name), actor="test").version
        found.add((version.weights_sha256, version.state_sha256))
    assert len(found) == 1


def test_another_optimizer_begins_with_a_state_of_its_own(wide):
    first, second = wide.vectors(1), wide.vectors(1)
    round_ = services.aggregate_now(wide.freeze(first, optimizer="momentum"), actor="test")
    model = round_.model
    registry.change_policy(model, structs.replace(model.round_policy(), optimizer="adagrad"), actor="test")
    model.refresh_from_db()
    later = another_round(wide, model, second, "other")
    assert set(state_of(later.version)) == {"first_moment", "second_moment"}
    tau = make_optimizer("adagrad").values["tau"]
    np.testing.assert_allclose(state_of(later.version)["second_moment"], tau**2 + second[0] ** 2, rtol=1e-4)


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b"x")])
def test_state_of_a_range_that_was_damaged_is_combined_again(wide, several_shards, damage):
    round_ = wide.freeze(wide.vectors(1), optimizer="momentum")
    services.aggregate_round(round_.pk)
    run = run_of(round_)
    combine_all(run)
    assert len(step_files()) == 2 * SHARDS
    damage(shard_files.path_of(run.pk, "combine", 1, "first_moment"))
    services.finish_run(run.pk)
    round_.refresh_from_db()
    assert round_.state == "aggregating"
    combine_all(run)
    services.finish_run(run.pk)
    round_.refresh_from_db()
    assert round_.state == "published"


def test_a_base_whose_state_was_altered_fails_the_round(wide):
    round_ = services.aggregate_now(wide.freeze(wide.vectors(1), optimizer="momentum"), actor="test")
    versions._verified.clear()
    flip(Path(versions.storage().path(versions.storage_name(round_.version.state_sha256))))
    later = another_round(wide, round_.model, wide.vectors(1), "altered")
    assert later.state == "failed"
    assert "state vectors of the optimizer" in later.reason


def test_state_that_rots_without_a_new_time_is_never_built_upon(wide):
    round_ = services.aggregate_now(wide.freeze(wide.vectors(1), optimizer="momentum"), actor="test")
    stored = versions.state_in(round_.version)
    versions.verify_tensors(stored)
    path = Path(versions.storage().path(versions.storage_name(stored.sha256)))
    times = path.stat()
    flip(path)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    versions.verify_tensors(stored)
    later = another_round(wide, round_.model, wide.vectors(1), "rotten")
    assert later.state == "failed"
    assert "have changed on disk" in later.reason


def test_state_that_no_version_has_is_swept_and_that_of_a_version_is_kept(wide, monkeypatch, settings):
    round_ = services.aggregate_now(wide.freeze(wide.vectors(1), optimizer="momentum"), actor="test")
    monkeypatch.setattr(versions, "ORPHAN_AGE", versions.ORPHAN_AGE * -1)
    monkeypatch.setattr(versions.secrets, "randbelow", lambda _: int(round_.version.state_sha256[:2], 16))
    assert versions.sweep_unpublished() == 0
    state_of(round_.version)
    ModelVersion.objects.filter(pk=round_.version.pk).update(state_sha256="")
    assert versions.sweep_unpublished() == 1
