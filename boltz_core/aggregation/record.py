"""The shape of a recorded decision, as JSON values.

Version 1 is the plain weighted mean, whose weights follow from its members; version 2 everything else, and holds what
pass 2 needs and no more. Numbers that are not integers are strings, spelled as Python's repr does.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from boltz_core.aggregation.mixed_row import RecordedRow


class RecordedMember(msgspec.Struct, forbid_unknown_fields=True):
    """A member with its integer weight."""

    update_id: str
    norm: str
    examples: int
    weight: int


class RecordedGated(msgspec.Struct, forbid_unknown_fields=True):
    """An update that the gate has put out."""

    update_id: str
    norm: str
    reason: str


class PlainRecord(msgspec.Struct, forbid_unknown_fields=True):
    """Version 1."""

    v: int
    rule: str
    bound: str
    example_cap: int
    members: list[RecordedMember]


class PlannedRecord(msgspec.Struct, forbid_unknown_fields=True):
    """Version 2. `rows` None: a statistic looks at the members themselves, and a linear rule needs none."""

    v: int
    rule: str
    before: list[str]
    byzantine: int
    parameters: dict[str, int | str | None]
    bound: str
    example_cap: int
    members: list[RecordedMember]
    mass: str
    gated: list[RecordedGated]
    rows: list[RecordedRow] | None
    geometry_sha256: str | None


def read_record(recorded: Mapping[str, Any]) -> PlainRecord | PlannedRecord:
    """The record, by its version; 1 where that is not said rightly, so that `v` is judged with the rest.

    Raises:
        msgspec.ValidationError: not of this shape.
    """
    if recorded.get("v") == 2:  # noqa: PLR2004  (the version)
        return msgspec.convert(dict(recorded), PlannedRecord)
    return msgspec.convert(dict(recorded), PlainRecord)
