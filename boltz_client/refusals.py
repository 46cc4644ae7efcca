"""The mesh's refusals (problem+json) as errors that say what to do here.

Codes are the mesh's own words; a code that is not in the table becomes a plain `RefusedError` with the mesh's sentence.
"""

from http import HTTPStatus

from boltz_client import errors
from boltz_protocol import codec
from boltz_protocol.errors import MalformedMessageError
from boltz_protocol.messages import Problem

_ADVICE = {
    "name_taken": "Choose another name, or use the home (and base_url) with which this name was registered.",
    "key_in_use": "Use the name that this home was registered with, or another home.",
    "token_refused": "Ask the operator for an enrolment token and pass token=...",
    "wrong_base_version": "Call participate_in_round again: the base version is pulled anew.",
}
_NOT_OPEN = frozenset({"round_not_open", "round_sealed"})
_TAKEN = frozenset({"already_submitted", "upload_conflict"})


def read_problem(status: int, body: bytes) -> Problem:
    """The problem in an answer; one made up from the status when the body is of no use (a proxy's page)."""
    try:
        return codec.decode(body, Problem)
    except MalformedMessageError:
        return Problem(kind="about:blank", title="", status=status, detail="", code=f"http_{status}")


def error_for(problem: Problem, *, base_url: str, now: float) -> errors.FederatedClientError:
    """The error to raise for a refusal."""
    if problem.code == "clock_skew" and problem.server_time is not None:
        return _clock_skew(now - problem.server_time.timestamp())
    return _later(problem, base_url=base_url) or _refused(problem, base_url=base_url)


def _later(problem: Problem, *, base_url: str) -> errors.LaterError | None:
    said = sentence_of(problem)
    if problem.code == "client_pending":
        return errors.PendingApprovalError(f"{said}. Once an operator of {base_url} has approved it, call again.")
    if problem.code == "client_suspended":
        return errors.SuspendedError(f"{said} ({base_url})")
    if problem.code in _NOT_OPEN:
        return errors.RoundNotOpenError(said)
    if problem.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return errors.MeshFaultError(f"{base_url} failed on its side ({said}); try again later or tell the operator")
    return None


def _refused(problem: Problem, *, base_url: str) -> errors.RefusedError:
    said = sentence_of(problem)
    if problem.code in _TAKEN:
        return errors.AlreadySubmittedError(said, problem=problem)
    if problem.status == HTTPStatus.UNAUTHORIZED:
        return errors.NotAcceptedError(
            f"{base_url} does not accept this client's key: it is not enrolled there, was revoked, or was changed. "
            "Call register(...) again; if that is refused too, ask the operator.",
            problem=problem,
        )
    if problem.status == HTTPStatus.NOT_FOUND:
        return errors.UnknownModelError(f"{said} (asked {base_url}; models() lists what there is)", problem=problem)
    advice = _ADVICE.get(problem.code, "")
    return errors.RefusedError(f"{said} [{problem.code}] {advice}".rstrip(), problem=problem)


def sentence_of(problem: Problem) -> str:
    """What the mesh said, in its own words as far as there are any."""
    return problem.detail or problem.title or f"HTTP {problem.status}"


def _clock_skew(offset_seconds: float) -> errors.ClockSkewError:
    direction = "ahead of" if offset_seconds > 0 else "behind"
    return errors.ClockSkewError(
        f"this machine's clock is {abs(offset_seconds):.0f} seconds {direction} the mesh's; set it right "
        "(timedatectl set-ntp true) and call again",
        offset_seconds=offset_seconds,
    )
