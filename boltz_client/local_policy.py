"""A participant's own rules, judged on the participant's machine before anything is trained or sent."""

from dataclasses import dataclass

from boltz_client.errors import OutsideLocalPolicyError
from boltz_protocol.messages import RoundPolicy


@dataclass(frozen=True)
class LocalPolicy:
    """What this participant agrees to.

    Args:
        modes: modes it takes part in.
        smallest_quorum: fewest updates that may be folded together.
        largest_max_norm: largest clip it accepts; None: any.
        share_metrics: whether the losses of its own training go into the sealed claims (four significant digits).
    """

    modes: frozenset[str] = frozenset({"robust"})
    smallest_quorum: int = 1
    largest_max_norm: float | None = None
    share_metrics: bool = True

    def check(self, policy: RoundPolicy) -> None:
        """Refuse a round that asks for more than was agreed to.

        Raises:
            OutsideLocalPolicyError: with every rule that is broken.
        """
        broken = []
        if policy.mode not in self.modes:
            broken.append(f"its mode is {policy.mode!r}, allowed: {', '.join(sorted(self.modes)) or 'none'}")
        if policy.quorum < self.smallest_quorum:
            broken.append(f"its quorum is {policy.quorum}, wanted: at least {self.smallest_quorum}")
        if self.largest_max_norm is not None and policy.max_norm > self.largest_max_norm:
            broken.append(f"its max_norm is {policy.max_norm:g}, allowed: up to {self.largest_max_norm:g}")
        if broken:
            raise OutsideLocalPolicyError(
                f"this round is outside your LocalPolicy: {'; '.join(broken)}. Nothing was sent. "
                "Change local_policy=LocalPolicy(...) if you agree to it."
            )
