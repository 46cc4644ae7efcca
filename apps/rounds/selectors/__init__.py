"""What the rounds app can tell. Selectors read and change nothing."""

from apps.rounds.selectors.clients_view import model_view, model_views, update_status_when_decided
from apps.rounds.selectors.lookups import (
    find_model,
    find_round,
    find_update,
    find_version,
    models_by_name,
    round_and_time,
)
from apps.rounds.selectors.round_views import round_view, round_views, views_of
from apps.rounds.selectors.staged import StagedMatrix, staged_matrix
from apps.rounds.selectors.work import rounds_live, rounds_to_aggregate, updates_waiting, verdicts_waiting

__all__ = [
    "StagedMatrix",
    "find_model",
    "find_round",
    "find_update",
    "find_version",
    "model_view",
    "model_views",
    "models_by_name",
    "round_and_time",
    "round_view",
    "round_views",
    "rounds_live",
    "rounds_to_aggregate",
    "staged_matrix",
    "update_status_when_decided",
    "updates_waiting",
    "verdicts_waiting",
    "views_of",
]
