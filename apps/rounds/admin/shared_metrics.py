"""What the members of a version claim about their own training, together: never what one or two of them say.

Claims are not verified: whoever lies about his losses moves these numbers as far as his share goes.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from apps.operator_pages import display
from apps.rounds.models import ModelVersion
from boltz_core.rounds.states import UpdateState

# of fewer, a mean and a range would tell what a single client has shared
LEAST_CLIENTS = 3
# names are the clients' own: those that most of them share come first
SHOWN_METRICS = 32


@dataclass
class SharedMetric:
    """One metric over those who shared it; their mean is weighted as the version weighs their updates."""

    clients: int = 0
    weight: float = 0.0
    weighted: float = 0.0
    smallest: float = float("inf")
    largest: float = float("-inf")

    def add(self, value: float, share: float) -> None:
        """Count one more client's."""
        self.clients += 1
        self.weight += share
        self.weighted += share * value
        self.smallest, self.largest = min(self.smallest, value), max(self.largest, value)

    @property
    def mean(self) -> float:
        """The weighted mean; rounding does not carry it out of the range."""
        return min(max(self.weighted / self.weight, self.smallest), self.largest)


def shared_metrics(claimed: Iterable[tuple[Mapping[str, float], float]]) -> dict[str, SharedMetric]:
    """By name, those metrics that enough clients share; `claimed` has each member's metrics and its share, above 0."""
    found: dict[str, SharedMetric] = {}
    for metrics, share in claimed:
        for name, value in metrics.items():
            found.setdefault(name, SharedMetric()).add(float(value), share)
    enough = {name: metric for name, metric in found.items() if metric.clients >= LEAST_CLIENTS}
    return dict(sorted(enough.items(), key=lambda item: (-item[1].clients, item[0])))


def claims_of(version: ModelVersion) -> Iterable[tuple[Mapping[str, float], float]]:
    """The metrics and share of each member that has not been erased since."""
    members = version.updates.filter(state=UpdateState.AGGREGATED, claims__isnull=False, share__gt=0)
    return members.values_list("claims__metrics", "share").iterator()


def table_of(version: ModelVersion) -> Any:
    """The metrics of a version in a table."""
    metrics = shared_metrics(claims_of(version))
    rows = [
        (
            display.code(name),
            display.number(metric.mean),
            f"{display.number(metric.smallest)} to {display.number(metric.largest)}",
            f"{metric.clients} of {version.members}",
        )
        for name, metric in list(metrics.items())[:SHOWN_METRICS]
    ]
    empty = f"No metric was shared by {LEAST_CLIENTS} members or more."
    table = display.table(("metric", "weighted mean", "range", "clients"), rows, empty=empty)
    hidden = len(metrics) - len(rows)
    return display.followed_by(table, f"and {hidden} more" if hidden else "")
