"""Reading the log."""

import json
from datetime import datetime
from typing import Any

from django.db.models import QuerySet

from apps.audit.models import LogDetail, LogEntry
from apps.keys import services as keys
from boltz_protocol import codec, leaves
from boltz_protocol.errors import ServerFaultError


def entries_about(subject: str) -> QuerySet[LogEntry]:
    """Every entry about one subject, newest first."""
    return LogEntry.objects.filter(subject=subject)


def entries_of_round(round_label: str) -> QuerySet[LogEntry]:
    """Every entry of one round, newest first."""
    return LogEntry.objects.filter(round=round_label)


def entries_of_type(type_: str, *, since: datetime | None = None) -> QuerySet[LogEntry]:
    """Every entry of one type, newest first."""
    entries = LogEntry.objects.filter(type=type_)
    return entries.filter(created_at__gte=since) if since else entries


def detail_context(entry_id: str) -> bytes:
    """What a sealed detail is bound to: it does not open beside another entry."""
    return b"log|" + entry_id.encode()


def read_detail(entry: LogEntry) -> dict[str, Any] | None:
    """What an entry says in full, checked against its leaf; None once its subject has been forgotten.

    Raises:
        ServerFaultError: the detail is not the one that the leaf commits to (`log_detail_damaged`).
    """
    detail = LogDetail.objects.filter(entry_id=entry.pk).first()
    if detail is None:
        return None
    content = bytes(detail.content)
    if detail.kid is not None:
        try:
            content = keys.key_store().open_sealed(detail.kid, content, detail_context(entry.pk))
        except keys.KeyMissingError:
            return None
    salt, canonical = content[: leaves.SALT_BYTES], content[leaves.SALT_BYTES :]
    leaf = codec.decode(bytes(entry.leaf), leaves.LogLeaf)
    if leaves.detail_commitment(salt, canonical) != leaf.detail:
        raise ServerFaultError(
            f"the detail of log entry {entry.pk} is not what its leaf says", code="log_detail_damaged"
        )
    value: dict[str, Any] = json.loads(canonical)
    return value
