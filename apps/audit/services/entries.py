"""Appending to the log.

An append is a plain INSERT in the caller's transaction: no lock, no chain, no number, so it costs nothing and never
waits. What was refused is appended in a transaction of its own, after the caller's has been rolled back.
"""

import hashlib
import secrets
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from apps.audit.models import LogEntry, Subject
from apps.audit.selectors import detail_context
from apps.joined_rows import first_row
from apps.keys import services as keys
from boltz_protocol import codec, leaves
from boltz_protocol.encoding import base64url

ID_BYTES = 16
# without the ORM: each step of each update is logged
KID = "SELECT kid FROM audit_subject WHERE pseudonym = %s"
ENTRY_COLUMNS = ("id", "type", "actor", "subject", "round", "leaf", "created_at", "fold_key")
INSERT_ENTRY = """
    INSERT INTO audit_logentry (id, type, actor, subject, round, leaf, created_at, fold_key)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s)
"""
INSERT_BOTH = f"""
    WITH entry AS ({INSERT_ENTRY}) INSERT INTO audit_logdetail (entry_id, kid, content) VALUES (%s, %s, %s)
"""  # noqa: S608 - nothing in it comes from outside


def append(
    type_: str,
    *,
    actor: str,
    subject: str | None = None,
    round: str | None = None,  # noqa: A002 - the log's own word
    detail: Mapping[str, Any],
) -> LogEntry:
    """Add an entry, in the caller's transaction.

    Args:
        type_: what happened, such as `client.enrolled`.
        actor: who did it: a pseudonym, or `system`. Never a name.
        subject: the pseudonym of the one whom it concerns; the detail is sealed under its key, and dropped when that is
            destroyed.
        round: such as `boltz-core/7`.
        detail: JSON values, floats and times among them; without a subject it is kept in clear, so nothing personal.
    """
    return _insert(type_, actor=actor, subject=subject, round_=round, detail=detail, fold_key=None)


def append_once(
    fold: str,
    type_: str,
    *,
    actor: str,
    round: str | None = None,  # noqa: A002 - the log's own word
    detail: Mapping[str, Any],
) -> LogEntry | None:
    """Add an entry unless there is one of this type and `fold` already; None then, and nothing is written.

    In a transaction of its own. `fold` names what counts as the same, such as a source and a minute.

    Raises:
        RuntimeError: called inside a transaction.
    """
    fold_key = hashlib.sha256(f"{type_}\0{fold}".encode()).hexdigest()
    if LogEntry.objects.filter(fold_key=fold_key).exists():
        return None
    try:
        with transaction.atomic(durable=True):
            return _insert(type_, actor=actor, subject=None, round_=round, detail=detail, fold_key=fold_key)
    except IntegrityError:  # somebody was faster
        return None


def _insert(
    type_: str, *, actor: str, subject: str | None, round_: str | None, detail: Mapping[str, Any], fold_key: str | None
) -> LogEntry:
    now = timezone.now()
    entry_id = base64url(secrets.token_bytes(ID_BYTES))
    salt = secrets.token_bytes(leaves.SALT_BYTES)
    canonical = codec.encode(_loggable(detail))
    leaf = leaves.LogLeaf(
        v=1,
        id=entry_id,
        t=now,
        type=type_,
        actor=actor,
        subject=subject,
        round=round_,
        detail=leaves.detail_commitment(salt, canonical),
    )
    entry = LogEntry(
        id=entry_id,
        type=type_,
        actor=actor,
        subject=subject,
        round=round_,
        leaf=codec.encode(leaf),
        created_at=now,
        fold_key=fold_key,
    )
    _store(entry, *_kept_detail(entry, salt + canonical))
    return entry


def _kept_detail(entry: LogEntry, content: bytes) -> tuple[str | None, bytes | None]:
    """Kid and bytes of what the leaf commits to, salt included: who has it could guess a short detail from the leaf.

    Of a subject that is forgotten, or about to be, nothing is kept; work that was under way for it goes on.
    """
    if entry.subject is None:
        return None, content
    row = first_row(KID, [entry.subject])
    if row is None:
        raise Subject.DoesNotExist(f"nobody is {entry.subject}")
    try:
        return row[0], keys.key_store().seal(row[0], content, detail_context(entry.id))
    except keys.KeyMissingError:
        return row[0], None


def _store(entry: LogEntry, kid: str | None, content: bytes | None) -> None:
    """Insert an entry, and its detail where there is one, in one statement."""
    values = [getattr(entry, name) for name in ENTRY_COLUMNS]
    with connection.cursor() as cursor:
        if content is None:
            cursor.execute(INSERT_ENTRY, values)
        else:
            cursor.execute(INSERT_BOTH, [*values, entry.id, kid, content])


def _loggable(value: Any) -> Any:
    """The value as the log has it: floats as strings, so that no number parser changes a hash; times in ISO 8601."""
    if isinstance(value, float):
        return repr(float(value))
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(key): _loggable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_loggable(item) for item in value]
    return value
