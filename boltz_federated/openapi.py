"""The OpenAPI document's last step: error codes that views name (`apps.wire.openapi.describe`) become responses.

In settings: SPECTACULAR_SETTINGS["POSTPROCESSING_HOOKS"] = ["boltz_federated.openapi.add_problem_responses"].
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from apps.wire.openapi import CODES_EXTENSION, schemas_of
from boltz_federated.problems import CONTENT_TYPE, PROBLEMS
from boltz_protocol.messages import Problem

ALWAYS = ("bad_request", "database_unavailable", "rate_limited")
# a body is judged by its headers whether the operation takes one or not
WHEN_SIGNED = (
    "authentication_failed",
    "clock_skew",
    "length_required",
    "body_too_large",
    "content_encoding_refused",
)
WITH_BODY = ("malformed_message", "unsupported_media_type")
BINARY = "application/octet-stream"


def add_problem_responses(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Turn each operation's codes, and those that any such operation can give, into problem+json responses.

    Raises:
        KeyError: a view names a code that is not in the table of problems.
    """
    for operation in _operations(result):
        codes = {*ALWAYS, *operation.pop(CODES_EXTENSION, ())}
        codes |= set(WHEN_SIGNED) if any(operation.get("security", ())) else set()
        codes |= set(WITH_BODY) if "requestBody" in operation else set()
        codes |= {"not_acceptable"} if _has_one_form(operation) else set()
        operation["responses"] |= _responses(codes)
    result.setdefault("components", {}).setdefault("schemas", {}).update(schemas_of(Problem))
    return result


def _operations(result: dict[str, Any]) -> Iterable[dict[str, Any]]:
    return (
        operation for path in result["paths"].values() for operation in path.values() if isinstance(operation, dict)
    )


def _has_one_form(operation: dict[str, Any]) -> bool:
    """Whether the answer is canonical JSON whatever is asked for; raw bytes are sent to whoever accepts anything."""
    return not any(BINARY in answer.get("content", ()) for answer in operation["responses"].values())


def _responses(codes: Iterable[str]) -> dict[str, Any]:
    by_status: dict[int, list[str]] = defaultdict(list)
    for code in sorted(codes):
        by_status[PROBLEMS[code].status].append(code)
    return {str(status): _response(by_status[status]) for status in sorted(by_status)}


def _response(codes: list[str]) -> dict[str, Any]:
    response: dict[str, Any] = {
        "description": "; ".join(f"`{code}`: {PROBLEMS[code].title}" for code in codes),
        "content": {CONTENT_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    if any(PROBLEMS[code].retry_after_seconds for code in codes):
        response["headers"] = {"Retry-After": {"description": "seconds", "schema": {"type": "integer"}}}
    return response
