import json

import pytest

from benchmarks.peers.deliveries import delivered_rounds, read_deliveries, round_seconds


def lines(*entries):
    return "".join(
        json.dumps({"client": client, "round": number, "held_at": held_at}) + "\n"
        for client, number, held_at in entries
    )


@pytest.fixture
def file(tmp_path):
    return tmp_path / "deliveries.jsonl"


def test_what_nobody_has_written_yet_is_empty(file):
    assert read_deliveries(file) == {}


def test_entries_are_sorted_into_their_rounds(file):
    file.write_text(lines(("a", 1, 10.0), ("b", 1, 11.0), ("a", 2, 12.5)))
    assert read_deliveries(file) == {1: {"a": 10.0, "b": 11.0}, 2: {"a": 12.5}}


def test_a_model_that_is_delivered_again_was_held_the_first_time(file):
    file.write_text(lines(("a", 1, 10.0), ("a", 1, 15.0)))
    assert read_deliveries(file) == {1: {"a": 10.0}}


def test_a_line_that_is_being_written_is_left_for_later(file):
    file.write_text(lines(("a", 1, 10.0)) + '{"client": "b", "rou')
    assert read_deliveries(file) == {1: {"a": 10.0}}


def test_a_line_that_is_complete_and_damaged_is_not_passed_over(file):
    file.write_text('{"client": "b", "rou\n')
    with pytest.raises(json.JSONDecodeError):
        read_deliveries(file)


def test_a_round_is_delivered_when_its_last_client_has_it():
    rounds = {1: {"a": 10.0, "b": 11.0}, 2: {"a": 12.5}}
    assert delivered_rounds(rounds, clients=2) == [1]


def test_a_round_lasts_from_the_last_client_to_the_last_client():
    rounds = {0: {"a": 10.0, "b": 11.0}, 1: {"a": 13.0, "b": 12.0}, 2: {"a": 13.5, "b": 17.0}}
    assert round_seconds(rounds, clients=2) == [2.0, 4.0]


def test_a_round_whose_successor_only_some_have_seen_has_no_end():
    rounds = {1: {"a": 10.0, "b": 11.0}, 2: {"a": 12.0, "b": 13.0}, 3: {"a": 14.0}}
    assert round_seconds(rounds, clients=2) == [2.0]


def test_a_client_that_missed_a_round_in_between_is_not_passed_over():
    rounds = {1: {"a": 10.0, "b": 11.0}, 2: {"a": 12.0}, 3: {"a": 14.0, "b": 15.0}}
    with pytest.raises(ValueError, match="missed a round"):
        round_seconds(rounds, clients=2)


def test_nothing_delivered_is_no_round():
    assert round_seconds({}, clients=2) == []
