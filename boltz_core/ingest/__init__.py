"""One streaming pass over one update: validate, measure, seal again in segments."""
