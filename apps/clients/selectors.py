"""Reading clients."""

from django.db.models import Q, QuerySet

from apps.clients.models import Client, ClientKey, EnrolmentToken, KeyState
from boltz_core.rounds.states import ClientState
from boltz_core.trust import reputation
from boltz_protocol.messages import ClientRecord, TrustView


def signing_key(kid: str) -> ClientKey | None:
    """The key that may sign requests under this id, with its client.

    An erased client's last key is among them: its request to be erased may come again when the first answer was lost.
    What an erased client may do is for the permissions to say.
    """
    may_sign = Q(state=KeyState.ACTIVE) | Q(state=KeyState.REVOKED, client__state=ClientState.ERASED)
    # no ORDER BY: there is one at most, and each signed request asks
    return next(iter(ClientKey.objects.filter(may_sign, kid=kid).select_related("client").order_by()), None)


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
