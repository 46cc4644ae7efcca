"""The demo's clients and its observer against a real mesh, in threads of this process."""

import threading

import numpy as np
import pytest

from boltz_client import FederatedClient
from boltz_client.trainers import LinearTrainer
from demo import baselines, crowd, market, metrics, participant, shares, simulate, stage, task
from demo.observer import Observer
from demo.outcome import Outcome
from local_stack import unprivileged

pytestmark = pytest.mark.processes

ROUNDS = 2


@pytest.fixture(scope="module")
def drawn():
    return shares.make_shares(market.load_market(), clients=3, seed=7)


@pytest.fixture(scope="module")
def told(drawn):
    """Everyone takes part in two rounds; then what each said, and what the observer saw."""
    volatility = task.volatility_task()
    members = crowd.make_members(drawn)
    said = {}
    with unprivileged.temporary_directory("demo-clients") as folder, stage.open_mesh(folder / "mesh", port=0) as mesh:
        stage.start_mesh(mesh, members=len(members))
        threads = [threading.Thread(target=take_part, args=(member, mesh.url, folder, said)) for member in members]
        outcome = Outcome(
            seed=7,
            rounds=ROUNDS,
            shares=drawn,
            naive=metrics.score(drawn, [baselines.naive(share) for share in drawn]),
            local_only=metrics.score(drawn, [baselines.local_only(share, volatility) for share in drawn]),
        )
        with FederatedClient("demo-observer", mesh.url, home=folder / "observer") as client:
            client.register(region="us-east-1", kind="edge_node")
            observer = Observer(client, model=stage.MODEL, task=volatility)
            before = observer.look(outcome)
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            after = observer.look(outcome)
    return said, outcome, before, after


def take_part(member, url, folder, said):
    lines = []
    with FederatedClient(member.name, url, home=folder / member.name) as client:
        client.register(region=member.region, kind=member.kind)
        say = lambda event, **facts: lines.append(facts | {"event": event})  # noqa: E731 - told apart by thread
        if member.misbehaviour:
            participant.misbehave(client, member.misbehaviour, ROUNDS, say=say)
        else:
            path = folder / f"{member.name}.npz"
            np.savez(path, X=member.share.train.X, y=member.share.train.y)
            participant.take_part(client, path, ROUNDS, say=say)
    said[member.name] = lines


def test_each_honest_client_is_in_every_version(told, drawn):
    said, *_ = told
    for share in drawn:
        decisions = [line for line in said[share.name] if line["event"] == "decided"]
        assert [line["decision"] for line in decisions] == [f"aggregated into version {n}" for n in (1, 2)]
    weights = [said[share.name][-1]["weight"] for share in drawn]
    assert sum(weights) == pytest.approx(1)


def test_each_sends_as_many_examples_as_its_share_has(told, drawn):
    said, *_ = told
    for share in drawn:
        assert {line["examples"] for line in said[share.name] if line["event"] == "sent"} == {len(share.train)}


@pytest.mark.parametrize(("name", "code"), [("misfit-garbage", "undecryptable"), ("misfit-nan", "not_finite")])
def test_who_misbehaves_is_refused_in_every_round(told, name, code):
    said, *_ = told
    assert said[name] == [{"event": "refused", "round": number, "code": code, "state": "rejected"} for number in (1, 2)]


def test_the_observer_sees_round_1_open_before_anyone_came(told):
    *_, before, _after = told
    assert (before.round, before.state, before.joined) == (1, "open", 0)


def test_the_observer_has_a_line_for_each_round_and_then_nothing_to_wait_for(told):
    _, outcome, _, after = told
    assert after is None
    assert [(line.number, line.joined, line.staged, line.version) for line in outcome.lines] == [
        (1, 5, 3, 1),
        (2, 5, 3, 2),
    ]
    assert all(line.rejected == {"undecryptable": 1, "not_finite": 1} for line in outcome.lines)
    assert all(line.step_norm > 0 for line in outcome.lines)


def test_the_mesh_computes_what_the_simulation_does(told, drawn):
    _, outcome, *_ = told
    starter = task.read_starter("boltz-core")
    expected = simulate.simulate(
        drawn, starter.task, starter.policy, trainer=LinearTrainer(starter.task), rounds=ROUNDS
    )
    for line, scores in zip(outcome.lines, expected[1:], strict=True):
        assert line.scores.r2 == pytest.approx(scores.r2, abs=1e-6)
        assert line.scores.qlike == pytest.approx(scores.qlike, abs=1e-6)
