"""Rate limits and quotas: counted in Redis, in one round trip a request; by each process alone while Redis is away.

`limiter()` is what the rest calls. It knows no model: who is known, and what a round is, is for its callers to say.
"""
