"""Find a round that takes updates now, and check its signed descriptor before anything depends on it.

Only the descriptor is believed, and only after its signature, its place, its times and the participant's own rules have
been checked. The view around it says in which state the round is, so that a refusal can say when to come back.
"""

from datetime import UTC, datetime, timedelta

from boltz_client import polling
from boltz_client.errors import RoundNotOpenError, UnknownModelError, UntrustedMeshError
from boltz_client.member import Member
from boltz_protocol.messages import RoundDescriptor, RoundView
from boltz_protocol.signing import Purpose

CLOSING_SLACK = timedelta(seconds=60)


def find_round(member: Member, model: str, number: int | None, *, wait_seconds: float | None) -> RoundView:
    """The round's view (number None: the current round), after waiting for it to open if that was asked for.

    A round that has closed is not waited for; with number None, the next one is. wait_seconds None: as long as it
    takes.

    Raises:
        RoundNotOpenError: there is no such round yet.
    """

    def settled(view: RoundView | None) -> bool:
        return view is not None and (view.state == "open" or (number is not None and view.state != "scheduled"))

    view = polling.poll(
        lambda _: _find(member, model, number), settled, clock=member.clock, timeout_seconds=wait_seconds
    )
    if view is None:
        name = "round" if number is None else f"round {number}"
        raise RoundNotOpenError(f"{model} has no {name} yet; call again later, or pass wait_for_open=True")
    return view


def descriptor_in(member: Member, view: RoundView, *, model: str, number: int | None) -> RoundDescriptor:
    """The verified descriptor of an open round.

    Raises:
        RoundNotOpenError: the round takes no updates now.
        UntrustedMeshError: the descriptor is not the mesh's, or not this round's.
        OutsideLocalPolicyError: this participant's own rules forbid it.
    """
    if view.model != model or number not in {None, view.round}:
        raise UntrustedMeshError(f"asked for {model} round {number}, got {view.model} round {view.round}")
    if view.state != "open":
        raise _not_open(member, view)
    if view.descriptor is None:
        raise UntrustedMeshError(f"{model} round {view.round} is open but has no descriptor")
    descriptor = member.keys.verify(view.descriptor, RoundDescriptor, purpose=Purpose.DESCRIPTOR)
    _check_place(descriptor, view, now=member.clock.utc())
    member.local_policy.check(descriptor.policy)
    return descriptor


def _check_place(descriptor: RoundDescriptor, view: RoundView, *, now: datetime) -> None:
    """Stop a genuine descriptor of another model, another round or another day from being played back."""
    if (descriptor.model, descriptor.round) != (view.model, view.round):
        raise UntrustedMeshError(
            f"{view.model} round {view.round} came with the descriptor of {descriptor.model} round {descriptor.round}"
        )
    if now > descriptor.closes_at + CLOSING_SLACK:
        raise UntrustedMeshError(
            f"{view.model} round {view.round} is said to be open, but its descriptor says it closed at "
            f"{_clock_time(descriptor.closes_at)}; check this machine's clock"
        )
    key = descriptor.encryption_key
    if key.state != "current" or key.not_before > now + CLOSING_SLACK:
        raise UntrustedMeshError("the round's encryption key is not a current one")


def _not_open(member: Member, view: RoundView) -> RoundNotOpenError:
    name = f"{view.model} round {view.round}"
    if view.state == "scheduled":
        return RoundNotOpenError(
            f"{name} opens at {_clock_time(view.opens_at)}; call again then, or pass wait_for_open=True",
            opens_at=view.opens_at,
        )
    current = _find(member, view.model, None)
    if current is None or current.round <= view.round:
        return RoundNotOpenError(
            f"{name} is {view.state} and takes no more updates; the next round is not known yet. Pass "
            "round_number=None and wait_for_open=True to wait for it."
        )
    is_open = current.state == "open"
    return RoundNotOpenError(
        f"{name} is {view.state} and takes no more updates; round {current.round} "
        + ("is open now" if is_open else f"opens at {_clock_time(current.opens_at)}"),
        opens_at=current.opens_at,
    )


def _find(member: Member, model: str, number: int | None) -> RoundView | None:
    try:
        return member.endpoints.round(model, number)
    except UnknownModelError as error:
        if error.code != "unknown_round":
            raise
        return None


def _clock_time(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
