"""Rotation of the mesh's encryption key, as far as rounds are concerned.

A new key comes into every open round's descriptor. The old one opens what was sealed for it, until none of its
updates is in work and the grace time for uploads under way has passed; then its private part is destroyed. RSA has no
forward secrecy: destruction is the substitute, so it must really happen.
"""

from datetime import timedelta

import msgspec
from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now
from django.utils import timezone

from apps.attempts import attempt
from apps.audit import services as audit
from apps.keys import services as keys
from apps.keys.models import MeshKey
from apps.rounds.models import IN_WORK_STATES, Round, Update
from apps.rounds.services import opening
from apps.rounds.services.transitions import SYSTEM
from boltz_core.rounds.states import RoundState


def rotate_encryption_key(*, actor: str) -> MeshKey:
    """Make a new encryption key and put it into the descriptors of open rounds."""
    with transaction.atomic():
        key = keys.rotate_encryption_key()
        audit.append("key.rotated", actor=actor, detail={"use": "enc", "kid": key.kid})
        renew_descriptors()
    return key


def renew_descriptors() -> None:
    """Put today's encryption key into the descriptor of every open round that names another one.

    In the tick too: a round may have been opened while a rotation was on its way, and nobody could take part in it.
    """
    with transaction.atomic():
        kid = keys.encryption_key().kid
        rounds = Round.objects.select_for_update(of=("self",)).filter(state=RoundState.OPEN)
        for round_ in rounds.select_related("model", "base"):
            if round_.read_descriptor().encryption_key.kid == kid:
                continue
            signed = opening.sign_descriptor(round_)
            Round.objects.filter(pk=round_.pk).update(descriptor=msgspec.to_builtins(signed))
            opening.log_descriptor("round.descriptor_renewed", round_, signed)


def rotate_signing_key(*, actor: str) -> MeshKey:
    """Make a new mesh signing key, signed by the old one."""
    with transaction.atomic():
        key = keys.rotate_signing_key()
        audit.append("key.rotated", actor=actor, detail={"use": "sig", "kid": key.kid})
    return key


def rotate_when_due() -> None:
    """Rotate the encryption key when it has reached its age; once, however many ticks find that at the same time."""
    oldest = timezone.now() - timedelta(days=settings.BOLTZ_ENCRYPTION_KEY_DAYS)
    if keys.encryption_key().not_before >= oldest:
        return
    with transaction.atomic():
        keys.lock_key_operations()
        if keys.encryption_key().not_before < oldest:
            rotate_encryption_key(actor=SYSTEM)


def destroy_retired_keys() -> list[str]:
    """Destroy the private part of every retired encryption key that nothing needs any more; returns their kids.

    One that cannot be destroyed now does not keep the others; a later tick tries it again.
    """
    grace = Now() - timedelta(seconds=settings.BOLTZ_KEY_GRACE_SECONDS)
    retired = MeshKey.objects.filter(use="enc", state="retired", not_after__lt=grace)
    needed = Update.objects.filter(state__in=IN_WORK_STATES).values("server_kid")
    kids = list(retired.exclude(kid__in=needed).values_list("kid", flat=True))
    return [kid for kid in kids if attempt(destroy_retired_key, kid)]


def destroy_retired_key(kid: str) -> bool:
    """Destroy one, and log intent and completion; False when that was done before."""
    detail = {"use": "enc", "kid": kid}
    # once, however often the act fails
    audit.append_once(kid, "key.destruction_begun", actor=SYSTEM, detail=detail)
    with transaction.atomic():
        destroyed = keys.destroy_retired_key(kid)
        if destroyed:
            audit.append("key.destroyed", actor=SYSTEM, detail=detail)
    return destroyed
