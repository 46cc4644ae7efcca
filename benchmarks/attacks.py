"""Every rule of the registry and the default pipeline, each trained under attack: what is left in the end.

scikit-learn's digits, a small network, 20 clients with unlike data, 4 of them malicious, 50 rounds; `repeat` is the
number of seeds. Worst is over all attacks of a group, each as the mean over the seeds. docs/robustness.md says more.

Without attack there are more seeds: what a rule costs is less than a point, and one seed differs from another by that.

The bars: the default pipeline holds, and the plain mean and Krum fail. If these two do not fail, the attacks are too
weak, and the table says nothing about anybody.
"""

import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.attacks_defences import DEFAULT_PIPELINE, DEFENCES, PLAIN_MEAN, TRUSTED_PIPELINES
from benchmarks.attacks_listed import ADAPTIVE, KNOWN, NOBODY, Attack
from benchmarks.attacks_play import Outcome, play

KRUM = "krum"
LEAST_KEPT = 88.0
MOST_LET_IN = 5.0
MOST_COST = 1.0
MEAN_FAILS = 50.0
KRUM_FAILS = 75.0
SEEDS_WITHOUT_ATTACK = 20

Results = Mapping[str, Mapping[str, Outcome]]  # by defence, then by attack


@dataclass(frozen=True)
class Worst:
    """What an attack has left of a model, or brought into it, in percent; and which attack that was."""

    percent: float
    attack: str


@dataclass(frozen=True)
class Bar:
    """A promise, and what came out."""

    promise: str
    percent: float
    attack: str
    is_met: bool

    @classmethod
    def of(cls, promise: str, worst: Worst, *, is_met: bool) -> "Bar":
        """The bar for what came out in the worst case."""
        return cls(promise, worst.percent, worst.attack, is_met)


def measure(*, repeat: int) -> list[dict[str, str | float]]:
    """One row of the table for each defence, then one of another table for each bar."""
    results = play_all(seeds=repeat)
    rows = [_row(defence, outcomes) for defence, outcomes in results.items()]
    return rows + [
        {"bar": bar.promise, "came out": bar.percent, "by": bar.attack, "met": "yes" if bar.is_met else "no"}
        for bar in bars(results)
    ]


def play_all(*, seeds: int, defences: Sequence[str] = tuple(DEFENCES)) -> Results:
    """Every defence under every attack; says on standard error which one it is at."""
    results: dict[str, Mapping[str, Outcome]] = {}
    for number, defence in enumerate(defences, 1):
        print(f"{number} of {len(defences)}: {defence}", file=sys.stderr, flush=True)
        judged = defence in TRUSTED_PIPELINES
        attacks = [attack for attack in (*KNOWN, *ADAPTIVE) if judged or not attack.on_trust]
        outcomes = {attack.name: mean_outcome(defence, attack, seeds=seeds) for attack in attacks}
        in_peace = mean_outcome(defence, NOBODY, seeds=max(seeds, SEEDS_WITHOUT_ATTACK))
        results[defence] = {NOBODY.name: in_peace, **outcomes}
    return results


def mean_outcome(defence: str, attack: Attack, *, seeds: int) -> Outcome:
    """The mean over the seeds from 0."""
    played = [play(defence, attack, seed=seed) for seed in range(seeds)]
    return Outcome(
        statistics.fmean(one.accuracy for one in played), statistics.fmean(one.backdoor_success for one in played)
    )


def worst_accuracy(outcomes: Mapping[str, Outcome], attacks: Sequence[Attack]) -> Worst:
    """The least accuracy under those of the attacks that want just that."""
    untargeted = [attack.name for attack in attacks if attack.name in outcomes and not attack.backdoor]
    found = {name: outcomes[name].accuracy for name in untargeted}
    name = min(found, key=found.__getitem__)
    return Worst(found[name], name)


def worst_backdoor(outcomes: Mapping[str, Outcome], attacks: Sequence[Attack]) -> Worst:
    """The greatest success of those that want a backdoor."""
    found = {attack.name: outcomes[attack.name].backdoor_success for attack in attacks if attack.backdoor}
    name = max(found, key=found.__getitem__)
    return Worst(found[name], name)


def bars(results: Results) -> Sequence[Bar]:
    """All of them, met or not."""
    ours, mean = results[DEFAULT_PIPELINE], results[PLAIN_MEAN]
    kept, let_in = worst_accuracy(ours, KNOWN), worst_backdoor(ours, KNOWN)
    cost = Worst(mean[NOBODY.name].accuracy - ours[NOBODY.name].accuracy, NOBODY.name)
    mean_left, krum_left = worst_accuracy(mean, KNOWN), worst_accuracy(results[KRUM], KNOWN)
    return (
        Bar.of(f"{DEFAULT_PIPELINE} keeps >= {LEAST_KEPT:g} %", kept, is_met=kept.percent >= LEAST_KEPT),
        Bar.of(f"{DEFAULT_PIPELINE} lets <= {MOST_LET_IN:g} % in", let_in, is_met=let_in.percent <= MOST_LET_IN),
        Bar.of(f"{DEFAULT_PIPELINE} costs <= {MOST_COST:g} point", cost, is_met=cost.percent <= MOST_COST),
        Bar.of(f"{PLAIN_MEAN} fails: < {MEAN_FAILS:g} %", mean_left, is_met=mean_left.percent < MEAN_FAILS),
        Bar.of(f"{KRUM} fails: < {KRUM_FAILS:g} %", krum_left, is_met=krum_left.percent < KRUM_FAILS),
    )


def _row(defence: str, outcomes: Mapping[str, Outcome]) -> dict[str, str | float]:
    row: dict[str, str | float] = {"defence": defence, "no attack": outcomes[NOBODY.name].accuracy}
    for group, attacks in (("known", KNOWN), ("adaptive", ADAPTIVE)):
        accuracy, backdoor = worst_accuracy(outcomes, attacks), worst_backdoor(outcomes, attacks)
        row |= {f"{group}, worst": accuracy.percent, f"{group}, by": accuracy.attack}
        row |= {f"{group}, backdoor": backdoor.percent}
    return row
