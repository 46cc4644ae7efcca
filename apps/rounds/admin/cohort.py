"""The scores of one round's updates together, so that one of them can be judged beside the others."""

from dataclasses import dataclass

from django.db.models import Aggregate, Avg, Count, FloatField

from apps.rounds.models import Round, Update


class Median(Aggregate):
    """PostgreSQL's continuous 0.5 percentile."""

    function = "PERCENTILE_CONT"
    template = "%(function)s(0.5) WITHIN GROUP (ORDER BY %(expressions)s)"
    output_field = FloatField()


@dataclass(frozen=True)
class Cohort:
    """How many updates of a round have scores, and where their middle lies."""

    size: int
    mean_norm: float | None
    median_norm: float | None
    mean_dot: float | None
    median_dot: float | None


def cohort_of(round_: Round) -> Cohort:
    """The scores of every update of a round that has them."""
    scored = Update.objects.filter(round=round_, norm__isnull=False)
    row = scored.aggregate(
        size=Count("pk"),
        mean_norm=Avg("norm"),
        median_norm=Median("norm"),
        mean_dot=Avg("step_dot"),
        median_dot=Median("step_dot"),
    )
    return Cohort(**row)
