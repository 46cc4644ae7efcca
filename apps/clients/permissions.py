"""Who may, once it is known who asks."""

from typing import Any

from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from apps.clients.authentication import ClientPrincipal, refuse
from boltz_core.rounds.states import ClientState
from boltz_protocol.errors import NotNowError


class StandingError(NotNowError):
    """A client that is known and may not do this now."""

    default_code = "client_suspended"


class IsClient(BasePermission):
    """A client of the mesh, whether it may take part or not: to read its own record, for example."""

    def has_permission(self, request: Request, view: Any) -> bool:
        """Refuse strangers, and clients that are erased, as if they were not known."""
        known_client(request)
        return True


class IsActiveClient(BasePermission):
    """A client that may take part."""

    def has_permission(self, request: Request, view: Any) -> bool:
        """Refuse strangers, and tell a client that waits or is suspended so."""
        client = known_client(request).client
        if client.state == ClientState.PENDING:
            raise StandingError("this client waits for an operator's approval", code="client_pending")
        if client.state != ClientState.ACTIVE:
            raise StandingError("this client is suspended; ask the operator")
        return True


class MayLeave(BasePermission):
    """A client that asks to be erased, also when it has been: the answer to its first request may have been lost.

    A revoked one does not get here: its key is refused before. An operator erases it.
    """

    def has_permission(self, request: Request, view: Any) -> bool:
        """Refuse strangers."""
        if not isinstance(request.user, ClientPrincipal):
            refuse(request, reason="not_signed")
        return True


def known_client(request: Request) -> ClientPrincipal:
    """The client that signed the request.

    Raises:
        AuthenticationFailedError: not signed, or by a client that is erased.
    """
    if not isinstance(request.user, ClientPrincipal):
        refuse(request, reason="not_signed")
    if request.user.client.state == ClientState.ERASED:
        refuse(request, reason="erased")
    return request.user
