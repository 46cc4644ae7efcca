"""The random soak in short, and what makes it worth running: one seed draws one plan, and what is wrong is seen."""

import contextlib

import pytest

from tests.chaos import soak, soak_plan
from tests.chaos.soak_journal import Journal, SoakFailedError
from tests.chaos.soak_ledger import Ledger, Sending, known_vector

MODELS = ("one", "two")


def drawn(seed):
    behaviours = [
        soak_plan.behaviour(seed, client=f"soak-{index}-0", model=model, number=number)
        for index in range(3)
        for model in MODELS
        for number in range(1, 20)
    ]
    operators = soak_plan.actions(seed, models=MODELS, clients=6)
    return soak_plan.first(soak_plan.strikes(seed), 200), soak_plan.first(operators, 200), behaviours


def vector(client="soak-0-0", number=1):
    return known_vector(5, client=client, index=0, model="one", number=number, parameters=300, clients=6)


def test_one_seed_draws_one_plan():
    assert drawn(5) == drawn(5)


def test_another_seed_draws_another_plan():
    assert all(one != other for one, other in zip(drawn(5), drawn(6), strict=True))


def test_a_plan_has_every_fault_every_action_and_every_behaviour():
    strikes, operators, _ = drawn(5)
    faults = {(fault.kind, fault.target) for strike in strikes for fault in strike.faults}
    assert faults == {(kind, target) for kind, (targets, _) in soak_plan.FAULTS.items() for target in targets}
    assert {action.kind for action in operators} == set(soak_plan.ACTIONS)
    behaviours = [soak_plan.behaviour(5, client="c", model="one", number=number) for number in range(300)]
    assert {does.kind for does in behaviours} == set(soak_plan.BEHAVIOURS)
    assert {does.afterwards for does in behaviours} == set(soak_plan.AFTERWARDS)


def test_a_vector_follows_from_seed_client_and_round():
    assert (vector() == vector()).all()
    assert (vector() != vector(number=2)).any()
    assert (vector() != vector(client="soak-0-1")).any()


def test_a_failure_prints_the_seed_the_journal_and_what_happened_last(tmp_path):
    with contextlib.closing(Journal(tmp_path, seed=42)) as journal:
        journal.write("fault", "kill", target="worker")
        with journal.judging("checks"):
            raise AssertionError("I4 one/3: 2 versions")
        assert journal.over.is_set()
        with pytest.raises(SoakFailedError) as failed:
            journal.raise_failures()
    for part in ("I4 one/3: 2 versions", "seed: 42", str(tmp_path / "journal.jsonl"), '"target": "worker"'):
        assert part in str(failed.value)


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path)


def test_who_was_suspended_before_the_seal_and_resumed_after_the_freeze_was_out(ledger):
    with ledger.act("suspend", "c"):
        pass
    (suspended,) = ledger.acts("c", "suspend")
    since, until = suspended.ended_at + 1, suspended.ended_at + 2
    assert ledger.is_out("c", since, until)
    with ledger.act("resume", "c"):
        pass
    assert not ledger.is_out("c", since, until)
    assert ledger.may_be_out("c", until)


def test_an_act_whose_outcome_is_not_known_proves_nothing(ledger):
    with pytest.raises(RuntimeError), ledger.act("revoke", "c"):
        raise RuntimeError("the answer is lost")
    (act,) = ledger.acts("c", "revoke")
    assert not ledger.is_out("c", act.began_at + 1, act.began_at + 2)
    assert ledger.may_be_out("c", act.began_at + 1)


def test_what_was_never_sealed_is_not_counted_as_sent(ledger):
    ledger.sending("c", "one", 1, lambda: Sending("c", 0, "one", 1, "honest", 10, vector))
    assert ledger.sendings("one", 1) == {}
    assert ledger.names() == {"c"}


@pytest.mark.processes
@pytest.mark.long
def test_a_short_soak_holds_every_invariant(tmp_path):
    came_of_it = soak.run(seed=1, seconds=25, folder=tmp_path)
    assert came_of_it["rounds"]["published"] > 0
    assert came_of_it["updates"]["aggregated"] > 0
    assert came_of_it["faults"]["has ended"] > 0
