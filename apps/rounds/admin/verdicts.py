"""What the gate of a model asks for and what it has found, in words and numbers for an operator."""

from typing import Any

from apps.operator_pages import display
from apps.rounds.models import FederatedModel, ModelVersion, Verdict
from boltz_core.rounds.states import VerdictState, VersionState

MEANINGS = {
    VersionState.CANDIDATE: "It was published, and clients do not get it as the latest version.",
    VersionState.CURRENT: "Clients get it, and the next round opens on it.",
    VersionState.SUPERSEDED: "Another version has taken its place.",
    VersionState.ROLLED_BACK: "An operator went back to a version before it.",
}
HEADERS = ("verdict", "metric", "this version", "current version then", "may be worse by", "decided")


def verdict_of(version: ModelVersion) -> Verdict | None:
    """The verdict on a version; None when it became current without one."""
    return getattr(version, "verdict", None)


def word(version: ModelVersion) -> Any:
    """The verdict as a badge, with its reason when pointed at."""
    verdict = verdict_of(version)
    return display.badge(verdict.state, title=verdict.reason) if verdict else display.NOTHING


def table(version: ModelVersion) -> Any:
    """The numbers of a verdict, and its reason below them."""
    verdict = verdict_of(version)
    rows = [numbers(verdict)] if verdict else []
    shown = display.table(HEADERS, rows, empty="It became current without a verdict: its model had no gate.")
    return display.followed_by(shown, verdict.reason if verdict else "")


def numbers(verdict: Verdict) -> tuple[Any, ...]:
    """One row of the table."""
    current = display.number(verdict.current_score)
    return (
        display.badge(verdict.state),
        verdict.metric or display.NOTHING,
        display.number(verdict.candidate_score),
        f"{current} (v{verdict.against.number})" if verdict.against else current,
        display.number(verdict.margin),
        display.moment(verdict.decided_at),
    )


def can_be_judged_again(version: ModelVersion) -> bool:
    """Whether a candidate has a verdict that is not to its favour."""
    verdict = verdict_of(version)
    refused = verdict is not None and verdict.state in {VerdictState.FAILED, VerdictState.HELD_BACK}
    return refused and version.state == VersionState.CANDIDATE


def gate_in_words(model: FederatedModel) -> str:
    """What a new version must not be worse than, and on what."""
    gate = model.version_gate()
    if gate is None:
        return "None: every version is released. Set one with manage.py set_gate."
    return f"{gate.metric} on {gate.rows} rows of the hold-out may be worse by {gate.margin:g}, and no more"


def holdout_digest(model: FederatedModel) -> Any:
    """What the stored hold-out must still be."""
    gate = model.version_gate()
    return display.code(gate.holdout_sha256) if gate else display.NOTHING
