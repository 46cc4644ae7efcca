"""Which version of a model is the current one: the one that clients get and that the next round opens on.

A model has exactly one current version, by a partial unique constraint. Whoever gives it another one takes the lock of
the current row first (`hold_current`, or the conditional write of `displace`), so changes come one after the other, and
the second sees what the first has done.

A new version takes the place of its own base and of no other version. What was made on top of weights that are no
longer current, because an operator has gone back or forth meanwhile, stays a candidate for an operator to look at:
otherwise a round that was under way would bring back what was taken back.

A roll-back abandons the live round if its base is taken back: clients would train for nothing on weights that an
operator distrusts. A round that is being aggregated, or that opens in the same instant, cannot be abandoned; its
version stays a candidate, by the rule above.
"""

from collections.abc import Sequence

from django.db import transaction

from apps.audit import services as audit
from apps.rounds import versions
from apps.rounds.models import LIVE_ROUND_STATES, FederatedModel, ModelVersion, Round, Verdict
from apps.rounds.services.freezing import ABANDONABLE, end_without_version
from boltz_core.rounds.states import (
    VERDICT,
    VERSION,
    RoundState,
    VerdictState,
    VersionState,
    WrongStateError,
    check_transition,
)
from boltz_protocol.errors import NotNowError

RELEASED_BEFORE = (VersionState.SUPERSEDED, VersionState.ROLLED_BACK)


def hold_current(model: FederatedModel) -> ModelVersion:
    """The current version; no other takes its place before the caller's transaction ends.

    Raises:
        NotNowError: another one has taken its place while this waited.
    """
    current = ModelVersion.objects.select_for_update(no_key=True).filter(model=model, state=VersionState.CURRENT)
    # not `first`: the order of versions would join their model, and lock it too
    for held in current.order_by():
        return held
    raise NotNowError(f"{model} has got another current version at this moment; look again")


def move_version(version: ModelVersion, expected: VersionState, state: VersionState) -> bool:
    """Move a version from `expected` to `state`; False when it was no longer in `expected`."""
    check_transition(VERSION, expected, state)
    changed = ModelVersion.objects.filter(pk=version.pk, state=expected).update(state=state)
    if changed:
        version.state = state
    return changed == 1


def displace(base: ModelVersion) -> bool:
    """Take the base of a new version off its place; False when it is not the current version any more."""
    return move_version(base, VersionState.CURRENT, VersionState.SUPERSEDED)


def promote(version: ModelVersion, *, actor: str, reason: str) -> None:
    """Make a candidate the current version by hand, or one that was released after the current one.

    A live round goes on, on its own base; what comes of it stays a candidate.

    Raises:
        NotNowError: `wrong_state`: it is current, or comes before the current one; somebody else was faster.
        DamagedVersionError: its weights are not those that were published.
    """
    versions.verify_anew(version)
    with transaction.atomic():
        current = hold_current(version.model)
        version.refresh_from_db()
        if not may_be_promoted(version, current):
            raise WrongStateError(f"{version} is {version.state} and {current} is current; it cannot be promoted")
        close_verdict(version)
        release(version, instead_of=current)
        log_release("version.promoted", version, current, actor=actor, reason=reason)


def may_be_promoted(version: ModelVersion, current: ModelVersion) -> bool:
    """Whether a version can be released in the place of the current one, without going back."""
    if version.state == VersionState.CANDIDATE:
        return True
    return VersionState(version.state) in RELEASED_BEFORE and version.number > current.number


def release(version: ModelVersion, *, instead_of: ModelVersion) -> None:
    """The one becomes current, the other superseded, in the caller's transaction, which holds the current version.

    Raises:
        NotNowError: the version is no longer in the state in which it was read.
    """
    if not displace(instead_of) or not move_version(version, VersionState(version.state), VersionState.CURRENT):
        raise NotNowError(f"{version} has changed at this moment; look again")


def close_verdict(version: ModelVersion) -> None:
    """What an operator releases by hand waits for no verdict any more."""
    check_transition(VERDICT, VerdictState.WAITING, VerdictState.HELD_BACK)
    waiting = Verdict.objects.filter(version=version, state=VerdictState.WAITING)
    waiting.update(state=VerdictState.HELD_BACK, reason="an operator promoted it before it was judged")


def roll_back(version: ModelVersion, *, actor: str, reason: str) -> None:
    """Make a version that was released before the current one current again; those after it are rolled back.

    They keep existing, and can be promoted again. The live round is abandoned when its base is one of them.

    Raises:
        NotNowError: `wrong_state`: it was never released, or does not come before the current one; somebody else was
            faster.
        DamagedVersionError: its weights are not those that were published.
    """
    versions.verify_anew(version)
    with transaction.atomic():
        # rounds before versions, as publication and opening do, so that none of them waits for another in a circle
        live = hold_live_rounds(version.model)
        current = hold_current(version.model)
        version.refresh_from_db()
        if not may_be_rolled_back_to(version, current):
            raise WrongStateError(f"{version} is {version.state} and {current} is current; there is no way back to it")
        taken_back = take_back_after(version)
        if not move_version(version, VersionState(version.state), VersionState.CURRENT):
            raise NotNowError(f"{version} has changed at this moment; look again")
        log_release("version.rolled_back", version, current, actor=actor, reason=reason, taken_back=taken_back)
        abandon_on_top_of(live, taken_back, version, actor=actor)


def may_be_rolled_back_to(version: ModelVersion, current: ModelVersion) -> bool:
    """Whether a version was released before the current one."""
    return VersionState(version.state) in RELEASED_BEFORE and version.number < current.number


def hold_live_rounds(model: FederatedModel) -> list[Round]:
    """The round that has not ended, held: one that is being published or frozen is waited for."""
    live = Round.objects.filter(model=model, state__in=LIVE_ROUND_STATES)
    return list(live.select_for_update(of=("self",)).select_related("model"))


def take_back_after(version: ModelVersion) -> list[int]:
    """CURRENT and SUPERSEDED -> ROLLED_BACK for all that came after a version; returns their numbers."""
    sources = (VersionState.CURRENT, VersionState.SUPERSEDED)
    for source in sources:
        check_transition(VERSION, source, VersionState.ROLLED_BACK)
    later = ModelVersion.objects.filter(model=version.model, number__gt=version.number, state__in=sources)
    numbers = sorted(later.values_list("number", flat=True))
    later.update(state=VersionState.ROLLED_BACK)
    return numbers


def abandon_on_top_of(live: list[Round], taken_back: Sequence[int], version: ModelVersion, *, actor: str) -> None:
    """End the live round if what it builds on was taken back, as far as a round can still be ended by hand."""
    for round_ in live:
        state = RoundState(round_.state)
        if round_.base is not None and round_.base.number in taken_back and state in ABANDONABLE:
            end_without_version(round_, state, f"its base was rolled back to version {version.number}", actor=actor)


def log_release(kind: str, version: ModelVersion, former: ModelVersion, *, actor: str, **more: object) -> None:
    """Who made which version current, in the place of which, in the transaction of the change."""
    detail = {"model": version.model.name, "version": version.number, "instead_of": former.number, **more}
    audit.append(kind, actor=actor, detail=detail)
