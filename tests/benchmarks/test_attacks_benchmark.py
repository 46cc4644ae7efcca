import dataclasses

import numpy as np
import pytest

from benchmarks import attacks, attacks_document, attacks_play
from benchmarks.attacks_defences import DEFAULT_PIPELINE, DEFENCES, PLAIN_MEAN, RULE_PIPELINES, TrustedPipeline
from benchmarks.attacks_listed import ADAPTIVE, EARNED_ROUNDS, KNOWN, NOBODY, Attack
from benchmarks.attacks_play import Outcome, play, play_for_trust
from boltz_core.aggregation.rules.registry import RULES, STEPS
from tests.docs import documents

EVERY_ATTACK = (*KNOWN, *ADAPTIVE)


def results(**accuracies):
    """Results in which every bar is met, but for the accuracy that these defences keep under a sign flip."""
    kept = {PLAIN_MEAN: 10.0, "krum": 60.0} | accuracies
    made = {}
    for defence in DEFENCES:
        made[defence] = {attack.name: Outcome(93.0, 1.0) for attack in (NOBODY, *EVERY_ATTACK)}
        made[defence]["sign flip"] = Outcome(kept.get(defence, 90.0), 0.0)
    return made


def missed(made):
    return [bar.promise for bar in attacks.bars(made) if not bar.is_met]


def test_every_rule_and_every_step_of_the_registry_is_tried():
    assert {steps[-1] for steps in RULE_PIPELINES} == set(RULES)
    assert {step for steps in RULE_PIPELINES for step in steps[:-1]} == set(STEPS)


def test_all_bars_can_be_met():
    assert missed(results()) == []


@pytest.mark.parametrize(
    ("defence", "accuracy", "promise"),
    [
        (DEFAULT_PIPELINE, 87.9, f"{DEFAULT_PIPELINE} keeps >= 88 %"),
        (PLAIN_MEAN, 50.0, "weighted_mean fails: < 50 %"),
        ("krum", 75.0, "krum fails: < 75 %"),
    ],
)
def test_an_accuracy_on_the_wrong_side_misses_its_bar(defence, accuracy, promise):
    assert missed(results(**{defence: accuracy})) == [promise]


def test_a_backdoor_in_the_pipeline_misses_its_bar():
    made = results()
    made[DEFAULT_PIPELINE]["model replacement"] = Outcome(93.0, 5.1)
    assert missed(made) == [f"{DEFAULT_PIPELINE} lets <= 5 % in"]


def test_a_pipeline_that_costs_more_than_a_point_in_peace_misses_its_bar():
    made = results()
    made[DEFAULT_PIPELINE][NOBODY.name] = Outcome(91.9, 0.0)
    assert missed(made) == [f"{DEFAULT_PIPELINE} costs <= 1 point"]


def test_an_adaptive_attack_is_in_no_bar():
    made = results()
    made[DEFAULT_PIPELINE]["knows the rule, ALIE"] = Outcome(1.0, 0.0)
    assert missed(made) == []


@pytest.fixture
def asked(monkeypatch):
    """What would have been played."""
    played = []

    def play_nothing(defence, attack, *, seed):
        played.append((defence, attack.name, seed))
        return Outcome(90.0 + seed, float(seed))

    monkeypatch.setattr(attacks, "play", play_nothing)
    return played


def test_the_table_has_a_row_for_each_defence_and_each_bar(asked):
    rows = attacks.measure(repeat=1)
    assert [row["defence"] for row in rows if "defence" in row] == list(DEFENCES)
    assert [row["met"] for row in rows if "met" in row] == ["yes", "yes", "yes", "no", "no"]


def test_an_outcome_is_the_mean_over_the_seeds(asked):
    assert attacks.mean_outcome("krum", NOBODY, seeds=3) == Outcome(91.0, 1.0)


def test_what_keeps_its_trust_is_played_against_trust_alone(asked):
    made = attacks.play_all(seeds=1, defences=["krum", DEFAULT_PIPELINE])
    extra = set(made[DEFAULT_PIPELINE]) - set(made["krum"])
    assert extra == {attack.name for attack in EVERY_ATTACK if attack.on_trust}
    assert extra


def test_the_same_seed_has_the_same_outcome():
    attack = next(attack for attack in EVERY_ATTACK if attack.name == "ALIE, jittered")
    outcomes = [play("bucketing > median", attack, seed=3, rounds=3) for _ in range(2)]
    assert outcomes[0] == outcomes[1]


def test_an_attack_strikes_in_its_rounds_alone():
    assert [number for number in range(1, 10) if Attack("on-off", every=4).strikes_in(number)] == [4, 8]
    assert [number for number in range(1, 6) if Attack("late", first_round=4).strikes_in(number)] == [4, 5]


def test_who_earns_trust_first_is_as_trusted_as_the_honest_when_it_strikes(monkeypatch):
    monkeypatch.setattr(attacks_play, "LATER_ROUNDS", 0)
    trust = play_for_trust(Attack("late", first_round=EARNED_ROUNDS + 1), seed=0)
    assert min(trust.attackers, trust.honest) > 0.75


def test_who_flips_signs_loses_its_trust():
    trust = play_for_trust(KNOWN[0], seed=0, rounds=15)
    assert trust.attackers < 0.1
    assert trust.honest > 0.5


def test_what_the_pipeline_is_asked_leaves_no_trace_in_it():
    pipeline = TrustedPipeline(20)
    rows = np.random.default_rng(1).normal(size=(20, 50)).astype(np.float32)
    before = list(pipeline.reputations)
    pipeline.combine(rows)
    pipeline.evidence(rows)
    assert pipeline.reputations == before


def test_tables_take_the_place_of_the_ones_between_the_marks():
    text = f"above\n{attacks_document.BEGIN}\nold\n{attacks_document.END}\nbelow"
    made = attacks_document.with_tables(text, "new")
    assert made == f"above\n{attacks_document.BEGIN}\n\nnew\n\n{attacks_document.END}\nbelow"
    assert attacks_document.with_tables(made, "new") == made


def test_a_document_without_marks_is_refused():
    with pytest.raises(ValueError, match="no <!-- begin"):
        attacks_document.with_tables("above", "new")


def test_an_attack_that_was_not_played_leaves_its_cell_empty():
    made = results()
    del made["krum"]["keeps its trust, IPM"]
    accuracies = next(
        table for table in documents.tables(attacks_document.tables(made, {})) if "IPM, jittered" in table.headers
    )
    assert [
        line for line, cell in zip(DEFENCES, accuracies.column("keeps its trust, IPM"), strict=True) if not cell
    ] == ["krum"]


def test_a_group_is_judged_by_its_worst_attack():
    made = results()["krum"] | {"ALIE": Outcome(20.0, 0.0), "IPM, jittered": Outcome(10.0, 0.0)}
    assert attacks.worst_accuracy(made, KNOWN) == attacks.Worst(20.0, "ALIE")
    assert dataclasses.astuple(attacks.worst_accuracy(made, ADAPTIVE)) == (10.0, "IPM, jittered")


def document_table(header):
    text = attacks_document.DOCUMENT.read_text(encoding="utf-8")
    between = text.partition(attacks_document.BEGIN)[2].partition(attacks_document.END)[0]
    return next(table for table in documents.tables(between) if header in table.headers)


def test_the_document_has_every_defence():
    defences = [documents.plain(cell) for cell in document_table("sign flip").column("defence")]
    assert defences == list(DEFENCES)


@pytest.mark.parametrize("attack", [attack.name for attack in (NOBODY, *EVERY_ATTACK)])
def test_the_document_has_every_attack(attack):
    assert document_table(attack)


def test_the_document_says_what_trust_makes_of_every_attack():
    assert document_table("attackers").column("attack") == [attack.name for attack in (NOBODY, *EVERY_ATTACK)]


def test_in_the_document_every_bar_is_met():
    table = document_table("bar")
    assert table.column("bar") == [bar.promise for bar in attacks.bars(results())]
    assert set(table.column("met")) == {"yes"}
