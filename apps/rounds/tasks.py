"""Celery tasks. Each makes one call into services; a message may arrive twice, late or never."""

from celery import shared_task

from apps.rounds import services


@shared_task(name="rounds.process_update", max_retries=2)
def process_update(update_id: str) -> None:
    """Decide one update."""
    services.process_update(update_id)


@shared_task(name="rounds.advance_round", max_retries=2)
def advance_round(round_id: int) -> None:
    """Take every step of a round that is due."""
    services.advance_round(round_id)


@shared_task(name="rounds.judge_candidate", max_retries=2)
def judge_candidate(version_id: int) -> None:
    """Judge a new version by its model's gate."""
    services.judge_candidate(version_id)
