"""Reading clients."""

from django.db.models import QuerySet

from apps.clients.models import Client, ClientKey, EnrolmentToken
from apps.joined_rows import Joined
from boltz_core.rounds.states import ClientState
from boltz_core.trust import reputation
from boltz_protocol.messages import ClientRecord, TrustView

SIGNERS = Joined(key=ClientKey, client=Client)
SIGNING_KEY = f"""
    SELECT {SIGNERS.columns} FROM clients_clientkey AS key JOIN clients_client AS client ON client.id = key.client_id
    WHERE key.kid = %s AND (key.state = 'active' OR key.state = 'revoked' AND client.state = 'erased')
"""  # noqa: S608 - nothing in it comes from outside


def signing_key(kid: str) -> ClientKey | None:
    """The key that may sign requests under this id, with its client.

    An erased client's last key is among them: its request to be erased may come again when the first answer was lost.
    What an erased client may do is for the permissions to say.
    """
    found = SIGNERS.first(SIGNING_KEY, [kid])
    if found is None:
        return None
    key, key.client = found
    return key


def clients_waiting() -> QuerySet[Client]:
    """Clients that an operator has to decide on, newest first."""
    return Client.objects.filter(state=ClientState.PENDING)


def tokens_of(organisation_name: str) -> QuerySet[EnrolmentToken]:
    """The enrolment tokens of an organisation, newest first."""
    return EnrolmentToken.objects.filter(organisation__name=organisation_name)


def trust_view(client: Client) -> TrustView:
    """A client's reputation, as it may read it."""
    earned = client.reputation()
    return TrustView(
        score=reputation.trust_score(earned),
        credit=earned.credit,
        debt=earned.debt,
        rounds=earned.rounds,
        label=reputation.label(earned),
    )


def client_record(client: Client, *, kid: str) -> ClientRecord:
    """A client as it sees itself, through one of its keys."""
    return ClientRecord(
        v=1,
        id=client.id,
        name=client.name,
        kind=client.kind,
        region=client.region,
        organisation=client.organisation.name if client.organisation else None,
        status=client.state,
        kid=kid,
        trust=trust_view(client),
    )
