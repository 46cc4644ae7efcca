"""Fixtures of models, rounds and updates."""

from tests.apps.places import alpha, joined, layout, model, place
from tests.apps.rounds.trained import gated, holdout, trained

__all__ = ["alpha", "gated", "holdout", "joined", "layout", "model", "place", "trained"]
