"""Rounds as clients see them, in one statement without the ORM: making its SQL costs more than answering it."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from django.db import connection

from apps.joined_rows import first_row
from apps.rounds.models import Round
from apps.rounds.selectors.lookups import find_model, place_of, unknown_round, valid_name
from boltz_core.rounds.states import UpdateState
from boltz_protocol.messages import RoundView, SignedDocument

ROUNDS = """
    SELECT round.id, model.name, round.number, round.state, round.opens_at, round.closes_at, round.descriptor::text,
           (SELECT count(*) FROM rounds_participation AS one WHERE one.round_id = round.id),
           (SELECT json_agg(json_build_array(state, code, n))::text FROM (
               SELECT state, code, count(*) AS n FROM rounds_update WHERE round_id = round.id GROUP BY state, code
           ) AS counted),
           version.number, version.step_norm
    FROM rounds_round AS round
    JOIN rounds_federatedmodel AS model ON model.id = round.model_id
    LEFT JOIN rounds_modelversion AS version ON version.round_id = round.id AND round.state = 'published'
"""
NEWEST = ROUNDS + "WHERE model.name = %s ORDER BY round.number DESC LIMIT %s"
THESE = ROUNDS + "WHERE round.id = ANY(%s)"


def round_view(name: str, number: str) -> RoundView:
    """A round by number, or `current`: the one that has not ended, else the last one.

    Raises:
        SenderError: `unknown_model`, `unknown_round`.
    """
    place, values = place_of(name, number)
    row = first_row(ROUNDS + place, values)
    if row is None:
        raise unknown_round(name, number)
    return _view(row)


def round_views(name: str, *, limit: int) -> list[RoundView]:
    """The newest rounds of a model, newest first.

    Raises:
        SenderError: `unknown_model`.
    """
    rows = _rows(NEWEST, valid_name(name), limit)
    if not rows:
        find_model(name)
    return [_view(row) for row in rows]


def views_of(rounds: Iterable[Round]) -> dict[int, RoundView]:
    """Several rounds of any models, by their primary keys."""
    return {row[0]: _view(row) for row in _rows(THESE, [round_.pk for round_ in rounds])}


def _rows(statement: str, *values: object) -> list[tuple[Any, ...]]:
    """What the database answers."""
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return list(cursor.fetchall())


def _view(row: Sequence[Any]) -> RoundView:
    """One round. Only `robust` rounds may tell counts of rejections; the other modes do not exist yet."""
    _, name, number, state, opens_at, closes_at, descriptor, joined, counts, version, step_norm = row
    updates: list[tuple[str, str, int]] = msgspec.json.decode(counts) if counts else []
    staged = {UpdateState.STAGED, UpdateState.AGGREGATED}
    return RoundView(
        v=1,
        model=name,
        round=number,
        state=state,
        opens_at=opens_at,
        closes_at=closes_at,
        descriptor=msgspec.json.decode(descriptor, type=SignedDocument) if descriptor else None,
        joined=joined,
        accepted=sum(n for _, _, n in updates),
        staged=sum(n for state, _, n in updates if state in staged),
        rejected={code: n for state, code, n in updates if state == UpdateState.REJECTED},
        version=version,
        step_norm=step_norm,
    )
