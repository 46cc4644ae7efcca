"""Celery tasks. Each makes one call into services; a message may arrive twice, late or never."""

from celery import shared_task

from apps.aggregation import services


@shared_task(name="aggregation.tick", max_retries=2)
def tick() -> None:
    """Do what is due, and note that a tick got through. Rung by beat; the reconciler does the same without Redis."""
    services.tick("tick")


@shared_task(name="aggregation.aggregate_round", max_retries=2)
def aggregate_round(round_id: int) -> None:
    """Begin a run, or take over one whose lease has run out."""
    services.aggregate_round(round_id)


@shared_task(name="aggregation.measure_shard", max_retries=2, ignore_result=False)
def measure_shard(run_id: int, shard: int) -> None:
    """Measure one parameter range of a run: a member of a chord."""
    services.measure_shard(run_id, shard)


@shared_task(name="aggregation.decide_run", max_retries=2)
def decide_run(run_id: int) -> None:
    """Decide a run whose geometry is all there, and begin to combine."""
    services.decide_run(run_id)


@shared_task(name="aggregation.combine_shard", max_retries=2, ignore_result=False)
def combine_shard(run_id: int, shard: int) -> None:
    """Combine one parameter range of a run: a member of a chord."""
    services.combine_shard(run_id, shard)


@shared_task(name="aggregation.finish_run", max_retries=2)
def finish_run(run_id: int) -> None:
    """Publish a run whose shards are all there."""
    services.finish_run(run_id)
