"""What can stand in front of a rule: one file a step; `rules/registry.py` lists them beside the rules."""
