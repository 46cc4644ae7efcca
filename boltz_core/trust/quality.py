"""Data quality: what a client's claims about its data are worth.

Claims are never trusted, so they can lower a weight but not lift it: examples count up to the policy's cap, by their
square root, and the other parts are shares.
"""

import math
from dataclasses import dataclass

from boltz_core.trust.errors import TrustError, require_share
from boltz_protocol.messages import Claims


@dataclass(frozen=True)
class DataQuality:
    """The three factors of the quality, each in [0, 1]."""

    examples_factor: float
    coverage: float
    valid_share: float

    @property
    def value(self) -> float:
        """Their product, in [0, 1]."""
        return self.examples_factor * self.coverage * self.valid_share


def data_quality(claims: Claims, *, example_cap: int) -> DataQuality:
    """The product sqrt(min(n, cap) / cap) x coverage x (1 - invalid share).

    Args:
        claims: of one update.
        example_cap: the policy's; at least 1.

    Raises:
        TrustError: claims that the codec would have refused, or a cap below 1.
    """
    if example_cap < 1 or claims.examples < 1:
        raise TrustError(f"{claims.examples} examples, cap {example_cap}; both must be at least 1")
    require_share("feature_coverage", claims.feature_coverage)
    require_share("invalid_share", claims.invalid_share)
    return DataQuality(
        examples_factor=math.sqrt(min(claims.examples, example_cap) / example_cap),
        coverage=claims.feature_coverage,
        valid_share=1 - claims.invalid_share,
    )
