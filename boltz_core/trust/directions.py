"""How each update points compared with the others, from the Gram matrix alone.

A client is measured against the weighted mean of everybody else's clipped row, never against a mean that holds its own:
a heavy client would agree with itself.

Sums are taken with `math.fsum`, which rounds once: the order of the clients does not change a bit.
"""

import math
from collections.abc import Sequence

import numpy as np

from boltz_core.arrays import Float64Block
from boltz_core.trust.errors import TrustError, require_not_negative

CANCELLED = 1e-12  # a remainder this small, relative to what was subtracted, is rounding


def clipped_gram(gram: Float64Block, *, clip_norm: float) -> Float64Block:
    """The Gram matrix of rows clipped to `clip_norm`, from that of the rows as they are.

    Args:
        gram: shape (n_clients, n_clients), float64: dot products of the updates.
        clip_norm: L2, above 0.

    Raises:
        TrustError: not the Gram matrix of anything, or no clip norm.
    """
    require_gram(gram)
    if not 0 < clip_norm < math.inf:
        raise TrustError(f"the clip norm is {clip_norm}; it must be above 0")
    norms = np.sqrt(np.diagonal(gram))
    factors = clip_norm / np.maximum(norms, clip_norm)
    clipped: Float64Block = gram * np.outer(factors, factors)
    return clipped


def leave_one_out_cosines(gram: Float64Block, weights: Sequence[float]) -> tuple[float | None, ...]:
    """The cosine of each row with the weighted mean of all other rows.

    With S_i = sum over j != i of w_j x_j:  x_i . S_i = (G w)_i - w_i G_ii  and
    |S_i|^2 = w.G w - 2 w_i (G w)_i + w_i^2 G_ii.

    Args:
        gram: shape (n_clients, n_clients), float64, of the clipped rows.
        weights: one a row, not negative; only their ratios matter.

    Returns:
        One a row, in [-1, 1]; None where the row is zero, or the others have no weight or cancel out.

    Raises:
        TrustError: not the Gram matrix of anything, or weights that do not fit it.
    """
    require_gram(gram)
    scale = _largest_weight(weights, len(gram))
    w = [weight / scale for weight in weights]
    products = gram * np.array(w)
    sums = [math.fsum(row) for row in products.tolist()]
    total = math.fsum(weight * dot for weight, dot in zip(w, sums, strict=True))
    squares: list[float] = np.diagonal(gram).tolist()
    return tuple(_cosine(own, weight, dot, total) for own, weight, dot in zip(squares, w, sums, strict=True))


def cosines(gram: Float64Block) -> Float64Block:
    """All pairwise cosines, shape (n_clients, n_clients); 0 where a row is zero, and on the diagonal.

    Raises:
        TrustError: not the Gram matrix of anything.
    """
    require_gram(gram)
    norms = np.sqrt(np.diagonal(gram))
    inverse = np.divide(1.0, norms, out=np.zeros_like(norms), where=norms > 0)
    found: Float64Block = np.clip(gram * np.outer(inverse, inverse), -1.0, 1.0)
    np.fill_diagonal(found, 0.0)
    return found


def require_gram(gram: Float64Block) -> None:
    """Refuse what is not a symmetric, finite, square matrix with a diagonal of squares.

    Raises:
        TrustError: says what it is instead.
    """
    if gram.ndim != 2 or gram.shape[0] != gram.shape[1] or not len(gram):  # noqa: PLR2004 - a matrix
        raise TrustError(f"a Gram matrix is square and not empty; got shape {gram.shape}")
    if not np.isfinite(gram).all() or (np.diagonal(gram) < 0).any() or not np.array_equal(gram, gram.T):
        raise TrustError("a Gram matrix is finite and symmetric, and its diagonal is not negative")


def _cosine(own_square: float, weight: float, dot: float, total: float) -> float | None:
    others = total - 2 * weight * dot + weight * weight * own_square
    subtracted = abs(total) + 2 * abs(weight * dot) + weight * weight * own_square
    if own_square == 0 or others <= CANCELLED * subtracted:
        return None
    return min(1.0, max(-1.0, (dot - weight * own_square) / math.sqrt(own_square * others)))


def _largest_weight(weights: Sequence[float], rows: int) -> float:
    require_not_negative("weight", weights)
    if len(weights) != rows or not max(weights) > 0:
        raise TrustError(f"{len(weights)} weights for {rows} rows; each row needs one, and one must be above 0")
    return max(weights)
