"""What the aggregation app can do. Tasks, admin and commands make one call into one of these functions."""

from apps.aggregation.services.by_hand import aggregate_now, run_again
from apps.aggregation.services.publication import finish_run
from apps.aggregation.services.reconciliation import beat_heart, reconcile, tick
from apps.aggregation.services.replay import Replay, replay_round
from apps.aggregation.services.runs import aggregate_round, combine_shard, decide_run, measure_shard

__all__ = [
    "Replay",
    "aggregate_now",
    "aggregate_round",
    "beat_heart",
    "combine_shard",
    "decide_run",
    "finish_run",
    "measure_shard",
    "reconcile",
    "replay_round",
    "run_again",
    "tick",
]
