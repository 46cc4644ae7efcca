"""The parsers under arbitrary and damaged bytes, in short; `./dev fuzz` takes longer."""

import tracemalloc

import pytest
from hypothesis import strategies as st

from boltz_protocol import envelope, tensors
from boltz_protocol.envelope import EnvelopeError
from boltz_protocol.tensors import TensorsError
from tests.apps.hostile_envelopes import plain
from tests.fuzz import parsers, runs
from tests.fuzz.damage import damaged
from tests.fuzz.examination import FoundError, examine
from tests.fuzz.message_strategies import KINDS

EXAMPLES = 25
SMALL = 700_000
HUGE = 2**32 - 1
# only what the header says is allocated, whatever the parts say of themselves
HEADER = parsers.FILE[8 : -parsers.LAYOUT.data_bytes]


@pytest.mark.parametrize("check", parsers.PROPERTIES, ids=lambda check: check.__name__)
def test_a_parser_reads_or_refuses(check):
    examine(check, seed=1, examples=EXAMPLES)


def test_every_message_of_the_protocol_is_among_those_examined():
    assert {"EnvelopeHeader", "Claims", "RoundDescriptor", "Problem", "TensorSpec"} <= {kind.__name__ for kind in KINDS}
    assert len(KINDS) >= 25


def refused_in_little_memory(function, *arguments, error):
    tracemalloc.start()
    try:
        with pytest.raises(error) as refused:
            function(*arguments)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < SMALL
    return refused.value.code


@pytest.mark.parametrize("length", [2**32 - 1, 2**31, 4097])
def test_a_length_that_an_envelopes_head_claims_allocates_nothing(length):
    raw = b"BTE1" + length.to_bytes(4, "big") + bytes(100)
    code = refused_in_little_memory(parsers.open_bytes, raw, error=EnvelopeError)
    assert code == "malformed_envelope"


@pytest.mark.parametrize("claimed", [{"claims_length": HUGE}, {"tensors_header_length": 2**64 - 1}], ids=str)
def test_a_length_claimed_inside_an_envelope_allocates_nothing(claimed):
    content = plain(layout=parsers.LAYOUT, **claimed)
    raw = parsers.seal(content, len(content))
    assert refused_in_little_memory(parsers.open_bytes, raw, error=EnvelopeError) == "malformed_envelope"


def test_a_plain_length_that_a_header_claims_allocates_nothing():
    raw = parsers.seal(parsers.PLAIN, 2**53 - 1)
    assert refused_in_little_memory(parsers.open_bytes, raw, error=EnvelopeError) == "malformed_envelope"


@pytest.mark.parametrize("length", [2**64 - 1, 2**63, 2**40, 1 << 20])
def test_a_length_that_a_safetensors_file_claims_allocates_nothing(length):
    raw = length.to_bytes(8, "little") + parsers.FILE[8:]
    code = refused_in_little_memory(tensors.decode_safetensors, raw, parsers.LAYOUT, error=TensorsError)
    assert code == "malformed_tensors"


# --- the examination itself must be able to fail ---


def test_a_parser_that_raises_something_else_is_found(monkeypatch):
    monkeypatch.setattr(envelope, "read_header", lambda read: {}[read(1)])
    with pytest.raises(FoundError, match="KeyError"):
        examine(parsers.heads_have_one_spelling, seed=1, examples=EXAMPLES)


def test_a_parser_that_allocates_what_is_claimed_is_found(monkeypatch):
    def allocate(raw, _layout):
        bytes(min(int.from_bytes(raw[:8], "little"), 1 << 26))
        raise TensorsError("too late")

    monkeypatch.setattr(tensors, "decode_safetensors", allocate)
    with pytest.raises(FoundError, match="bytes of memory"):
        examine(parsers.files_are_read_or_refused, seed=1, examples=100)


def test_a_finding_names_the_property_and_the_command_that_repeats_it():
    def nothing_is_long(data):
        assert len(data.draw(st.binary())) < 3

    with pytest.raises(FoundError) as found:
        runs.run_parsers(seed=42, seconds=0.0, properties=[nothing_is_long])
    assert "nothing_is_long: AssertionError" in str(found.value)
    assert "./dev fuzz --minutes 1 --seed 42 --only parsers" in str(found.value)


def test_damage_changes_most_of_what_it_is_given():
    changed = []
    examine(lambda data: changed.append(data.draw(damaged(b"BTE1 and more")) != b"BTE1 and more"), seed=1, examples=100)
    assert sum(changed) > 50
