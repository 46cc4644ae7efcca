"""The server's decisions, as pure functions: no framework, no clock, no files, no randomness of their own."""
