import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boltz_core.rounds import states
from boltz_core.rounds.states import CLIENT, MACHINES, ROUND, UPDATE, VERSION, WrongStateError, check_transition
from boltz_protocol import messages

ROOT = Path(__file__).resolve().parents[3]

machines = pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.name)


def exits(machine, state):
    return [to for source, to in machine.transitions if source is state]


@machines
def test_every_state_can_be_reached(machine):
    reached, new = set(), {machine.initial}
    while new:
        reached |= new
        new = {to for state in new for to in exits(machine, state)} - reached
    assert reached == set(machine.states)


@machines
def test_final_states_have_no_way_out_and_all_others_have_one(machine):
    assert {state for state in machine.states if not exits(machine, state)} == machine.final


@machines
def test_a_machine_that_ends_can_end_from_every_state(machine):
    for state in machine.states:
        reached, new = set(), {state}
        while new:
            reached |= new
            new = {to for each in new for to in exits(machine, each)} - reached
        assert not machine.final or reached & machine.final


@machines
def test_every_transition_leads_elsewhere_and_says_why(machine):
    for (source, to), why in machine.transitions.items():
        assert source is not to
        assert len(why) > 10


@machines
def test_exactly_the_listed_transitions_pass(machine):
    for source, to in product(machine.states, repeat=2):
        if (source, to) in machine.transitions:
            check_transition(machine, source.value, to.value)
        else:
            with pytest.raises(WrongStateError) as refusal:
                check_transition(machine, source, to)
            assert refusal.value.code == "wrong_state"


@machines
@given(data=st.data())
def test_a_walk_of_allowed_steps_stays_in_the_machine_and_stops_only_in_a_final_state(machine, data):
    state = machine.initial
    for _ in range(30):
        allowed = exits(machine, state)
        if not allowed:
            assert state in machine.final
            return
        wanted = data.draw(st.sampled_from(machine.states))
        if wanted in allowed:
            check_transition(machine, state, wanted)
            state = wanted
        else:
            with pytest.raises(WrongStateError):
                check_transition(machine, state, wanted)
    assert state in machine.states


def test_an_erased_update_never_comes_back():
    assert UPDATE.final == {states.UpdateState.ERASED}
    assert all((state, states.UpdateState.ERASED) in UPDATE.transitions for state in UPDATE.states[:-1])


def test_a_sealed_round_never_opens_again():
    assert {source for source, to in ROUND.transitions if to is states.RoundState.OPEN} == {states.RoundState.SCHEDULED}


def test_a_published_version_only_comes_from_a_run():
    assert [source for source, to in ROUND.transitions if to is states.RoundState.PUBLISHED] == [
        states.RoundState.AGGREGATING
    ]


def test_a_version_that_was_released_never_becomes_a_candidate_again():
    assert not [source for source, to in VERSION.transitions if to is states.VersionState.CANDIDATE]


def test_a_candidate_is_released_or_stays_one():
    assert exits(VERSION, states.VersionState.CANDIDATE) == [states.VersionState.CURRENT]


def test_the_refusal_names_what_would_be_allowed():
    with pytest.raises(
        WrongStateError, match=r"client is suspended, it cannot become pending; .*active, revoked, erased"
    ):
        check_transition(CLIENT, "suspended", "pending")
    with pytest.raises(WrongStateError, match="nothing follows"):
        check_transition(CLIENT, "erased", "active")


def test_a_word_that_is_no_state_is_a_mistake_of_the_program():
    with pytest.raises(ValueError, match="half_frozen"):
        check_transition(ROUND, "sealed", "half_frozen")


def test_the_words_are_those_on_the_wire():
    assert get_args(messages.UpdateState) == tuple(UPDATE.states)
    assert get_args(messages.RoundState) == tuple(ROUND.states)
    assert get_args(messages.ClientRecord.__annotations__["status"]) == tuple(CLIENT.states)


@machines
def test_the_diagram_draws_every_transition_the_start_and_the_ends(machine):
    drawn = set(states.diagram(machine).splitlines()[1:])
    arrows = {f"    {source} --> {to}" for source, to in machine.transitions}
    assert drawn == arrows | {f"    [*] --> {machine.initial}"} | {f"    {state} --> [*]" for state in machine.final}


def test_the_committed_document_is_what_the_code_draws():
    printed = subprocess.run(
        [sys.executable, "-m", "boltz_core.rounds.states"], cwd=ROOT, capture_output=True, check=True, text=True
    ).stdout
    assert printed == states.document()
    assert (ROOT / "docs" / "states.md").read_text() == printed
