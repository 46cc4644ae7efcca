import msgspec
import numpy as np
import pytest

from boltz_core.rounds.policy import check_policy
from boltz_protocol import tasks
from boltz_protocol.messages import TaskSpec
from demo import market, task


def test_the_starter_is_a_task_and_a_policy_that_the_server_takes(starter):
    tasks.check_task(starter.task)
    check_policy(starter.policy)


def test_the_task_asks_for_the_features_that_the_demo_builds():
    assert task.volatility_task().features == market.FEATURES


def test_other_features_are_refused_by_name(monkeypatch):
    monkeypatch.setattr(market, "FEATURES", ("something_else",))
    with pytest.raises(task.TaskMismatchError, match="something_else"):
        task.volatility_task()


def test_every_number_of_the_starter_has_its_reason(starter):
    given = {field.name for field in msgspec.structs.fields(starter.policy) if field.required}
    needed = {f"feature {name}" for name in starter.task.features}
    needed |= {f"policy {name}" for name in given - {"mode", "rule"}}
    assert needed <= set(starter.why)


def test_the_fixed_scaling_brings_every_feature_near_a_spread_of_one(days, starter):
    scaled = tasks.scale_features(starter.task, market.rows(market.training_days(days)).X)
    assert np.abs(scaled.mean(axis=0)).max() < 0.5
    assert 0.75 < scaled.std(axis=0).min() <= scaled.std(axis=0).max() < 1.35


def test_the_starter_file_holds_nothing_the_messages_do_not_know():
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"kind": "linear"}, TaskSpec)
