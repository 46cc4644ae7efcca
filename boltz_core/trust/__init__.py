"""Reputation from recorded evidence, the weights that follow from it, and the scores that find outliers."""
