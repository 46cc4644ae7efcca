"""NVFlare's sum of weighted contributions, which its aggregators and its FedAvg are made of; arrays in ten tensors."""

import logging
from typing import Any

import numpy as np
from asked import Asked, Prepare, answer
from numpy.typing import NDArray
from nvflare.app_common.aggregators.weighted_aggregation_helper import WeightedAggregationHelper

TENSORS = 10


def weighted_mean(asked: Asked) -> Prepare:
    """All contributions added, then divided."""
    contributions = [
        {f"tensor{number}": part for number, part in enumerate(np.array_split(row, TENSORS))} for row in asked.rows
    ]

    def combine() -> dict[str, Any]:
        helper = WeightedAggregationHelper()
        for number, (tensors, examples) in enumerate(zip(contributions, asked.examples, strict=True)):
            helper.add(tensors, examples, f"client{number}", 0)
        result: dict[str, Any] = helper.get_result()
        return result

    return lambda: combine


def as_vector(result: dict[str, Any]) -> NDArray[Any]:
    """The tensors, one behind the other."""
    return np.concatenate([result[f"tensor{number}"] for number in range(TENSORS)])


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    answer({"weighted_mean": weighted_mean}, as_vector)
