"""Rows that are the same everywhere, their combination, and the same in Python integers.

Run as a program it prints the name of OpenBLAS's kernels and the digest of the combination, for the test that changes them.
"""

import ctypes
import hashlib
import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np

from boltz_core.aggregation.combine import combine_range
from boltz_core.aggregation.decision import Member, decide
from boltz_core.aggregation.server_step import apply_step
from boltz_core.aggregation.shards import plan_shards
from boltz_core.ingest.segments import SEGMENT_PARAMETERS
from boltz_protocol.messages import RoundPolicy

BOUND = 12.0
ROWS, PARAMETERS = 21, 7 * SEGMENT_PARAMETERS + 77


def policy(**fields):
    values = {"mode": "robust", "rule": "weighted_mean", "max_norm": BOUND, "quorum": 1, "target": 100_000}
    values |= {"example_cap": 5000, "round_seconds": 60, "replay_window_days": 30}
    return RoundPolicy(**(values | fields))


def made_numbers(seed, count):
    """`count` float32 numbers in [-1, 1), from a hash."""
    words = np.frombuffer(hashlib.shake_256(seed.encode()).digest(4 * count), dtype="<u4")
    return (words / 2.0**31 - 1).astype(np.float32)


def made_rows(rows=ROWS, parameters=PARAMETERS, bound=BOUND):
    """Rows of many sizes, each with a norm within the bound."""
    numbers = made_numbers("rows", rows * parameters).reshape(rows, parameters)
    sizes = np.float32(bound / np.sqrt(parameters)) * np.float32(2.0) ** -np.arange(rows, dtype=np.float32)[:, None]
    return numbers * sizes


def made_members(rows):
    return [Member(update_id=f"u{i:04}", norm=0.0, examples=1 + 1237 * i % 9973) for i in range(rows)]


def combine(rows, members, *, max_shards=1, rows_per_block=16, **fields):
    """The combination of `rows`, where row i belongs to update `u{i:04}`."""
    decision = decide(members, policy=policy(**fields))
    place = [int(member.update_id[1:]) for member in decision.members]

    def open_segment(member, segment, out):
        start = segment * SEGMENT_PARAMETERS
        out[:] = rows[place[member], start : start + len(out)]

    spans = plan_shards(rows.shape[1], max_shards=max_shards, min_parameters=1)
    return np.concatenate(
        [whole(combine_range(span, decision, open_segment, rows_per_block=rows_per_block)) for span in spans]
    )


def whole(segments):
    """One vector of what `combine_range` gives piece by piece."""
    return np.concatenate([segment.copy() for segment in segments])


def combine_in_integers(rows, decision):
    """What the combination must be, computed with Python integers and single float operations."""
    gamma, mean = decision.grid.gamma, []
    for column in rows.T.tolist():
        integers = [round(x / gamma) for x in column]
        hi = sum(k * (w >> 10) for k, w in zip(integers, decision.weights, strict=True))
        lo = sum(k * (w & 1023) for k, w in zip(integers, decision.weights, strict=True))
        mean.append((float(hi) * 1024.0 + float(lo)) * gamma / decision.total_weight)
    return np.array(mean)


def digest(vector):
    return hashlib.sha256(vector.astype("<f8").tobytes()).hexdigest()


def next_weights_digest(mean):
    weights = made_numbers("base", len(mean))
    apply_step(weights, mean.copy())
    return hashlib.sha256(weights.tobytes()).hexdigest()


def blas_kernels():
    """The name of the kernels that numpy's own OpenBLAS has chosen, or None with another BLAS."""
    found = next(Path(np.__file__).parent.parent.glob("numpy.libs/libscipy_openblas64_*"), None)
    if found is None:
        return None
    name = ctypes.CDLL(str(found)).scipy_openblas_get_corename64_
    name.restype = ctypes.c_char_p
    return name().decode()


def other_processors():
    """Environments under which numpy and its BLAS compute as on another processor."""
    if platform.machine() in {"x86_64", "AMD64"}:
        disable = {"NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4"}
        return [{"OPENBLAS_CORETYPE": "Prescott", **disable}, {"OPENBLAS_CORETYPE": "Nehalem"}]
    return [{"OPENBLAS_CORETYPE": "ARMV8"}]


def printed_under(processor, module):
    """What a module prints there, after the name of the kernels, which must be others than here."""
    kernels, *printed = subprocess.run(
        [sys.executable, "-m", module],
        cwd=Path(__file__).resolve().parents[3],
        env={**os.environ, **processor, "OPENBLAS_NUM_THREADS": "2"},
        capture_output=True,
        check=True,
        text=True,
    ).stdout.split()
    assert kernels != blas_kernels()
    return printed


if __name__ == "__main__":
    mean = combine(made_rows(), made_members(ROWS))
    print(blas_kernels(), digest(mean), next_weights_digest(mean))  # noqa: T201  (read by the test)
