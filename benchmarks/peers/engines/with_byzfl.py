"""byzfl's aggregators, given one array of all rows.

They take arrays of NumPy and tensors of PyTorch alike. PyTorch has gigabytes with what it brings along, so it is left
out, and empty modules stand for it and for the parts of byzfl that train and draw figures.
"""

import sys
import types
from collections.abc import Callable
from typing import Any

from asked import Asked, Prepare, answer
from numpy.typing import NDArray

LEFT_OUT = ("torch", "torch.linalg", "byzfl.fed_framework", "byzfl.benchmark")


class Nothing(types.ModuleType):
    """A module in which every name is an empty class: enough to be imported, and for a look at somebody's type."""

    def __getattr__(self, name: str) -> type:
        """Any name but those that Python itself looks for."""
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


sys.modules.update({name: Nothing(name) for name in LEFT_OUT})

import byzfl  # noqa: E402  (only now can it be imported)

AGGREGATORS: dict[str, Callable[[int], Callable[[NDArray[Any]], NDArray[Any]]]] = {
    "weighted_mean": lambda _f: byzfl.Average(),
    "median": lambda _f: byzfl.Median(),
    "trimmed_mean": byzfl.TrMean,
    "krum": byzfl.Krum,
    "multi_krum": byzfl.MultiKrum,
    # three steps, as it is by default
    "geometric_median": lambda _f: byzfl.GeometricMedian(),
}


def prepared(work: str) -> Callable[[Asked], Prepare]:
    """A work of the table as byzfl does it; its mean has no weights."""

    def of(asked: Asked) -> Prepare:
        aggregator = AGGREGATORS[work](asked.byzantine)
        return lambda: lambda: aggregator(asked.rows)

    return of


if __name__ == "__main__":
    answer({work: prepared(work) for work in AGGREGATORS}, lambda result: result)
