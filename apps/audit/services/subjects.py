"""Those whom the log is about: a pseudonym each, a key each, and the destruction of that key.

Forgetting takes three steps, so that it survives a crash between any two: `begin_forgetting` logs the intent in the
caller's transaction; after the commit `forget_subject` destroys the key and logs that it is done; `finish_forgetting`
does that for whatever a crash has left in between.
"""

import secrets

from django.db import transaction
from django.utils import timezone

from apps.attempts import attempt
from apps.audit.models import Subject
from apps.audit.services.entries import append
from apps.keys import services as keys
from boltz_protocol.encoding import base64url
from boltz_protocol.errors import NotNowError

PSEUDONYM_BYTES = 16
BEGUN = "subject.forgetting_begun"
DONE = "subject.forgotten"


def new_pseudonym(kind: str) -> str:
    """A random name that tells nothing but its kind."""
    return f"{kind}_{base64url(secrets.token_bytes(PSEUDONYM_BYTES))}"


def new_subject(kind: str) -> str:
    """Make a subject with its key, in the caller's transaction, and give its pseudonym.

    When that transaction is rolled back the key file stays behind; it has sealed nothing that anyone can read.
    """
    return Subject.objects.create(
        pseudonym=new_pseudonym(kind), kind=kind, kid=keys.new_symmetric_key("subject")
    ).pseudonym


def begin_forgetting(pseudonym: str, *, actor: str) -> bool:
    """Log, in the caller's transaction, that a subject will be forgotten; False when that was begun before."""
    if not Subject.objects.filter(pseudonym=pseudonym, forget_by__isnull=True).update(forget_by=actor):
        return False
    append(BEGUN, actor=actor, subject=pseudonym, detail={})
    return True


def forget_subject(pseudonym: str) -> bool:
    """Destroy a subject's key, and so every detail about it, and log that it is done; False when it was done before.

    Call it after the transaction of `begin_forgetting` has been committed: a destruction cannot be rolled back.

    Raises:
        NotNowError: forgetting was not begun.
    """
    subject = Subject.objects.get(pseudonym=pseudonym)
    if subject.forget_by is None:
        raise NotNowError(f"nobody asked to forget {pseudonym}", code="not_begun")
    keys.key_store().destroy(subject.kid)
    with transaction.atomic():
        open_ = Subject.objects.filter(pseudonym=pseudonym, forgotten_at__isnull=True)
        if not open_.update(forgotten_at=timezone.now()):
            return False
        # the key is gone: of this entry's detail nothing is kept, and nothing is in it
        append(DONE, actor=subject.forget_by, subject=pseudonym, detail={})
    return True


def finish_forgetting() -> int:
    """Forget every subject whose forgetting was begun and committed; gives how many. For the tick.

    One whose key cannot be destroyed now does not keep the others; a later tick tries it again.
    """
    begun = Subject.objects.filter(forget_by__isnull=False, forgotten_at__isnull=True)
    pseudonyms = list(begun.values_list("pseudonym", flat=True))
    return sum(bool(attempt(forget_subject, pseudonym)) for pseudonym in pseudonyms)
