"""What a random soak does, drawn from its seed alone: which fault, when, how long, at whom; and what clients do.

Three streams without an end: strikes of faults, actions of operators, and for each client and round a behaviour. None
depends on what the mesh does, so one seed draws one plan. How much of it a run gets through is a matter of its time.
"""

import itertools
import random
from dataclasses import dataclass

PROGRAMS = ("web", "worker", "beat", "reconciler")
# what is done, to whom it can be done, and how often beside the others
FAULTS = {
    "kill": ((*PROGRAMS, "redis"), 10),
    "kill_child": (("worker", "web"), 4),
    "pause": ((*PROGRAMS, "redis"), 6),
    "terminate": (PROGRAMS, 3),
    "flush": (("redis",), 2),
    "stop_at_once": (("postgres",), 2),
    "double_messages": (("redis",), 4),
}
TWO_AT_ONCE = 0.25
# now and then there is time for everything to be right again
QUIET = 0.15
# how often each beside the others
ACTIONS = {
    "seal": 5,
    "abandon": 2,
    "aggregate": 3,
    "suspend": 4,
    "revoke": 1,
    "erase": 1,
    "rotate_encryption_key": 2,
    "rotate_signing_key": 1,
}
GOOD = ("honest", "twice")
BEHAVIOURS = {"honest": 14, "twice": 2, "nan": 1, "garbage": 1, "wrong_base": 1, "late": 1}
AFTERWARDS = {"stay": 24, "restart": 3, "rotate_key": 2, "leave": 1}
BROKEN_UPLOADS = 0.3


@dataclass(frozen=True)
class Fault:
    """One fault. `chosen` in [0, 1) picks among what is there when it strikes: a child, a message."""

    kind: str
    target: str
    chosen: float


@dataclass(frozen=True)
class Strike:
    """One fault or two at once: after a pause, for some seconds."""

    pause_seconds: float
    faults: tuple[Fault, ...]
    lasts_seconds: float


@dataclass(frozen=True)
class Action:
    """What an operator does to a model or to a client. A suspension lasts; everything else is done once."""

    pause_seconds: float
    kind: str
    model: str
    client: int
    lasts_seconds: float


@dataclass(frozen=True)
class Behaviour:
    """What one client does in one round.

    `break_after` is the byte of the upload at which its connection breaks, as a share of the whole; None: it does not.
    """

    pause_seconds: float
    kind: str
    examples: int
    break_after: float | None
    afterwards: str


def strikes(seed):
    """The faults of a soak, one after the other, without an end."""
    draw = random.Random(f"{seed} faults")
    while True:
        pause = draw.uniform(8.0, 15.0) if draw.random() < QUIET else draw.uniform(0.2, 4.0)
        lasts = draw.uniform(0.1, 6.0)
        first = draw_fault(draw)
        second = draw_fault(draw)
        both = draw.random() < TWO_AT_ONCE and second.target != first.target
        yield Strike(pause, (first, second) if both else (first,), lasts)


def draw_fault(draw):
    """One fault with its target."""
    kind = draw_kind(draw, {kind: weight for kind, (_, weight) in FAULTS.items()})
    return Fault(kind, draw.choice(FAULTS[kind][0]), draw.random())


def draw_kind(draw, weights):
    """One of the kinds, as often as its weight says."""
    return draw.choices(tuple(weights), weights=tuple(weights.values()))[0]


def actions(seed, *, models, clients):
    """What operators do, one after the other, without an end."""
    draw = random.Random(f"{seed} operators")
    while True:
        yield Action(
            pause_seconds=draw.uniform(1.0, 8.0),
            kind=draw_kind(draw, ACTIONS),
            model=draw.choice(models),
            client=draw.randrange(clients),
            lasts_seconds=draw.uniform(0.5, 10.0),
        )


def behaviour(seed, *, client, model, number):
    """What a client does in a round of a model."""
    draw = random.Random(f"{seed} client {client} {model} {number}")
    return Behaviour(
        pause_seconds=draw.uniform(0.0, 3.0),
        kind=draw_kind(draw, BEHAVIOURS),
        examples=draw.choice((1, 37, 100, 250, 1500)),
        break_after=draw.random() if draw.random() < BROKEN_UPLOADS else None,
        afterwards=draw_kind(draw, AFTERWARDS),
    )


def first(stream, count):
    """The beginning of a stream."""
    return list(itertools.islice(stream, count))
