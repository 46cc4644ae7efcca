"""Bucketing: rows are dealt into buckets by a seeded shuffle, and each bucket becomes the mean of its rows.

f stays as it is, and the condition of the rule behind it must hold for the number of buckets. The seed is recorded; it
must not be known to clients before the round is frozen, or they could choose their buckets.
"""

import hashlib
import math

import numpy as np

from boltz_core.aggregation.rows import Rows
from boltz_core.aggregation.rules.parameters import Parameter, Seed, Values
from boltz_core.aggregation.rules.rule import Condition, Setting, Step

BUCKET_SIZE = Parameter("bucket_size", "rows in a bucket; the last may have fewer", 1, 2048, 2, whole=True)
SEED = Seed("seed", "what the shuffle is drawn from")


def shuffled(rows: int, seed: str) -> list[int]:
    """The rows in the order of SHA-256(seed, row), the row as 4 bytes, big-endian."""
    key = bytes.fromhex(seed)
    return sorted(range(rows), key=lambda row: hashlib.sha256(key + row.to_bytes(4, "big")).digest())


def mix(rows: Rows, setting: Setting) -> Rows:
    """The weighted mean of each bucket, which weighs what its rows do on average."""
    size = setting.count("bucket_size", 0)
    order = shuffled(len(rows), str(setting.parameters["seed"]))
    mixing = np.zeros((buckets(len(rows), setting.parameters), len(rows)))
    weights = np.zeros(len(mixing))
    for bucket, line in enumerate(mixing):
        inside = order[bucket * size : (bucket + 1) * size]
        total = math.fsum(rows.weights[inside])
        line[inside] = rows.weights[inside] / total
        weights[bucket] = total / len(inside)
    return rows.mixed(mixing, weights)


def buckets(rows: int, parameters: Values) -> int:
    """How many buckets there are."""
    return -(-rows // int(parameters["bucket_size"] or 1))


STEP = Step(
    name="bucketing",
    condition=Condition(0, 1),
    tolerates="nothing by itself; makes unlike honest rows alike",
    source="Karimireddy et al. 2022 (arXiv:2006.09365), Algorithm 1",
    parameters=(BUCKET_SIZE, SEED),
    mix=mix,
    rows_after=buckets,
    weighted=True,
)
