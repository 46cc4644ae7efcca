"""Staged updates to one step, with the same bits in any order, on any number of shards and on any processor."""
