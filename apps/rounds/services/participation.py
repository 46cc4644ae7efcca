"""Joining a round."""

import secrets

from django.db import connection, transaction

from apps.audit import services as audit
from apps.clients.models import Client
from apps.rounds.models import Participation, Round
from apps.rounds.services import lifecycle

UPLOAD_ID_BYTES = 16
JOIN = """
    INSERT INTO rounds_participation (round_id, client_id, upload_id, joined_at) VALUES (%s, %s, %s, now())
    ON CONFLICT (round_id, client_id) DO NOTHING
"""


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
        upload_id = secrets.token_urlsafe(UPLOAD_ID_BYTES)
        with connection.cursor() as cursor:
            cursor.execute(JOIN, [round_.pk, client.pk, upload_id])
            if cursor.rowcount != 1:
                # another request of the same client was first, and has committed
                return Participation.objects.get(round=round_, client=client)
        audit.append("round.joined", actor=client.pseudonym, subject=client.pseudonym, round=round_.label, detail={})
        return Participation(round=round_, client=client, upload_id=upload_id)
