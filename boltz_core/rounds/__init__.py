"""What may happen to an update, a round, a version and a client, and which policies a round may have."""
