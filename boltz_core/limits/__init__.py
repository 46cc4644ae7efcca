"""How much anybody may ask for: buckets that fill up again by themselves."""
