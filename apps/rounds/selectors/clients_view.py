"""Models and updates as clients see them."""

from collections.abc import Sequence

import msgspec

from apps.clients.models import Client
from apps.joined_rows import first_row
from apps.rounds.models import LIVE_ROUND_STATES, FederatedModel, ModelVersion, Round
from apps.rounds.selectors import held_looks
from apps.rounds.selectors.lookups import find_round, is_a, number_of, valid_name
from boltz_core.rounds.states import VersionState
from boltz_protocol.errors import SenderError
from boltz_protocol.messages import Identifier, ModelView, SignedDocument, UpdateStatus


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


# without the ORM, whose SQL costs more to make than to answer, and in the order of UpdateStatus: a client that waits
# asks often
STATUS = """
    SELECT round.state, own.state, own.code, own.reason, own.norm, own.share, version.number, own.receipt::text,
           extract(epoch FROM statement_timestamp() - own.received_at)::float
    FROM rounds_update AS own
    JOIN rounds_round AS round ON round.id = own.round_id
    JOIN rounds_federatedmodel AS model ON model.id = round.model_id
    LEFT JOIN rounds_modelversion AS version ON version.id = own.version_id
    WHERE own.id = %s AND own.client_id = %s AND model.name = %s AND round.number = %s
"""


def update_status(name: str, number: str, upload_id: str, client: Client) -> UpdateStatus:
    """What became of a client's own update.

    Raises:
        SenderError: `unknown_model`, `unknown_round`; `unknown_update`, also for another client's, so that ids cannot
            be probed.
    """
    return _status_and_age(name, number, upload_id, client)[0]


def update_status_when_decided(
    name: str, number: str, upload_id: str, client: Client, *, wait_seconds: float
) -> UpdateStatus:
    """The same, with the answer held back for up to `wait_seconds` while nothing is decided.

    Raises:
        SenderError: as for `update_status`.
    """
    status, age_seconds = _status_and_age(name, number, upload_id, client)
    if wait_seconds <= 0 or _is_decided(status):
        return status
    if not held_looks.HELD_LOOKS.hold(upload_id, wait_seconds, age_seconds=age_seconds):
        return status
    return update_status(name, number, upload_id, client)


def _is_decided(status: UpdateStatus) -> bool:
    return status.state in held_looks.DECIDED_STATES or status.round_state in held_looks.DECIDED_ROUNDS


def _status_and_age(name: str, number: str, upload_id: str, client: Client) -> tuple[UpdateStatus, float]:
    """The status, and for how many seconds the mesh has had the update."""
    place = valid_name(name), number_of(number, "round")
    row = first_row(STATUS, [upload_id, client.pk, *place]) if is_a(upload_id, Identifier) else None
    if row is None:
        find_round(name, number)
        raise SenderError("you have no update with this id in this round", code="unknown_update")
    round_state, state, code, reason, norm, share, version, receipt, age_seconds = row
    status = UpdateStatus(
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
        receipt=msgspec.json.decode(receipt, type=SignedDocument),
    )
    return status, age_seconds
