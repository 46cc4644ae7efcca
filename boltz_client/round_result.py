"""What a client holds after taking part: the receipt at once, the decision when the round is out."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from boltz_client import polling
from boltz_client.clock import Clock
from boltz_protocol.messages import Receipt, SignedDocument, UpdateStatus

# not "stalled": an operator may have it tried again until the round is frozen
_DECIDED_STATES = frozenset({"aggregated", "rejected", "expired", "erased"})
_DECIDED_ROUNDS = frozenset({"published", "abandoned"})


@dataclass(frozen=True)
class RoundResult:
    """One update and what became of it.

    Args:
        receipt: the mesh's promise, verified; `signed_receipt` is the proof to keep.
        status: the update's state when it was last asked for; None: not asked yet.
        norm_sent: L2 norm of the delta as sent; `clipped`: whether max_norm had cut it.
        examples: rows trained on; `invalid_share`: rows dropped, of all.
        metrics: the trainer's evaluation on this data before and after training, in full; none of fewer than 20 rows.
        resumed: the update had been sent by an earlier call, and the data of this call was not used.
    """

    model: str
    round: int
    upload_id: str
    receipt: Receipt
    signed_receipt: SignedDocument
    norm_sent: float
    clipped: bool
    examples: int
    invalid_share: float
    metrics: dict[str, float]
    resumed: bool
    status: UpdateStatus | None
    _ask: Callable[[float], UpdateStatus] = field(repr=False, compare=False)
    _clock: Clock = field(repr=False, compare=False)

    @property
    def decided(self) -> bool:
        """Whether the update's fate is known."""
        return self.status is not None and is_decided(self.status)

    @property
    def decision(self) -> str:
        """In words: the state, and the version it went into or the reason."""
        if self.status is None:
            return "received"
        if self.status.version is not None and self.status.state == "aggregated":
            return f"aggregated into version {self.status.version}"
        reason = self.status.reason or self.status.code
        return f"{self.status.state}: {reason}" if reason else self.status.state

    def refreshed(self) -> "RoundResult":
        """The same with the update's present state."""
        return replace(self, status=self._ask(0.0))

    def wait(self, timeout_seconds: float | None = None) -> "RoundResult":
        """Ask until the decision is out or the time is up; see `decided` for which.

        The mesh holds its answer back for some seconds while there is none. One that does not is asked with pauses from
        100 ms to 5 s.
        """
        status = polling.poll(self._ask, is_decided, clock=self._clock, timeout_seconds=timeout_seconds)
        return replace(self, status=status)


def is_decided(status: UpdateStatus) -> bool:
    """Whether nothing about this update will change any more."""
    return status.state in _DECIDED_STATES or status.round_state in _DECIDED_ROUNDS
