from datetime import UTC, datetime
from types import SimpleNamespace

import msgspec
import pytest

from boltz_protocol import tasks
from boltz_protocol.messages import RoundView
from demo import federated
from demo.observer import Observer, RoundLostError
from demo.outcome import Outcome

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Mesh:
    """What the observer asks of its client, over rounds that a test sets."""

    def __init__(self, task):
        self.task, self.views, self.pulled = task, [], []

    def add(self, number, state, version=None):
        self.views.insert(0, RoundView(
            v=1, model="boltz-core", round=number, state=state, opens_at=NOW, closes_at=NOW, descriptor=None,
            joined=5, accepted=5, staged=3, rejected={"not_finite": 1}, version=version, step_norm=version and 0.5,
        ))  # fmt: skip

    def rounds(self, model, limit):
        return tuple(self.views[:limit])

    def pull(self, model, version):
        self.pulled.append(version)
        return SimpleNamespace(
            manifest=SimpleNamespace(task=self.task, number=version), weights=tasks.seed_weights(self.task, seed=b"")
        )


@pytest.fixture
def mesh(starter):
    return Mesh(starter.task)


@pytest.fixture
def observer(mesh, starter):
    return Observer(mesh, model="boltz-core", task=starter.task)


@pytest.fixture
def fresh(outcome):
    return Outcome(seed=7, rounds=3, shares=outcome.shares, naive=outcome.naive, local_only=outcome.local_only)


def test_a_published_round_becomes_a_line_once(mesh, observer, fresh, starter):
    mesh.add(1, "published", version=1)
    mesh.add(2, "open")
    assert observer.look(fresh).round == 2
    assert observer.look(fresh).round == 2
    (line,) = fresh.lines
    assert (line.number, line.joined, line.staged, line.rejected, line.step_norm) == (1, 5, 3, {"not_finite": 1}, 0.5)
    assert line.scores == federated.scores(fresh.shares, starter.task, tasks.seed_weights(starter.task, seed=b""))
    assert mesh.pulled == [1]


def test_rounds_that_went_by_between_two_looks_are_all_there(mesh, observer, fresh):
    for number in (1, 2, 3):
        mesh.add(number, "published", version=number)
    mesh.add(4, "open")
    assert observer.look(fresh) is None
    assert [line.version for line in fresh.lines] == [1, 2, 3]


def test_a_round_that_is_not_there_yet_is_waited_for(mesh, observer, fresh):
    assert observer.look(fresh) is None
    assert fresh.lines == []


@pytest.mark.parametrize("state", ["abandoned", "failed"])
def test_a_round_without_a_version_ends_the_demo_with_its_counts(mesh, observer, fresh, state):
    mesh.add(1, state)
    with pytest.raises(RoundLostError, match=rf"round 1 was {state}: 5 updates accepted, 3 staged"):
        observer.look(fresh)


def test_a_version_for_another_task_is_refused(mesh, observer, fresh):
    mesh.task = msgspec.structs.replace(mesh.task, clip=9.0)
    mesh.add(1, "published", version=1)
    with pytest.raises(RoundLostError, match="another task"):
        observer.look(fresh)
