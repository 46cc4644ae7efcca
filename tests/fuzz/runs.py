"""The two parts of `./dev fuzz`: parsers in this process, and the API of a real mesh; each for a number of seconds."""

import contextlib
import time
from collections import Counter
from dataclasses import replace

from tests.chaos.withheld import NO_LIMITS
from tests.fuzz import growth
from tests.fuzz.api import CLIENT, Fuzzing
from tests.fuzz.examination import FoundError, examine
from tests.fuzz.parsers import PROPERTIES
from tests.fuzz.participant import PARAMETERS, Participants
from tests.integration.running_mesh import running

PARSER_EXAMPLES = 150
API_EXAMPLES = 25
# no round is ever full
TARGET = 100_000
SUCCESSES = range(200, 300)


def run_parsers(*, seed, seconds, properties=PROPERTIES):
    """Examine the parsers, one round of all after the other, each from the next seed; returns examples by property.

    Raises:
        FoundError: something does not hold.
    """
    counts, until = Counter(), time.monotonic() + seconds
    while not counts or time.monotonic() < until:
        for check in properties:
            try:
                examine(check, seed=seed, examples=PARSER_EXAMPLES)
            except FoundError as error:
                raise FoundError(f"{check.__name__}: {error}\nrepeat: {again(seed, 'parsers')}") from error
            counts[check.__name__] += PARSER_EXAMPLES
        seed += 1
    return counts


@contextlib.contextmanager
def mesh_to_fuzz():
    """A mesh that counts nobody's requests, with one round open."""
    with running("--no-model", name="fuzz", fast=False, settings=NO_LIMITS) as mesh:
        mesh.add_models(1, parameters=PARAMETERS, target=TARGET)
        yield mesh


def run_api(mesh, *, seed, seconds, examples=API_EXAMPLES):
    """Fuzz the API of a mesh, one round of all operations after the other; returns answers by operation.

    Raises:
        FoundError: something does not hold.
    """
    before, began = growth.sizes_of(mesh), time.monotonic()
    with contextlib.ExitStack() as closing:
        participants = closing.enter_context(contextlib.closing(Participants(mesh.url, mesh.fresh_model())))
        fuzzing = closing.enter_context(contextlib.closing(Fuzzing(mesh.url, participants)))
        fuzzing.round(seed, 1)
        # what is loaded once, and cached, is no growth
        before = replace(before, memory=growth.sizes_of(mesh).memory)
        until = time.monotonic() + seconds
        fuzzing.round(seed, examples)
        while not fuzzing.findings and time.monotonic() < until:
            seed += 1
            fuzzing.round(seed, examples)
        after, accepted = growth.sizes_of(mesh), growth.accepted(fuzzing, time.monotonic() - began)
    problems = [
        *fuzzing.in_words(),
        *growth.growth(before, after, accepted),
        *growth.partial_files(mesh),
        *growth.ended_programs(mesh),
    ]
    decided = growth.decided_updates(mesh)
    problems += [*toothless(fuzzing), *growth.undecided(decided)]
    if problems:
        raise FoundError("\n\n".join([*problems, f"repeat: {again(seed, 'api')}"]))
    return fuzzing.counts + decided


def toothless(fuzzing):
    """Operations that no well-signed request has reached: nothing was tried there."""
    reached = {name for (name, who, status) in fuzzing.counts if who == CLIENT and status in SUCCESSES}
    return [f"{name}: no signed request was let in" for name in sorted(fuzzing.names() - reached)]


def again(seed, part):
    """The command that begins with what was found."""
    return f"./dev fuzz --minutes 1 --seed {seed} --only {part}"
