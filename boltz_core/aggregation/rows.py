"""The rows that a rule sees: members, or means of members, with weights and distances, never with their numbers.

A row is sum_j c[j] x_j with c not negative and a mass sum_j c[j] of at most 1, so it is an affine combination of
members and origin, and every dot between rows follows from the geometry.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from boltz_core.aggregation.errors import AggregationError
from boltz_core.aggregation.geometry import Geometry
from boltz_core.aggregation.ordered_sums import ordered_product, weighted_rows
from boltz_core.arrays import Float64Block, Float64Vector


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows over the members: `coefficients` has shape (rows, members), None where each row is a member.

    `weights` are those of the rows. `geometry` may be missing where nothing asks for distances.
    """

    member_norms: Float64Vector
    weights: Float64Vector
    geometry: Geometry | None
    coefficients: Float64Block | None = None

    def __len__(self) -> int:
        return len(self.weights)

    def mixed(self, mixing: Float64Block, weights: Float64Vector) -> "Rows":
        """New rows: one line of coefficients over these rows, and one weight, for each."""
        made = mixing if self.coefficients is None else ordered_product(mixing, self.coefficients)
        return Rows(self.member_norms, weights, self.geometry, made)

    def member_coefficients(self, row_coefficients: Float64Vector) -> Float64Vector:
        """Coefficients of the members that give the same sum as these of the rows."""
        if self.coefficients is None:
            return row_coefficients
        of_members: Float64Vector = ordered_product(row_coefficients[None, :], self.coefficients)[0]
        return of_members

    def picked(self, indices: list[int]) -> "Rows":
        """Only these rows."""
        return self.mixed(np.eye(len(self))[indices], self.weights[indices])

    @property
    def shares(self) -> Float64Vector:
        """The weights, scaled to sum to 1."""
        shares: Float64Vector = self.weights / math.fsum(self.weights)
        return shares

    @cached_property
    def gram(self) -> Float64Block:
        """Dots of the centred rows, then of the origin, which is the last row and column."""
        geometry = self._measured()
        if self.coefficients is None:
            return geometry.gram
        affine = np.zeros((len(self) + 1, geometry.members + 1))
        affine[:-1, :-1] = self.coefficients
        affine[:-1, -1] = [1 - settled_mass(math.fsum(row)) for row in self.coefficients]
        affine[-1, -1] = 1
        return ordered_product(ordered_product(affine, geometry.gram), np.ascontiguousarray(affine.T))

    @cached_property
    def distances_squared(self) -> Float64Block:
        """Between each two rows."""
        if self.coefficients is None:
            return self._measured().distances_squared
        return _distances_squared(self.gram)[:-1, :-1]

    @cached_property
    def norms(self) -> Float64Vector:
        """Of the rows; of members as they are recorded."""
        if self.coefficients is None:
            return self.member_norms
        norms: Float64Vector = np.sqrt(_distances_squared(self.gram)[:-1, -1])
        return norms

    def distances_from(self, point: Float64Vector) -> Float64Vector:
        """From each row to a point with these coefficients, which sum to 1: of the rows, then of the origin."""
        dots = weighted_rows(point, self.gram)
        square = math.fsum(point * dots)
        distances: Float64Vector = np.sqrt(np.maximum(self.gram.diagonal() - 2 * dots + square, 0))
        return distances[:-1]

    def _measured(self) -> Geometry:
        if self.geometry is None:
            raise AggregationError("this decision needs the distances of the updates; no geometry was given")
        return self.geometry


def _distances_squared(gram: Float64Block) -> Float64Block:
    squares = gram.diagonal()
    apart = np.maximum((squares[:, None] + squares) - (gram + gram.T), 0)
    np.fill_diagonal(apart, 0)
    return apart


def settled_mass(mass: float) -> float:
    """A mass that is 1 but for rounding is 1."""
    return 1.0 if abs(mass - 1) < 1e-12 else mass  # noqa: PLR2004  (far above rounding, far below any clip that matters)
