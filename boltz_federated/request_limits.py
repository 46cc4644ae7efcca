"""Middleware: limits where no client is known yet, or ever will be.

`limit_requests` refuses who is to wait before anything is done for it, and counts those whom no throttle has counted;
`LimitLogIns` counts attempts to log in. Limits of known clients are a throttle (`apps/clients/throttles.py`).
"""

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, HttpResponse

from apps.audit import services as audit
from apps.clients.throttles import claimed_kid, is_counted
from apps.limits.limiter import RateLimitedError, limiter
from apps.wire.source_address import source_address
from boltz_core.limits.buckets import Limit
from boltz_federated import problems
from worker.heartbeats import write_heartbeats

API = "/api/v1/"
# For everybody, and dear: they ask the database, or make a document. In each process; `/healthz` is never refused.
PAGES = {
    "/readyz": Limit(per_second=20.0, burst=200.0),
    "/metrics": Limit(per_second=5.0, burst=50.0),
    "/api/schema/": Limit(per_second=0.2, burst=10.0),
    "/api/docs/": Limit(per_second=1.0, burst=20.0),
}
# answers before the throttle: whoever gets many of them is guessing, broken, or not wanted
REFUSALS = frozenset(
    {"authentication_failed", "clock_skew", "client_pending", "client_suspended", "token_refused", "enrolment_full"}
)
LOG_IN = "admin:login"
LOG_IN_LIMITED = "operator.log_in_limited"
HEARTBEAT = "limits"


def watch_redis() -> None:
    """Look from now on whether Redis counts, and say so: without this heartbeat limits fail open. For web servers."""
    limiter().circuit.watch(lambda: write_heartbeats(HEARTBEAT))


def limit_requests(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Refuse early, and count what was answered."""

    def answer(request: HttpRequest) -> HttpResponse:
        try:
            if request.path.startswith(API):
                return answer_api(request, get_response)
            if limit := PAGES.get(request.path):
                limiter().charge_page(request.path, limit, address=source_address(request))
        except RateLimitedError as error:
            return problems.problem_response(error, {})
        return get_response(request)

    return answer


def answer_api(request: HttpRequest, get_response: Callable[[HttpRequest], HttpResponse]) -> HttpResponse:
    """The API's answer.

    Raises:
        RateLimitedError: the sender has to wait.
    """
    address, kid = source_address(request), claimed_kid(request)
    limiter().refuse_early(address=address, kid=kid)
    response = get_response(request)
    if not is_counted(request):
        refused = problems.code_of(response) in REFUSALS
        limiter().charge_stranger(address=address, kid=kid, refused=refused)
    return response


class LimitLogIns:
    """Count each attempt to log in at the admin, by name and by address, before its password is looked at.

    Right ones count too: what is counted only afterwards can be tried many times at once. Whoever knows an operator's
    name can keep that operator out for as long as he keeps trying; the operator has the shell.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Nothing to do before it is known which view answers."""
        return self.get_response(request)

    def process_view(self, request: HttpRequest, *_view: Any) -> HttpResponse | None:
        """After the check of the form's token, before the view."""
        if request.method != "POST" or request.resolver_match is None or request.resolver_match.view_name != LOG_IN:
            return None
        address = source_address(request)
        try:
            limiter().charge_log_in(request.POST.get("username", ""), address=address)
        except RateLimitedError as error:
            audit.record_refusal(LOG_IN_LIMITED, address=address, reason="too many attempts")
            words = f"{error.message[0].upper()}{error.message[1:]}.\n"
            headers = {"Retry-After": str(error.wait)}
            return HttpResponse(words, status=429, content_type="text/plain", headers=headers)
        return None
