"""What a demo run found out, as plain data: filled by the observer, shown by the table, the summary and the report."""

from dataclasses import dataclass, field

from demo.metrics import Margin, Scores, margin
from demo.shares import Share


@dataclass(frozen=True)
class RoundLine:
    """One published round as the API tells it, and what the version it made achieves."""

    number: int
    joined: int
    accepted: int
    staged: int
    rejected: dict[str, int]
    version: int
    step_norm: float
    scores: Scores


@dataclass(frozen=True)
class Refusal:
    """One round's answer to a client that misbehaved: the code it got, in its own words of misbehaviour."""

    client: str
    misbehaviour: str
    round: int
    code: str


@dataclass
class Outcome:
    """A run, as far as it has come. `lines` has one entry a published round, in order."""

    seed: int
    rounds: int
    shares: tuple[Share, ...]
    naive: Scores
    local_only: Scores
    lines: list[RoundLine] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def federated(self) -> Scores:
        """The last version's scores: the last, never the best, which could only be picked by looking at the test."""
        return self.lines[-1].scores

    @property
    def over_local_only(self) -> Margin:
        """What the mesh brought, against each client on its own."""
        return margin(self.federated, self.local_only)

    def refused_by_client(self) -> dict[str, list[Refusal]]:
        """Refusals by client, in order of names."""
        names = sorted({refusal.client for refusal in self.refusals})
        return {name: [refusal for refusal in self.refusals if refusal.client == name] for name in names}
