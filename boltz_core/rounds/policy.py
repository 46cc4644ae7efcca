"""Which policies a round may have.

A policy is checked when it is written, so that no round opens that could not be aggregated. `private` and `masked`
models are refused until they are built. Nothing is clamped. Rules and their conditions: `aggregation.policy`.
"""

import math

from boltz_protocol.errors import SenderError
from boltz_protocol.messages import MAX_SAFE_INTEGER, RoundPolicy

AVAILABLE_MODES = ("robust",)
MIN_NORM, MAX_NORM = 1e-30, 1e30
MAX_TARGET = 100_000
MAX_ROUND_SECONDS = 366 * 24 * 3600
MAX_REPLAY_WINDOW_DAYS = 3660

_INTEGER_BOUNDS = {
    "quorum": (1, MAX_TARGET),
    "target": (1, MAX_TARGET),
    "example_cap": (1, MAX_SAFE_INTEGER),
    "round_seconds": (1, MAX_ROUND_SECONDS),
    "replay_window_days": (0, MAX_REPLAY_WINDOW_DAYS),
}


class PolicyError(SenderError):
    """A policy that no round may have."""

    default_code = "invalid_policy"


def check_policy(policy: RoundPolicy) -> None:
    """Refuse a policy that cannot be kept.

    Raises:
        PolicyError: `mode_not_available`, or `invalid_policy` with the field and its bounds.
    """
    if policy.mode not in AVAILABLE_MODES:
        raise PolicyError(
            f"mode {policy.mode!r} is not available yet; available: {', '.join(AVAILABLE_MODES)}",
            code="mode_not_available",
        )
    if not (math.isfinite(policy.max_norm) and MIN_NORM <= policy.max_norm <= MAX_NORM):
        raise PolicyError(f"max_norm is {policy.max_norm}; it must be from {MIN_NORM} to {MAX_NORM}")
    for field, (least, most) in _INTEGER_BOUNDS.items():
        value = getattr(policy, field)
        if not least <= value <= most:
            raise PolicyError(f"{field} is {value}; it must be from {least} to {most}")
    if policy.quorum > policy.target:
        raise PolicyError(
            f"quorum {policy.quorum} is above the target {policy.target}; the round could seal before its quorum"
        )
