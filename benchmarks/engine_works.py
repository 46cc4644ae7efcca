"""What the engine is asked to do, and how fast it has to be beside others: the rows of `./dev bench engine`."""

from collections.abc import Mapping
from dataclasses import dataclass

from boltz_core.aggregation.plan import Plan, make_plan
from boltz_core.aggregation.rules.registry import RULES

OURS, FILES, DOOR, ONCE = "ours s", "files s", "aggregate() s", "np.sum s"
PEERS = ("Flower", "NVFlare", "byzfl")
TIMED = (OURS, FILES, DOOR, ONCE, *(f"{peer} s" for peer in PEERS))
LIMITS_SECONDS = {"2 seconds": 2.0}
Row = dict[str, str | float]


@dataclass(frozen=True)
class Bar:
    """At least `times` as fast as what it is held against: np.sum, a peer, or a number of seconds."""

    times: float
    against: str

    def __str__(self) -> str:
        return f"{self.times:g} x {self.against}"

    def reached(self, measured: Mapping[str, float]) -> float | None:
        """How many times as fast as that we are; None where it was not measured."""
        other = LIMITS_SECONDS.get(self.against) or measured.get(f"{self.against} s")
        return other / measured[OURS] if other else None


@dataclass(frozen=True)
class Work:
    """A rule with what stands in front of it, on so many updates, and its bars."""

    rule: str
    bars: tuple[Bar, ...] = ()
    before: tuple[str, ...] = ()
    members: int = 100
    parameters: int = 1_000_000

    @property
    def name(self) -> str:
        """The rule after what stands in front of it."""
        return " + ".join((*self.before, self.rule))

    @property
    def byzantine(self) -> int:
        """A fifth of the updates; fewer where the rule cannot take so many."""
        condition = RULES[self.rule].condition
        return max(f for f in range(self.members // 5 + 1) if f == 0 or condition.least(f) <= self.members)

    @property
    def plan(self) -> Plan:
        """The plan of a run."""
        return make_plan(self.rule, byzantine=self.byzantine, before=self.before)

    @property
    def examples(self) -> list[int]:
        """Of each update; equal ones but for the mean, since others have no weighted medians."""
        return [10 + number % 7 if self.rule == "weighted_mean" else 1 for number in range(self.members)]


MEAN_BARS = (Bar(0.4, "np.sum"), Bar(2.5, "Flower"), Bar(1.1, "NVFlare"))
KRUM_BARS = (Bar(2.5, "Flower"), Bar(20, "byzfl"))
WORKS = (
    Work("weighted_mean", MEAN_BARS),
    Work("weighted_mean", MEAN_BARS, members=10, parameters=10_000_000),
    Work("krum", KRUM_BARS),
    Work("multi_krum", KRUM_BARS),
    Work("bulyan", (Bar(8, "Flower"),)),
    Work("geometric_median", (Bar(2.5, "byzfl"),)),
    Work("trimmed_mean", (Bar(1, "2 seconds"),), before=("nnm",)),
    Work("median", (Bar(5, "Flower"),)),
    Work("trimmed_mean", (Bar(5, "Flower"), Bar(1.5, "byzfl"))),
)


def compared(work: Work, measured: Mapping[str, float]) -> list[Row]:
    """A row for each bar of a work, from the seconds that were measured; "-" stands for what was not."""
    seconds = {column: measured.get(column, "-") for column in TIMED}
    head: Row = {"work": work.name, "size": size_of(work.members, work.parameters)}
    return [head | seconds | judged(bar, measured) for bar in work.bars]


def judged(bar: Bar, measured: Mapping[str, float]) -> Row:
    """A bar and what became of it."""
    reached = bar.reached(measured)
    if reached is None:
        return {"bar": str(bar), "reached": "-", "met": "-"}
    return {"bar": str(bar), "reached": reached, "met": "yes" if reached >= bar.times else "no"}


def size_of(members: int, parameters: int) -> str:
    """How a size is written in the tables."""
    return f"N={members} d={parameters:.0e}".replace("e+0", "e")
