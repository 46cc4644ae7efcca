"""Joining a round."""

import secrets

from django.db import transaction

from apps.audit import services as audit
from apps.clients.models import Client
from apps.rounds.models import Participation, Round
from apps.rounds.services import lifecycle

UPLOAD_ID_BYTES = 16


def join_round(round_: Round, client: Client) -> Participation:
    """Note that a client takes part and name its upload id; the same one however often it asks.

    Raises:
        NotNowError: `round_not_open` or `round_sealed`, unless the client had joined before.
    """
    with transaction.atomic():
        joined = Participation.objects.filter(round=round_, client=client).first()
        if joined:
            return joined
        lifecycle.hold_open(round_)
        participation, created = Participation.objects.get_or_create(
            round=round_, client=client, defaults={"upload_id": secrets.token_urlsafe(UPLOAD_ID_BYTES)}
        )
        if created:
            audit.append(
                "round.joined", actor=client.pseudonym, subject=client.pseudonym, round=round_.label, detail={}
            )
        return participation
