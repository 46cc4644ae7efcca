"""What the Gram matrix of a frozen round says of each of its members.

Distances are divided by the round's median distance, so that a score of one round can be held against those of others,
whatever the size of the updates. All of it needs the other updates: `robust` mode only.
"""

import math
from dataclasses import dataclass

import numpy as np

from boltz_core.arrays import Float64Block, Float64Vector
from boltz_core.trust.directions import cosines, require_gram
from boltz_core.trust.errors import TrustError
from boltz_core.trust.modes import Use, require
from boltz_protocol.messages import Mode

CENTRE_STEPS = 64
SMOOTHING = (
    1e-6  # of the median distance between rows that differ; an absolute one would make the centre the plain mean
)


@dataclass(frozen=True)
class GeometryScores:
    """The scores of one member.

    Attributes:
        krum: mean squared distance to its n - f - 2 nearest, over the round's median squared distance.
            Source: Blanchard et al. 2017 (arXiv:1703.02757).
        closest_cosine: the largest cosine with another member.
        centre_distance: distance to the geometric median of the round, over the median of these distances.
    """

    krum: float
    closest_cosine: float
    centre_distance: float


def geometry_scores(gram: Float64Block, *, malicious: int, mode: Mode) -> tuple[GeometryScores, ...]:
    """The scores of each row.

    Args:
        gram: shape (n_clients, n_clients), float64, of the updates.
        malicious: f, how many the round is to tolerate; n - f - 2 >= 1.
        mode: the model's.

    Raises:
        ModeLimitError: a mode that compares no updates.
        TrustError: not the Gram matrix of anything, or too few rows for f.
    """
    require(mode, Use.COHORT_DIRECTIONS)
    require_gram(gram)
    nearest = len(gram) - malicious - 2
    if malicious < 0 or nearest < 1:
        raise TrustError(f"{len(gram)} rows and f = {malicious}; n - f - 2 must be at least 1")
    squares = squared_distances(gram)
    krum = _over_median(_krum(squares, nearest), _pairs(squares))
    closest = cosines(gram)
    np.fill_diagonal(closest, -1.0)
    centre = _centre_distances(squares)
    centred = _over_median(centre, centre)
    rows = zip(krum.tolist(), closest.max(axis=1).tolist(), centred.tolist(), strict=True)
    return tuple(GeometryScores(*row) for row in rows)


def squared_distances(gram: Float64Block) -> Float64Block:
    """All squared distances between rows, shape (n_clients, n_clients); 0 on the diagonal.

    Where rows share an offset, its digits are lost: the error is about 1e-16 x the largest squared norm. Centring the
    matrix here would not bring them back; the rows have to be centred before their products are taken.
    """
    squares = np.diagonal(gram)
    found: Float64Block = np.maximum((squares[:, None] + squares) - 2 * gram, 0.0)
    np.fill_diagonal(found, 0.0)
    return found


def _krum(squares: Float64Block, nearest: int) -> Float64Vector:
    others = squares.copy()
    np.fill_diagonal(others, np.inf)
    found: Float64Vector = np.sort(others, axis=1, kind="stable")[:, :nearest].mean(axis=1)
    return found


def _pairs(squares: Float64Block) -> Float64Vector:
    found: Float64Vector = squares[np.triu_indices(len(squares), 1)]
    return found


def _centre_distances(squares: Float64Block) -> Float64Vector:
    """Distances to the geometric median, by Weiszfeld's steps in terms of the squared distances D.

    For shares a: |x_i - sum a_j x_j|^2 = (D a)_i - a.D a / 2.
    """
    apart = squares[squares > 0]
    smoothing = SMOOTHING * math.sqrt(float(np.median(apart))) if len(apart) else 0.0
    shares = np.full(len(squares), 1 / len(squares))
    distances = _distances_to(squares, shares)
    for _ in range(CENTRE_STEPS):
        if smoothing == 0:
            break
        pulls = 1 / np.maximum(distances, smoothing)
        distances = _distances_to(squares, pulls / pulls.sum())
    return distances


def _distances_to(squares: Float64Block, shares: Float64Vector) -> Float64Vector:
    products = squares @ shares
    found: Float64Vector = np.sqrt(np.maximum(products - shares @ products / 2, 0.0))
    return found


def _over_median(values: Float64Vector, scale: Float64Vector) -> Float64Vector:
    """Values in units of the median of another vector; where most of that is 0, those above 0 are infinitely far."""
    middle = float(np.median(scale))
    if middle > 0:
        return values / middle
    return np.where(values > 0, np.inf, 0.0)
