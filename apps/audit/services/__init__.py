"""Writing the log: `from apps.audit import services as audit`."""

from apps.audit.selectors import read_detail
from apps.audit.services.entries import append, append_once
from apps.audit.services.operators import actor_of
from apps.audit.services.security_events import record_failed_authentication, record_refusal
from apps.audit.services.subjects import (
    begin_forgetting,
    finish_forgetting,
    forget_subject,
    new_pseudonym,
    new_subject,
)

__all__ = [
    "actor_of",
    "append",
    "append_once",
    "begin_forgetting",
    "finish_forgetting",
    "forget_subject",
    "new_pseudonym",
    "new_subject",
    "read_detail",
    "record_failed_authentication",
    "record_refusal",
]
