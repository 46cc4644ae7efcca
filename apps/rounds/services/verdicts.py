"""How a candidate is judged by the gate of its model: in a worker, after its publication.

A verdict is a row that waits until somebody has settled it by a conditional write: a message may come twice, late or
never. While one waits, the model's next round does not open: it would be on top of a version that is about to be
replaced. So each verdict ends: whatever keeps the gate from judging holds the candidate back and says so, and when our
own failures have used up its attempts that is a verdict too.

A model may have no gate: what was made on top of a version that is no longer current is judged all the same, and held
back for that.
"""

import math
from dataclasses import dataclass, replace
from datetime import timedelta

import msgspec
from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now

from apps import dispatch
from apps.audit import services as audit
from apps.rounds import holdouts
from apps.rounds.models import FederatedModel, ModelVersion, Verdict
from apps.rounds.services import promotion
from apps.rounds.services.opening import open_rounds_due
from apps.rounds.services.scores import current_version, score_of
from apps.rounds.services.transitions import SYSTEM
from boltz_core.rounds import gate as gates
from boltz_core.rounds.gate import Gate
from boltz_core.rounds.states import VERDICT, VerdictState, VersionState, WrongStateError, check_transition
from boltz_protocol.errors import NotNowError, ServerFaultError

MOST_ATTEMPTS = 5
MAX_REASON = 200


def receive_candidate(version: ModelVersion) -> None:
    """Let a new candidate wait for its verdict, in the transaction that publishes it."""
    Verdict.objects.create(version=version, next_kick_at=next_look())
    dispatch.send_on_commit(dispatch.JUDGE_CANDIDATE, version.pk)


def next_look() -> object:
    """When a verdict is asked for again, by the clock by which it is looked for."""
    return Now() + timedelta(seconds=dispatch.retry_seconds())


@dataclass(frozen=True)
class Finding:
    """What was found about a candidate, before it is written: measured against which version, by which gate."""

    against: ModelVersion
    gate: Gate | None
    state: VerdictState
    reason: str = ""
    candidate_score: float | None = None
    current_score: float | None = None

    def fields(self) -> dict[str, object]:
        """The columns of a verdict."""
        gate = self.gate
        return {
            "state": self.state,
            "reason": self.reason[:MAX_REASON],
            "against": self.against,
            "candidate_score": finite(self.candidate_score),
            "current_score": finite(self.current_score),
            "metric": gate.metric if gate else "",
            "margin": gate.margin if gate else None,
            "holdout_sha256": gate.holdout_sha256 if gate else "",
        }


def finite(score: float | None) -> float | None:
    """A score as it is kept; JSON has no word for the others."""
    return score if score is not None and math.isfinite(score) else None


def judge_candidate(version_id: int) -> None:
    """Judge a candidate that waits for its verdict; otherwise nothing happens."""
    verdict = Verdict.objects.select_related("version__model", "version__base").filter(version=version_id).first()
    if verdict is None or verdict.state != VerdictState.WAITING or not count_attempt(verdict):
        return
    if settle(verdict, find(verdict)):
        # what waited for it; what a crash leaves undone here, the tick does
        open_rounds_due()
    else:
        dispatch.send_on_commit(dispatch.JUDGE_CANDIDATE, version_id)


def count_attempt(verdict: Verdict) -> bool:
    """Note that somebody tries, before anything can kill it; False when somebody else has begun at this moment."""
    same = Verdict.objects.filter(pk=verdict.pk, state=VerdictState.WAITING, attempts=verdict.attempts)
    return same.update(attempts=F("attempts") + 1) == 1


def find(verdict: Verdict) -> Finding:
    """Measure a candidate against the version that is current now. Whatever keeps us from it holds it back."""
    version = verdict.version
    current, gate = current_version(version.model), version.model.version_gate()
    held = Finding(against=current, gate=gate, state=VerdictState.HELD_BACK)
    if verdict.attempts >= MOST_ATTEMPTS:
        return replace(held, reason="our own failures used up the attempts to judge it")
    try:
        found = measure(version, held)
    except ServerFaultError as error:
        return replace(held, reason=error.message)
    if found.state == VerdictState.PASSED and version.base_id != current.pk:
        return replace(found, state=VerdictState.HELD_BACK, reason=not_on_top(version, current))
    return found


def measure(version: ModelVersion, blank: Finding) -> Finding:
    """Score candidate and current version on the hold-out; without a gate every version passes.

    Raises:
        ServerFaultError: the hold-out is damaged, or the weights of one of the two.
    """
    gate = blank.gate
    if gate is None:
        return replace(blank, state=VerdictState.PASSED)
    holdout = holdouts.load(version.model, gate)
    candidate, current = (score_of(each, holdout, gate.metric) for each in (version, blank.against))
    passed = gates.passes(gate.metric, candidate=candidate, current=current, margin=gate.margin)
    return replace(
        blank,
        state=VerdictState.PASSED if passed else VerdictState.FAILED,
        reason="" if passed else f"on the hold-out its {gate.metric} is worse by more than {gate.margin:g}",
        candidate_score=candidate,
        current_score=current,
    )


def not_on_top(version: ModelVersion, current: ModelVersion) -> str:
    """Why a version does not take the current one's place by itself."""
    base = version.base.number if version.base else None
    return f"its base is version {base}, and version {current.number} is current"


def settle(verdict: Verdict, found: Finding) -> bool:
    """Write a verdict and release the candidate if it passed, in one transaction.

    False when current version or gate have changed since it was measured: then it is measured again. True when
    somebody else was first.
    """
    version = verdict.version
    with transaction.atomic():
        try:
            current = promotion.hold_current(version.model)
        except NotNowError:
            return False
        gate = FederatedModel.objects.get(pk=version.model_id).version_gate()
        if current.pk != found.against.pk or gate != found.gate:
            return False
        check_transition(VERDICT, VerdictState.WAITING, found.state)
        waiting = Verdict.objects.filter(pk=verdict.pk, state=VerdictState.WAITING)
        if waiting.update(decided_at=Now(), **found.fields()):
            follow(version, current, found)
    return True


def follow(version: ModelVersion, current: ModelVersion, found: Finding) -> None:
    """What follows from a verdict: the candidate is released, or stays one; both are logged with the numbers."""
    detail = {
        "outcome": found.state.value,
        "reason": found.reason,
        "gate": msgspec.to_builtins(found.gate),
        "candidate_score": finite(found.candidate_score),
        "current_score": finite(found.current_score),
    }
    if found.state == VerdictState.PASSED:
        promotion.release(version, instead_of=current)
        promotion.log_release("version.promoted", version, current, actor=SYSTEM, **detail)
    else:
        log_refusal(version, detail | {"against": current.number})


def log_refusal(version: ModelVersion, detail: dict[str, object]) -> None:
    """Why a version stays a candidate."""
    audit.append(
        "version.refused", actor=SYSTEM, detail={"model": version.model.name, "version": version.number, **detail}
    )


def judge_again(version: ModelVersion, *, actor: str) -> None:
    """Let a candidate wait for another verdict: the hold-out was repaired, the gate was changed.

    Raises:
        NotNowError: `wrong_state`: it is no candidate, or waits already.
    """
    sources = (VerdictState.FAILED, VerdictState.HELD_BACK)
    for source in sources:
        check_transition(VERDICT, source, VerdictState.WAITING)
    with transaction.atomic():
        again = Verdict.objects.filter(version=version, state__in=sources, version__state=VersionState.CANDIDATE)
        fresh = {"attempts": 0, "kicks": 0, "reason": "", "decided_at": None}
        if not again.update(state=VerdictState.WAITING, next_kick_at=next_look(), **fresh):
            version.refresh_from_db()
            raise WrongStateError(f"{version} is {version.state} and waits for no other verdict")
        detail = {"model": version.model.name, "version": version.number}
        audit.append("version.judged_again", actor=actor, detail=detail)
        dispatch.send_on_commit(dispatch.JUDGE_CANDIDATE, version.pk)
