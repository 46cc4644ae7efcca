"""Fixtures of models, rounds and updates."""

from tests.apps.places import alpha, joined, layout, model, place

__all__ = ["alpha", "joined", "layout", "model", "place"]
