"""What goes wrong inside the engine. Its input is what we staged and decided ourselves, so the fault is ours."""

from boltz_protocol.errors import NotNowError, ServerFaultError


class AggregationError(ServerFaultError):
    """Numbers that the engine cannot have been given by a sound ingest and decision."""

    default_code = "aggregation_failed"


class ConditionError(AggregationError):
    """Too few updates for the rule and the number of attackers it has to tolerate, or more than it can look at."""


class TooFewUpdatesError(NotNowError):
    """Fewer updates than the policy's quorum."""

    default_code = "too_few_updates"
