"""The API of a real mesh under requests that nobody has thought of, in short; `./dev fuzz` takes longer."""

import dataclasses
from collections import Counter

import pytest

from tests.fuzz import growth, runs
from tests.fuzz.api import CLIENT, NOBODY
from tests.fuzz.growth import Accepted, Sizes

BEFORE = Sizes(rows={"rounds_update": 3, "rounds_round": 1}, files=10, redis_keys=5, memory=1e8)
FOR_WHAT_IT_SAYS = {400, 404, 409, 422}
ACCEPTED = Accepted(enrolments=1, rotations=0, erasures=0, updates=2, signed=9, seconds=5.0)


def statuses(counts, name, who):
    """What somebody's requests for an operation were answered with."""
    return {status for (asked, asker, status) in counts if (asked, asker) == (name, who) and isinstance(status, int)}


@pytest.mark.processes
def test_a_real_mesh_answers_everybody_as_its_document_says_and_keeps_nothing():
    """One mesh for all of it: to start one takes longer than to ask it."""
    with runs.mesh_to_fuzz() as mesh:
        counts = runs.run_api(mesh, seed=1, seconds=0.0, examples=8)
    check_every_operation_has_let_in_a_client_and_refused_nobody_else(counts)
    check_bodies_and_addresses_are_refused_for_what_they_say(counts)
    assert counts[growth.UPDATES, "the workers", "staged"]
    assert counts[growth.UPDATES, "the workers", "rejected"]


def check_every_operation_has_let_in_a_client_and_refused_nobody_else(counts):
    names = {name for name, _, _ in counts} - {growth.UPDATES}
    assert len(names) == 12 + 2  # addresses, two of which have two methods
    for name in names - {"getKeys"}:
        assert min(statuses(counts, name, CLIENT)) < 300
        assert min(statuses(counts, name, NOBODY)) >= 400


def check_bodies_and_addresses_are_refused_for_what_they_say(counts):
    """Behind the signature."""
    for name in ("putUpdate", "postClients", "postMyKeys", "postParticipation", "getRounds"):
        assert statuses(counts, name, CLIENT) & FOR_WHAT_IT_SAYS


def test_an_update_that_could_not_be_decided_about_is_found():
    decided = Counter({(growth.UPDATES, "the workers", "stalled"): 2, (growth.UPDATES, "the workers", "staged"): 9})
    assert growth.undecided(decided) == ["2 updates are stalled"]


def test_what_was_accepted_may_be_kept():
    after = dataclasses.replace(BEFORE, rows={"rounds_update": 5, "rounds_round": 1}, files=18)
    assert growth.growth(BEFORE, after, ACCEPTED) == []


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"rows": {"rounds_update": 6, "rounds_round": 1}}, "rounds_update: 3 rows more; 2 were accepted"),
        ({"rows": {"rounds_update": 3, "rounds_round": 2}}, "rounds_round: 1 rows more; 0 were accepted"),
        ({"files": 19}, "files: 9 more"),
        ({"redis_keys": 1000}, "redis_keys: 995 more"),
        ({"memory": 1e9}, "memory: 900000000 more"),
    ],
)
def test_what_has_grown_beyond_it_is_found(changes, found):
    (said,) = growth.growth(BEFORE, dataclasses.replace(BEFORE, **changes), ACCEPTED)
    assert said.startswith(found)
