"""Reputation from recorded evidence."""
