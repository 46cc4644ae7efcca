"""The attacks of the benchmark, by name.

An attack has up to three parts: what its clients train on (`poison`), what they make of the updates (`forge`), and the
rounds in which they do it; in the others they are honest. `KNOWN` are those of the literature, and the bars are about
them. `ADAPTIVE` are made for this server: by attackers who do not look alike, who know the gate, the rule or the trust,
or who earn trust first.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from benchmarks import attacks_forged as forged
from benchmarks.attacks_digits import CORNERS, STROKES, Shares, Trigger
from benchmarks.attacks_forged import Rows, Scene, jittered, strongest, strongest_unnoticed

EARNED_ROUNDS = 40


@dataclass(frozen=True)
class Attack:
    """One attack; without `forge` its clients send what they trained.

    `on_trust`: it would be another one's double where nobody is judged. `trigger`: what its backdoor is asked for by.
    """

    name: str
    forge: Callable[[Scene], Rows] | None = None
    poison: Callable[[Shares, slice], Shares] | None = None
    backdoor: bool = False
    on_trust: bool = False
    first_round: int = 1
    every: int = 1
    trigger: Trigger = CORNERS

    def strikes_in(self, round_number: int) -> bool:
        """Whether its clients attack in this round, counted from 1."""
        return round_number >= self.first_round and round_number % self.every == 0


NOBODY = Attack("nobody")

KNOWN: Sequence[Attack] = (
    Attack("sign flip", forged.sign_flip),
    Attack("sign flip x 10", forged.sign_flip_tenfold),
    Attack("IPM", forged.inner_product_manipulation),
    Attack("ALIE", forged.a_little_is_enough),
    Attack("min-max", forged.min_max),
    Attack("min-sum", forged.min_sum),
    Attack("label flip", poison=Shares.with_labels_flipped),
    Attack("Gaussian", forged.gaussian),
    Attack("model replacement", forged.boosted, poison=Shares.with_trigger, backdoor=True),
)

ADAPTIVE: Sequence[Attack] = (
    Attack("sign flip, jittered", jittered(forged.sign_flip)),
    Attack("IPM, jittered", jittered(forged.inner_product_manipulation)),
    Attack("ALIE, jittered", jittered(forged.a_little_is_enough)),
    Attack("min-max, jittered", jittered(forged.min_max)),
    Attack("min-sum, jittered", jittered(forged.min_sum)),
    Attack("sign flip below the gate", jittered(forged.sign_flip_below_the_gate)),
    Attack("on-off, 1 round of 4", jittered(forged.sign_flip_below_the_gate), every=4),
    Attack("knows the rule, ALIE", strongest(forged.against_spread, forged.mean)),
    Attack("knows the rule, IPM", strongest(forged.opposite, forged.nothing)),
    Attack("keeps its trust, ALIE", strongest_unnoticed(forged.against_spread), on_trust=True),
    Attack("keeps its trust, IPM", strongest_unnoticed(forged.opposite), on_trust=True),
    Attack("earns trust, then min-max", jittered(forged.min_max), first_round=EARNED_ROUNDS + 1),
    Attack(
        "earns trust, then knows the rule, IPM",
        strongest(forged.opposite, forged.nothing),
        first_round=EARNED_ROUNDS + 1,
    ),
    Attack("backdoor below the gate", forged.below_the_gate, Shares.with_trigger, backdoor=True),
    Attack("backdoor, not boosted", forged.as_long_as_others, Shares.with_trigger, backdoor=True),
    Attack(
        "backdoor in the strokes, not boosted",
        forged.as_long_as_others,
        partial(Shares.with_trigger, trigger=STROKES),
        backdoor=True,
        trigger=STROKES,
    ),
    Attack(
        "earns trust, then backdoor",
        forged.below_the_gate,
        Shares.with_trigger,
        backdoor=True,
        first_round=EARNED_ROUNDS + 1,
    ),
)
