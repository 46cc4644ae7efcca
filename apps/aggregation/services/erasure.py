"""What the aggregation app does when updates are erased: the records of runs no longer say what those were like."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from apps.aggregation.models import Run
from apps.rounds.models import Update
from boltz_core.aggregation.decision import without_members


def on_updates_erasing(*, update_ids: Sequence[str], **_: Any) -> None:
    """Take norms and example counts of these updates out of the decisions they are in; their weights stay."""
    erased = defaultdict(set)
    for update_id, round_id in Update.objects.filter(pk__in=update_ids).values_list("pk", "round_id"):
        erased[round_id].add(update_id)
    decided = Run.objects.filter(round__in=erased, decision__isnull=False)
    for run in decided.select_for_update(of=("self",)).order_by("pk"):
        run.decision = without_members(run.decision, erased[run.round_id])
        run.save(update_fields=["decision"])
