"""Which queue a task goes to. A queue that is not listed here does not exist (`task_create_missing_queues` is off)."""

from kombu import Queue

CONTROL = "control"
INGEST = "ingest"
AGGREGATE = "aggregate"

QUEUES = [Queue(name, routing_key=name) for name in (CONTROL, INGEST, AGGREGATE)]

ROUTES = {
    "rounds.process_update": {"queue": INGEST},
    "rounds.advance_round": {"queue": CONTROL},
    "rounds.judge_candidate": {"queue": AGGREGATE},
    "aggregation.tick": {"queue": CONTROL},
    "aggregation.aggregate_round": {"queue": AGGREGATE},
    "aggregation.measure_shard": {"queue": AGGREGATE},
    "aggregation.decide_run": {"queue": AGGREGATE},
    "aggregation.combine_shard": {"queue": AGGREGATE},
    "aggregation.finish_run": {"queue": AGGREGATE},
}
