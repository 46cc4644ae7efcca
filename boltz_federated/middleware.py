"""Middleware of the project itself."""

import logging
from collections.abc import Callable

from django.core.exceptions import SuspiciousOperation
from django.http import HttpRequest, HttpResponse

from boltz_federated import problems
from boltz_federated.environment import is_loopback_address

logger = logging.getLogger(__name__)

REFUSAL = (
    "This mesh runs in development mode (BOLTZ_DEV_MODE), without TLS and with open enrolment. "
    "It answers requests from its own machine only."
)


def only_this_machine(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Refuse whoever is not on this machine; in development mode only.

    ALLOWED_HOSTS does not stop a stranger in the network, who sends the Host header that he likes. A connection by a
    unix socket has no address and is refused too. What a proxy on this machine lets in cannot be told apart.
    """
    logger.warning("BOLTZ_DEV_MODE is on: everyone on this machine may enrol, and nothing is encrypted on the way")

    def answer(request: HttpRequest) -> HttpResponse:
        if is_loopback_address(request.META.get("REMOTE_ADDR", "")):
            return get_response(request)
        return problems.respond("permission_denied", REFUSAL)

    return answer


def no_null_characters(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Refuse a query with a null character in it: no text in Postgres can hold one, so a lookup with it would fail.

    Here, since the admin has a lookup for every field of every list, Django's own lists among them.
    """

    def answer(request: HttpRequest) -> HttpResponse:
        query = request.META.get("QUERY_STRING", "")
        if "%00" in query or "\0" in query:
            raise SuspiciousOperation("a null character in the query")
        return get_response(request)

    return answer
