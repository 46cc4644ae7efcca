"""What an operator set by hand for one client: it fixes its g or scales it, within [0, 1]; never beyond `w_max`.

Who may, for how long, and that it is logged are for the server to see to; an override that has expired is not given.
"""

from dataclasses import dataclass
from typing import Literal

from boltz_core.trust.errors import require_share
from boltz_core.trust.modes import Use, require
from boltz_protocol.messages import Mode


@dataclass(frozen=True)
class Override:
    """One operator's decision about one client.

    Attributes:
        kind: `fix` puts `value` in the place of g, `scale` multiplies g by it.
        value: in [0, 1].
        reason, author: for the record.
        before_opening: it was set before the round opened.

    Raises:
        TrustError: a value outside [0, 1].
    """

    kind: Literal["fix", "scale"]
    value: float
    reason: str
    author: str
    before_opening: bool = False

    def __post_init__(self) -> None:
        require_share("an override's value", self.value)

    def apply(self, g: float, *, mode: Mode) -> float:
        """The g that counts.

        Raises:
            ModeLimitError: the mode allows no override, or none after the round opened.
        """
        require(mode, Use.OVERRIDE_BEFORE_OPENING if self.before_opening else Use.OVERRIDE_AFTER_OPENING)
        return self.value if self.kind == "fix" else g * self.value

    def in_words(self) -> str:
        """What was set, by whom and why."""
        deed = "fixed at" if self.kind == "fix" else "scaled by"
        return f"{deed} {self.value:.3g} by {self.author}: {self.reason}"
