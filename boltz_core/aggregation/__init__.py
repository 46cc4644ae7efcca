"""Staged updates to one step, with the same bits in any order, on any number of shards and on any processor."""

from boltz_core.aggregation.in_memory import Aggregate, aggregate

__all__ = ["Aggregate", "aggregate"]
