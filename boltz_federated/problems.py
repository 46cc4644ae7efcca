"""Errors as answers: RFC 9457 problem+json from one table.

Every code that can reach a client stands here with its status and title; the sentence in `detail` is the error's own,
but for our faults, of which nothing is told outside. DRF calls `problem_response`; Django calls `not_found`,
`bad_request` and `server_error`.
"""

import errno
import logging
import math
import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse
from django.http.request import UnreadablePostError
from django.utils import timezone
from django.views import defaults
from rest_framework import exceptions
from rest_framework.views import set_rollback

from apps.wire import authentication_failure
from boltz_protocol import codec
from boltz_protocol.errors import BoltzError, NotNowError, SenderError
from boltz_protocol.messages import Problem

logger = logging.getLogger(__name__)

CONTENT_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:boltz-mesh:problem:"
API_PREFIX = "/api/"
# of a response: its code, for middleware
CODE = "problem_code"
STORAGE_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO})
CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")


@dataclass(frozen=True)
class Kind:
    """One row of the table. `retry_after_seconds` goes into the header of that name."""

    status: int
    title: str
    retry_after_seconds: int | None = None


PROBLEMS = {
    # who asks
    "authentication_failed": Kind(401, "Authentication failed"),
    "clock_skew": Kind(401, "The clocks disagree"),
    "token_refused": Kind(403, "Enrolment token refused"),
    "client_suspended": Kind(403, "Client suspended"),
    "client_pending": Kind(403, "Client waits for approval"),
    "not_your_upload": Kind(403, "Another client's upload"),
    "permission_denied": Kind(403, "Not allowed"),
    # what does not exist
    "not_found": Kind(404, "Not found"),
    "unknown_model": Kind(404, "Unknown model"),
    "unknown_version": Kind(404, "Unknown version"),
    "unknown_round": Kind(404, "Unknown round"),
    "unknown_update": Kind(404, "Unknown update"),
    # what the state does not allow
    "name_taken": Kind(409, "Name taken"),
    "key_in_use": Kind(409, "Key used before"),
    "key_retired": Kind(409, "Key retired"),
    "key_not_retired": Kind(409, "Key still in use"),
    "model_exists": Kind(409, "Model exists"),
    "round_not_open": Kind(409, "Round not open yet"),
    "round_sealed": Kind(409, "Round takes no more uploads"),
    "too_few_updates": Kind(409, "Too few updates"),
    "round_live": Kind(409, "Another round is live"),
    "wrong_base_version": Kind(409, "Wrong base version"),
    "not_joined": Kind(409, "Round not joined"),
    "upload_conflict": Kind(409, "Other bytes under this upload id"),
    "already_submitted": Kind(409, "Already submitted"),
    "encryption_key_retired": Kind(409, "Encryption key retired"),
    "wrong_state": Kind(409, "Not in this state"),
    "not_now": Kind(409, "Not now"),
    # the request as such
    "bad_request": Kind(400, "Bad request"),
    "method_not_allowed": Kind(405, "Method not allowed"),
    "not_acceptable": Kind(406, "Not acceptable"),
    "length_required": Kind(411, "Length required"),
    "body_too_large": Kind(413, "Body too large"),
    "content_encoding_refused": Kind(415, "Content-Encoding refused"),
    "unsupported_media_type": Kind(415, "Unsupported media type"),
    "range_not_satisfiable": Kind(416, "Range not satisfiable"),
    # what it says
    "invalid": Kind(422, "Invalid"),
    "malformed_message": Kind(422, "Malformed message"),
    "malformed_envelope": Kind(422, "Malformed envelope"),
    "header_mismatch": Kind(422, "Envelope belongs elsewhere"),
    "digest_mismatch": Kind(422, "Body does not match its digest"),
    "body_incomplete": Kind(422, "Body incomplete"),
    "bad_signature": Kind(422, "Signature does not verify"),
    "rotation_refused": Kind(422, "Key rotation refused"),
    "invalid_name": Kind(422, "Invalid name"),
    "invalid_policy": Kind(422, "Invalid policy"),
    "rule_not_available": Kind(422, "Rule not available"),
    "mode_not_available": Kind(422, "Mode not available"),
    "invalid_task": Kind(422, "Invalid task"),
    # not the sender's fault
    "rate_limited": Kind(429, "Too many requests", 60),
    "enrolment_full": Kind(429, "Too many clients wait for approval", 3600),
    "server_fault": Kind(500, "Server fault"),
    "database_unavailable": Kind(503, "Database unavailable", 5),
    "storage_unavailable": Kind(503, "Storage unavailable", 30),
}

# whose fault it is, where a code has no row of its own
FALLBACKS = {SenderError: "invalid", NotNowError: "not_now"}
OUR_FAULT = "Something failed on our side; nothing is held against you. Try again later."
TRY_AGAIN = "The mesh cannot reach what it needs right now. Try again after the time in Retry-After."

# what Django and DRF raise, and what is told of it; the first row that fits
FOREIGN: tuple[tuple[tuple[type[Exception], ...], str, str], ...] = (
    (
        (exceptions.NotAuthenticated, exceptions.AuthenticationFailed),
        "authentication_failed",
        authentication_failure.SENTENCE,
    ),
    (
        (exceptions.ParseError, exceptions.ValidationError),
        "malformed_message",
        "the body is not what this address takes",
    ),
    ((exceptions.Throttled,), "rate_limited", "too many requests; wait before the next one"),
    ((Http404, exceptions.NotFound), "not_found", "there is nothing at this address"),
    ((PermissionDenied, exceptions.PermissionDenied), "permission_denied", "this is not allowed"),
    ((SuspiciousOperation, UnreadablePostError), "bad_request", "the request cannot be read"),
    ((OperationalError, InterfaceError), "database_unavailable", TRY_AGAIN),
)


def problem_response(exception: Exception, context: dict[str, Any]) -> HttpResponse:
    """DRF's exception handler: whatever a view raises becomes a problem, and what nobody foresaw is logged.

    The answer is bytes already: a problem looks the same whatever a view renders otherwise.
    """
    set_rollback()
    code, detail = describe_exception(exception)
    if PROBLEMS[code].status == HTTPStatus.INTERNAL_SERVER_ERROR:
        view = type(context.get("view")).__name__
        logger.error("unhandled %s in %s", type(exception).__name__, view, exc_info=exception)
    if PROBLEMS[code].status == HTTPStatus.SERVICE_UNAVAILABLE:
        # for whoever is on call; what a database says may quote what it was sent, and what a disk says does not
        logger.warning("%s: %s", code, getattr(exception, "strerror", None) or type(exception).__name__)
    return respond(code, detail, headers=_headers(exception, code))


def make_problem(code: str, detail: str) -> Problem:
    """The body of a problem. The server's time is told to those only whose clock is off."""
    kind = PROBLEMS[code]
    return Problem(
        kind=f"{TYPE_PREFIX}{code}",
        title=kind.title,
        status=kind.status,
        detail=detail,
        code=code,
        server_time=timezone.now() if code == "clock_skew" else None,
    )


def describe_exception(exception: Exception) -> tuple[str, str]:
    """Code and sentence of an exception, as far as they may be told."""
    if isinstance(exception, SenderError | NotNowError):
        return _known_code(exception), exception.message
    for kinds, code, detail in FOREIGN:
        if isinstance(exception, kinds):
            return code, detail
    if isinstance(exception, exceptions.APIException):
        return _drf_code(exception), str(exception.detail)
    if isinstance(exception, OSError) and exception.errno in STORAGE_ERRORS:
        return "storage_unavailable", TRY_AGAIN
    return "server_fault", OUR_FAULT


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's 404: a problem below /api/, a page elsewhere."""
    return _api_problem(request, exception) or defaults.page_not_found(request, exception)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's 400: a host that is not ours, a body that is too big for Django."""
    return _api_problem(request, exception) or defaults.bad_request(request, exception)


def server_error(request: HttpRequest) -> HttpResponse:
    """Django's 500, for what fails outside of views."""
    return _api_problem(request, None) or defaults.server_error(request)


def _api_problem(request: HttpRequest, exception: Exception | None) -> HttpResponse | None:
    if not request.path.startswith(API_PREFIX):
        return None
    code, detail = describe_exception(exception) if exception else ("server_fault", OUR_FAULT)
    return respond(code, detail)


def respond(code: str, detail: str, *, headers: dict[str, str] | None = None) -> HttpResponse:
    """The answer of a problem, for what is refused before any view is asked."""
    content = codec.encode(make_problem(code, detail))
    response = HttpResponse(content, status=PROBLEMS[code].status, headers=headers, content_type=CONTENT_TYPE)
    setattr(response, CODE, code)
    return response


def code_of(response: HttpResponse) -> str | None:
    """The code of an answer that is a problem."""
    return getattr(response, CODE, None)


def _known_code(error: BoltzError) -> str:
    if error.code in PROBLEMS:
        return error.code
    logger.error("the code %s has no row in the table of problems", error.code)
    return next(code for kind, code in FALLBACKS.items() if isinstance(error, kind))


def _drf_code(exception: exceptions.APIException) -> str:
    """`MethodNotAllowed` -> `method_not_allowed`, where the table has it."""
    code = CAMEL.sub("_", type(exception).__name__).lower()
    return code if code in PROBLEMS else "server_fault"


def _headers(exception: Exception, code: str) -> dict[str, str]:
    headers = {}
    seconds = getattr(exception, "wait", None) or PROBLEMS[code].retry_after_seconds
    if seconds:
        headers["Retry-After"] = str(math.ceil(seconds))
    if PROBLEMS[code].status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = 'Signature label="sig", tag="bt-fl-v1"'
    return headers
