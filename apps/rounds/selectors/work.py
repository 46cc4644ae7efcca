"""What waits: the queries of the reconciler. The database's clock decides."""

from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from apps.rounds.models import Round, Update, Verdict
from boltz_core.rounds.states import RoundState, UpdateState, VerdictState

BATCH = 200


def updates_waiting() -> QuerySet[Update]:
    """Updates whose message has had its time and that nobody works on; oldest first, a batch at a time."""
    idle = Q(state=UpdateState.RECEIVED) | Q(state=UpdateState.PROCESSING, lease_expires_at__lt=Now())
    return Update.objects.filter(idle, next_kick_at__lte=Now()).order_by("received_at")[:BATCH]


def rounds_live() -> QuerySet[Round]:
    """Rounds that may have a step to take before their freeze."""
    return Round.objects.filter(
        Q(state=RoundState.SCHEDULED, opens_at__lte=Now()) | Q(state=RoundState.OPEN) | Q(state=RoundState.SEALED)
    )


def rounds_to_aggregate() -> QuerySet[Round]:
    """Rounds to be aggregated whose last message has had its time."""
    return Round.objects.filter(state__in=[RoundState.FROZEN, RoundState.AGGREGATING], next_kick_at__lte=Now())


def verdicts_waiting() -> QuerySet[Verdict]:
    """Verdicts on candidates that nobody has settled yet; their models' next rounds wait for them."""
    return Verdict.objects.filter(state=VerdictState.WAITING)
