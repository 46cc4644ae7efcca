"""Models, rounds and updates as clients see them."""

from collections.abc import Sequence

import msgspec
from django.db.models import Count

from apps.clients.models import Client
from apps.rounds.models import LIVE_ROUND_STATES, FederatedModel, ModelVersion, Participation, Round, Update
from apps.rounds.selectors.lookups import find_round, is_a, number_of, valid_name
from boltz_core.rounds.states import RoundState, UpdateState, VersionState
from boltz_protocol.errors import SenderError
from boltz_protocol.messages import Identifier, ModelView, RoundView, SignedDocument, UpdateStatus


def model_view(model: FederatedModel) -> ModelView:
    """A model with its policy, current version and current round."""
    return model_views([model])[0]


def model_views(models: Sequence[FederatedModel]) -> list[ModelView]:
    """Several models, with one query a kind of number."""
    current = ModelVersion.objects.filter(model__in=models, state=VersionState.CURRENT).order_by()
    live = Round.objects.filter(model__in=models, state__in=LIVE_ROUND_STATES).order_by()
    versions, rounds = (dict(rows.values_list("model", "number")) for rows in (current, live))
    return [
        ModelView(
            v=1,
            name=model.name,
            mode=model.round_policy().mode,
            task=model.task_spec(),
            layout_digest=model.layout_digest,
            parameters=model.parameters,
            policy=model.round_policy(),
            current_version=versions[model.pk],
            current_round=rounds.get(model.pk),
        )
        for model in models
    ]


def round_view(round_: Round) -> RoundView:
    """A round with its counts. Only `robust` rounds may tell counts of rejections; the other modes do not exist yet."""
    return round_views([round_])[0]


def round_views(rounds: Sequence[Round]) -> list[RoundView]:
    """Several rounds, with one query a kind of count."""
    ids = [round_.pk for round_ in rounds]
    joined = dict(Participation.objects.filter(round__in=ids).values_list("round").annotate(n=Count("pk")).order_by())
    counts = Update.objects.filter(round__in=ids).values("round", "state", "code").annotate(n=Count("pk")).order_by()
    by_round: dict[int, list[dict[str, object]]] = {}
    for row in counts:
        by_round.setdefault(row["round"], []).append(row)
    published = [round_.pk for round_ in rounds if round_.state == RoundState.PUBLISHED]
    versions = {version.round_id: version for version in ModelVersion.objects.filter(round__in=published)}
    return [
        view_of(round_, joined.get(round_.pk, 0), by_round.get(round_.pk, []), versions.get(round_.pk))
        for round_ in rounds
    ]


def view_of(round_: Round, joined: int, counts: list[dict[str, object]], version: ModelVersion | None) -> RoundView:
    """One round from its counts."""
    staged = {UpdateState.STAGED, UpdateState.AGGREGATED}
    return RoundView(
        v=1,
        model=round_.model.name,
        round=round_.number,
        state=round_.state,  # type: ignore[arg-type]
        opens_at=round_.opens_at,
        closes_at=round_.closes_at,
        descriptor=round_.signed_descriptor(),
        joined=joined,
        accepted=sum(row["n"] for row in counts),  # type: ignore[misc]
        staged=sum(row["n"] for row in counts if row["state"] in staged),  # type: ignore[misc]
        rejected={row["code"]: row["n"] for row in counts if row["state"] == UpdateState.REJECTED},  # type: ignore[misc]
        version=version.number if version else None,
        step_norm=version.step_norm if version else None,
    )


# in the order of UpdateStatus; a client that waits asks often, so no more than this is read
STATUS_COLUMNS = ("round__state", "state", "code", "reason", "norm", "share", "version__number", "receipt")


def update_status(name: str, number: str, upload_id: str, client: Client) -> UpdateStatus:
    """What became of a client's own update.

    Raises:
        SenderError: `unknown_model`, `unknown_round`; `unknown_update`, also for another client's, so that ids cannot
            be probed.
    """
    place = {"round__model__name": valid_name(name), "round__number": number_of(number, "round")}
    own = Update.objects.filter(client=client, **place).order_by()
    rows = own.filter(pk=upload_id).values_list(*STATUS_COLUMNS) if is_a(upload_id, Identifier) else []
    row = next(iter(rows), None)
    if row is None:
        find_round(name, number)
        raise SenderError("you have no update with this id in this round", code="unknown_update")
    round_state, state, code, reason, norm, share, version, receipt = row
    return UpdateStatus(
        v=1,
        upload_id=upload_id,
        model=name,
        round=int(number),
        round_state=round_state,
        state=state,
        code=code or None,
        reason=reason or None,
        norm=norm,
        weight=share,
        version=version,
        receipt=msgspec.convert(receipt, SignedDocument),
    )
