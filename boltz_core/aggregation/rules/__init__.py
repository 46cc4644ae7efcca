"""One file a rule; `registry.py` lists them."""
