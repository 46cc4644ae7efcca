"""Django's own backend for PostgreSQL, but for how a kept connection is looked at before it is used."""
