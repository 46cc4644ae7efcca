"""How much a client may ask for, once it is known who asks."""

import re
from typing import Any

from django.http import HttpRequest
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from apps.clients.authentication import ClientPrincipal
from apps.limits import charges
from apps.limits.limiter import limiter
from apps.wire import request_body
from apps.wire.source_address import source_address

KEY_ID = re.compile(r';keyid="([A-Za-z0-9_-]{43})"')
COUNTED = "counted_as_a_clients"


class ClientThrottle(BaseThrottle):
    """Counts what a client has signed: by client, by address and, where the view asks for it, by round.

    It runs after the authentication and the permissions, and before a body is streamed. Whoever is not a client, or was
    refused there, is counted when it has been answered (`boltz_federated/request_limits.py`).
    """

    def allow_request(self, request: Request, view: Any) -> bool:
        """True.

        Raises:
            RateLimitedError: the client has to wait.
        """
        if not isinstance(request.user, ClientPrincipal):
            return True
        http_request = request._request  # noqa: SLF001 - DRF's documented way to Django's request
        setattr(http_request, COUNTED, True)
        client, address = str(request.user.client.pk), source_address(http_request)
        spent = charges.of_client(client, address)
        if request.method in getattr(view, "methods_of_round_quota", ()):
            spent += charges.of_round(
                client,
                model=view.kwargs["name"],
                number=str(view.kwargs["number"]),
                body_bytes=request_body.announced_bytes(http_request),
            )
        limiter().charge_client(spent, address=address, kid=request.user.key.kid)
        return True


def is_counted(request: HttpRequest) -> bool:
    """Whether a client was charged for this request."""
    return getattr(request, COUNTED, False)


def claimed_kid(request: HttpRequest) -> str:
    """The key id that a request claims, before anything of it is verified; "" when there is none."""
    found = KEY_ID.search(str(request.META.get("HTTP_SIGNATURE_INPUT", "")))
    return found[1] if found else ""
