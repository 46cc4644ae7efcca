"""Members whose updates are nearly the same: copies of one update are one voice, however many send it.

Source: the idea of FoolsGold (Fung et al. 2018, arXiv:1808.04866), with a threshold in place of its score.
"""

import numpy as np

from boltz_core.arrays import Float64Block
from boltz_core.trust.directions import cosines

NEAR_DUPLICATE_COSINE = 0.98


def near_duplicate_groups(
    gram: Float64Block, *, threshold: float = NEAR_DUPLICATE_COSINE
) -> tuple[tuple[int, ...], ...]:
    """The sets of two and more rows that are linked by cosines above the threshold.

    Links add up: if a is near b and b near c, all three are one group. So a chain of small changes does not slip
    through.

    Args:
        gram: shape (n_clients, n_clients), float64, of the updates.
        threshold: of the cosine.

    Returns:
        Groups of row numbers, each in rising order, in the order of their first rows.

    Raises:
        TrustError: not the Gram matrix of anything.
    """
    near = cosines(gram) > threshold
    unseen = set(range(len(near)))
    groups = []
    for first in range(len(near)):
        if first in unseen:
            group = _reachable(near, first)
            unseen -= group
            groups.append(tuple(sorted(group)))
    return tuple(group for group in groups if len(group) > 1)


def _reachable(near: np.typing.NDArray[np.bool_], first: int) -> set[int]:
    reached, frontier = {first}, [first]
    while frontier:
        found = set(np.flatnonzero(near[frontier.pop()]).tolist()) - reached
        reached |= found
        frontier.extend(found)
    return reached
