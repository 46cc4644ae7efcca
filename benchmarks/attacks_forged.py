"""What attackers send. They see every honest update of the round before they choose, and have all their clients agree.

A jittered attack gives each of its clients noise of its own, so that they do not look alike. One that knows the rule
tries several strengths on it, with the weights as they stand, and sends the one that moves the result farthest from the
honest mean. One that keeps its trust does so among those that earn it credit.

Sources: IPM, Xie et al. 2019 (arXiv:1903.03936); ALIE, Baruch et al. 2019 (arXiv:1902.06156); min-max and min-sum,
Shejwalkar and Houmansadr 2021 (NDSS); model replacement, Bagdasaryan et al. 2018 (arXiv:1807.00459).
"""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator  # noqa: TID251 - a seeded world
from numpy.typing import NDArray

from benchmarks.attacks_digits import CLIENTS
from boltz_core.aggregation.gate import MEDIANS
from boltz_core.arrays import Float64Vector
from boltz_core.trust.reputation import positive_part

ATTACKERS = 4
JITTER = 0.3
BELOW_THE_GATE = 0.9 * MEDIANS  # jitter makes them longer
BOOST = CLIENTS / ATTACKERS
STRENGTHS = (0.1, 0.25, 0.5, 1.0, 1.5, 2.5, 4.0)
HALVINGS = 30

Rows = NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class Scene:
    """What attackers have before them.

    Attributes:
        honest: updates of all others in this round.
        own: what their clients have trained.
        random: for their noise.
        combine: what the server would make of all updates, the attackers' first.
        evidence: what it would hold for each of them, in [0, 1].
    """

    honest: Rows
    own: Rows
    random: Generator
    combine: Callable[[Rows], Float64Vector]
    evidence: Callable[[Rows], Sequence[float]]


def sign_flip(scene: Scene) -> Rows:
    """The opposite of the honest mean."""
    return _alike(opposite(scene))


def sign_flip_tenfold(scene: Scene) -> Rows:
    """The opposite, ten times as long."""
    return _alike(10 * opposite(scene))


def sign_flip_below_the_gate(scene: Scene) -> Rows:
    """The opposite, as long as the gate lets through."""
    return below_the_gate(replace(scene, own=sign_flip(scene)))


def inner_product_manipulation(scene: Scene) -> Rows:
    """Half of the opposite: short enough to pass, and still against the honest."""
    return _alike(0.5 * opposite(scene))


def a_little_is_enough(scene: Scene) -> Rows:
    """As far from the honest mean in each coordinate as many of the honest are."""
    others = len(scene.honest)
    supporters = (others + ATTACKERS) // 2 + 1 - ATTACKERS
    deviations = max(1.0, statistics.NormalDist().inv_cdf((others - supporters) / others))
    return _alike(mean(scene) + deviations * against_spread(scene))


def min_max(scene: Scene) -> Rows:
    """No farther from any honest update than two honest ones are from each other."""
    return _farthest(scene, lambda squares: float(squares.max()), float(_between(scene.honest).max()))


def min_sum(scene: Scene) -> Rows:
    """No farther from all honest updates together than one of these is."""
    return _farthest(scene, lambda squares: float(squares.sum()), float(_between(scene.honest).sum(axis=1).max()))


def gaussian(scene: Scene) -> Rows:
    """Noise, ten times as long as the honest mean."""
    noise = scene.random.normal(size=scene.own.shape) / np.sqrt(scene.own.shape[1])
    return 10 * float(np.linalg.norm(mean(scene))) * noise


def boosted(scene: Scene) -> Rows:
    """What they trained, so long that the mean becomes theirs."""
    return BOOST * scene.own


def below_the_gate(scene: Scene) -> Rows:
    """What they trained, as long as the gate lets through."""
    longest = BELOW_THE_GATE * float(np.median(np.linalg.norm(scene.honest, axis=1)))
    return scene.own * (longest / np.linalg.norm(scene.own, axis=1))[:, None]


def as_long_as_others(scene: Scene) -> Rows:
    """What they trained, no longer than a typical honest update."""
    norms = np.linalg.norm(scene.own, axis=1)
    return scene.own * np.minimum(1, np.median(np.linalg.norm(scene.honest, axis=1)) / norms)[:, None]


def jittered(forge: Callable[[Scene], Rows]) -> Callable[[Scene], Rows]:
    """The same with noise of its own for each client."""

    def forge_with_noise(scene: Scene) -> Rows:
        return _with_noise(forge(scene), scene.random)

    return forge_with_noise


def strongest(direction: Callable[[Scene], Rows], start: Callable[[Scene], Rows]) -> Callable[[Scene], Rows]:
    """Against a rule that they know: from the start along the direction, as far as moves the rule's result most."""
    return lambda scene: max(_tried(scene, start, direction), key=lambda rows: _moved(scene, rows))


def strongest_unnoticed(direction: Callable[[Scene], Rows]) -> Callable[[Scene], Rows]:
    """The same from the honest mean, among what earns them credit; an honest update where nothing does."""

    def forge_unnoticed(scene: Scene) -> Rows:
        unnoticed = [rows for rows in _tried(scene, mean, direction) if _earns_credit(scene, rows)]
        return max(unnoticed, key=lambda rows: _moved(scene, rows), default=scene.own)

    return forge_unnoticed


def mean(scene: Scene) -> Rows:
    """Of the honest updates."""
    return scene.honest.mean(axis=0)


def opposite(scene: Scene) -> Rows:
    """Of the honest mean."""
    return -mean(scene)


def nothing(scene: Scene) -> Rows:
    """The origin."""
    return np.zeros(scene.honest.shape[1])


def against_spread(scene: Scene) -> Rows:
    """One standard deviation of the honest in each coordinate, downwards."""
    return -scene.honest.std(axis=0, ddof=1)


def _tried(scene: Scene, start: Callable[[Scene], Rows], direction: Callable[[Scene], Rows]) -> list[Rows]:
    rows = (_alike(start(scene) + strength * direction(scene)) for strength in STRENGTHS)
    return [_with_noise(forged, scene.random) for forged in rows]


def _moved(scene: Scene, rows: Rows) -> float:
    """How far these rows take the result from the honest mean."""
    return float(np.linalg.norm(scene.combine(_everybody(scene, rows)) - mean(scene)))


def _earns_credit(scene: Scene, rows: Rows) -> bool:
    return all(positive_part(one) > 0 for one in scene.evidence(_everybody(scene, rows))[:ATTACKERS])


def _everybody(scene: Scene, rows: Rows) -> Rows:
    return np.concatenate([rows, scene.honest]).astype(np.float32)


def _alike(row: Rows) -> Rows:
    return np.tile(row, (ATTACKERS, 1))


def _with_noise(rows: Rows, random: Generator) -> Rows:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True) / np.sqrt(rows.shape[1])
    return rows + JITTER * lengths * random.normal(size=rows.shape)


def _between(rows: Rows) -> Rows:
    """All squared distances."""
    gram = rows.astype(np.float64) @ rows.T
    squares = gram.diagonal()
    return np.maximum(squares[:, None] + squares - 2 * gram, 0)


def _farthest(scene: Scene, measure: Callable[[Rows], float], bound: float) -> Rows:
    """As far from the honest mean, against their spread, as the measure of squared distances allows."""
    middle, direction = mean(scene), against_spread(scene)
    near, far = 0.0, 50.0
    for _ in range(HALVINGS):
        strength = (near + far) / 2
        squares = ((scene.honest - middle - strength * direction) ** 2).sum(axis=1)
        near, far = (strength, far) if measure(squares) <= bound else (near, strength)
    return _alike(middle + near * direction)
