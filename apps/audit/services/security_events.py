"""What strangers do, folded so that they cannot fill the log: one entry per kind of event, source and minute.

A source is an address under a keyed hash: the same source is recognised, the address is not stored. A botnet has many
addresses, so the sources of one minute are bounded too; past that they are one. From outside all failures look alike;
the reason stands here.
"""

from datetime import timedelta

from django.utils import timezone
from django.utils.crypto import salted_hmac

from apps.audit.models import LogEntry
from apps.audit.services.entries import append_once

FAILED_AUTHENTICATION = "authentication.failed"
MAX_SOURCES_A_MINUTE = 50
MANY_SOURCES = "source_many"
HASH_CHARACTERS = 32


def record_failed_authentication(*, address: str, reason: str) -> LogEntry | None:
    """Log that a request's signature was refused; None when it was folded into an earlier entry."""
    return record_refusal(FAILED_AUTHENTICATION, address=address, reason=reason)


def record_refusal(type_: str, *, address: str, reason: str) -> LogEntry | None:
    """Log that somebody who is not known was refused; None when it was folded into an earlier entry.

    In a transaction of its own: call it after the refused one has been rolled back.
    """
    minute = timezone.now().replace(second=0, microsecond=0)
    source = source_of(address)
    return append_once(f"{source} {minute.isoformat()}", type_, actor=source, detail={"reason": reason})


def source_of(address: str) -> str:
    """The pseudonym of an address; one for all of them once a minute has seen too many."""
    source = f"source_{salted_hmac('apps.audit.source', address, algorithm='sha256').hexdigest()[:HASH_CHARACTERS]}"
    since = timezone.now() - timedelta(minutes=1)
    recent = LogEntry.objects.filter(created_at__gte=since, actor__startswith="source_")
    if not recent.filter(actor=source).exists() and recent.count() >= MAX_SOURCES_A_MINUTE:
        return MANY_SOURCES
    return source
