"""The Django apps: who may ask, what is stored, in which transaction. Services write, selectors read."""
