import dataclasses
import os
import re
import sys

import numpy as np
import pytest

import benchmarks.__main__ as bench
from benchmarks import engine, engine_passes
from benchmarks.engine_updates import made_rows, make_updates, sealed_path
from benchmarks.engine_works import DOOR, FILES, ONCE, OURS, PEERS, WORKS, Bar, Work, compared
from benchmarks.peers import engine as peers_engine
from benchmarks.peers import environments
from boltz_core.aggregation.in_memory import plain_rows
from boltz_core.aggregation.plan import carry_out
from boltz_core.aggregation.rules.registry import RULES
from boltz_core.aggregation.rules.rule import Setting
from boltz_core.ingest.segments import SEGMENT_PARAMETERS, SegmentError, sealed_length

MEMBERS, PARAMETERS = 7, 20_000
SMALL_WORKS = [dataclasses.replace(work, members=MEMBERS, parameters=PARAMETERS) for work in WORKS]
RULES_AND_WORKS = [Work(rule, members=MEMBERS, parameters=PARAMETERS) for rule in RULES]
RULES_AND_WORKS += [work for work in SMALL_WORKS if work.before]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_updates(tmp_path_factory.mktemp("engine") / "updates", MEMBERS, PARAMETERS)


def named(works):
    return [work.name for work in works]


def test_no_two_updates_are_alike_and_all_lie_around_a_common_one():
    rows = np.array([row.copy() for row in made_rows(MEMBERS, PARAMETERS)])
    alike = np.corrcoef(rows)
    assert alike.min() > 0.9
    assert alike[~np.eye(MEMBERS, dtype=bool)].max() < 0.9999


def test_sealed_updates_have_the_length_of_staged_ones(made):
    lengths = {sealed_path(made.folder, number).stat().st_size for number in range(MEMBERS)}
    assert lengths == {sealed_length(PARAMETERS)}


def plainly(work, rows):
    """The rule in float64, on rows in the order in which they are; another one breaks Bulyan's ties in another way."""
    used, coefficients = carry_out(work.plan, plain_rows(rows, np.array(work.examples, dtype=np.float64)))
    if coefficients is not None:
        return used.member_coefficients(coefficients) @ rows
    mixed = rows if used.coefficients is None else used.coefficients @ rows
    return work.plan.rule.of_lines(np.array(mixed.T, order="C"), None, Setting(work.byzantine, work.plan.parameters))


@pytest.mark.parametrize("work", RULES_AND_WORKS, ids=named(RULES_AND_WORKS))
def test_what_is_timed_is_the_rule(work, made):
    segments = []
    engine_passes.combine_staged(
        work, made, engine_passes.from_memory(made.rows()), lambda start, part: segments.append((start, part.copy()))
    )
    assert [start for start, _part in segments] == [0, SEGMENT_PARAMETERS]
    np.testing.assert_allclose(
        np.concatenate([part for _start, part in segments]),
        plainly(work, made.rows().astype(np.float64)),
        atol=1e-6 * max(made.norms),
    )


def test_each_way_and_the_limit_are_timed(made, tmp_path):
    seconds = engine_passes.seconds_of(SMALL_WORKS[0], made, tmp_path / "ours.npy", repeat=1)
    assert set(seconds) == {OURS, FILES, DOOR, ONCE}
    assert min(seconds.values()) > 0


def test_a_damaged_file_is_not_timed(tmp_path):
    made = make_updates(tmp_path / "updates", MEMBERS, PARAMETERS)
    path = sealed_path(made.folder, 3)
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    with pytest.raises(SegmentError):
        engine_passes.seconds_of(SMALL_WORKS[0], made, tmp_path / "ours.npy", repeat=1)


def test_a_result_that_depends_on_where_the_rows_lie_is_refused():
    with pytest.raises(SystemExit, match="different bits"):
        engine_passes.check_same_bits(np.array([0.0, 1.0]), np.array([-0.0, 1.0]))


@pytest.mark.long
def test_memory_is_that_of_a_process_of_its_own_and_below_the_bar():
    held = np.ones(32 * engine_passes.MEBIBYTE)
    (row,) = engine.memory_use([(MEMBERS, PARAMETERS)], plans=[("krum", ())])
    assert held.sum() > row["MiB, N=7 d=2e4"] > 0
    assert (row["bar"], row["met"]) == ("below 64 MiB", "yes")


@pytest.mark.parametrize(("most", "met"), [(63.9, "yes"), (64.0, "no")])
def test_the_bar_of_memory_is_met_below_it(most, met):
    assert engine.memory_judged(most)["met"] == met


def test_memory_that_is_taken_and_given_back_is_seen(made, monkeypatch):
    mebibytes = 100
    monkeypatch.setattr(
        engine_passes, "combine_staged", lambda *_arguments: np.ones(mebibytes * engine_passes.MEBIBYTE // 8).sum()
    )
    assert 0.95 * mebibytes < engine_passes.mebibytes_above_idle(SMALL_WORKS[0], made) < 1.5 * mebibytes


def test_growth_is_told_in_nanoseconds_for_each_number():
    work = Work("krum", members=10, parameters=1000)
    assert engine.per_number({ONCE: 1e-5, "krum": 2e-4}, work) == pytest.approx({"np.sum ns": 1.0, "krum ns": 20.0})


@pytest.mark.long
def test_growth_has_a_row_for_each_size():
    rows = engine.growth_of([(4, 100), (5, 200)], repeat=1, rules=["krum"])
    assert [list(row.items())[:2] for row in rows] == [
        [("updates", "4"), ("parameters", "1e+02")],
        [("updates", "5"), ("parameters", "2e+02")],
    ]


MEASURED = {OURS: 0.5, FILES: 0.6, DOOR: 0.7, ONCE: 0.1, "Flower s": 2.0}


@pytest.mark.parametrize(
    ("bar", "reached", "met"),
    [
        (Bar(4, "Flower"), 4.0, "yes"),
        (Bar(4.1, "Flower"), 4.0, "no"),
        (Bar(0.2, "np.sum"), 0.2, "yes"),
        (Bar(1, "2 seconds"), 4.0, "yes"),
        (Bar(20, "byzfl"), "-", "-"),
    ],
    ids=str,
)
def test_a_bar_says_how_many_times_as_fast_as_something_ours_is(bar, reached, met):
    (row,) = compared(Work("krum", (bar,)), MEASURED)
    assert (row["bar"], row["reached"], row["met"]) == (f"{bar.times:g} x {bar.against}", reached, met)


def test_a_work_has_a_row_for_each_bar_and_a_column_for_each_peer():
    rows = compared(WORKS[0], MEASURED)
    assert [row["bar"] for row in rows] == ["0.4 x np.sum", "2.5 x Flower", "1.1 x NVFlare"]
    assert all(row[f"{peer} s"] == MEASURED.get(f"{peer} s", "-") for row in rows for peer in PEERS)


def test_every_work_can_be_planned_and_every_bar_is_against_something_that_is_measured():
    able = {peer.title: peer.rules for peer in peers_engine.PEERS}
    for work in WORKS:
        assert work.plan.rule.condition.least(work.byzantine) <= work.members
        assert all(work.rule in able[bar.against] for bar in work.bars if bar.against in PEERS)


@pytest.mark.parametrize(("rule", "members", "byzantine"), [("bulyan", 10, 1), ("krum", 10, 2), ("bulyan", 100, 20)])
def test_f_is_a_fifth_where_the_rule_takes_so_many(rule, members, byzantine):
    assert Work(rule, members=members).byzantine == byzantine


def test_speed_is_measured_on_one_core_and_the_others_are_given_back():
    cores = os.sched_getaffinity(0)
    with engine.one_core():
        assert engine.in_own_process(os.sched_getaffinity, 0) == {max(cores)}
    assert os.sched_getaffinity(0) == cores


def test_a_failure_in_a_process_of_its_own_is_ours():
    with pytest.raises(SystemExit, match="different bits"):
        engine.in_own_process(engine_passes.check_same_bits, np.zeros(1), np.ones(1))


def test_peers_are_asked_for_what_they_have(monkeypatch, made, tmp_path):
    monkeypatch.setattr(peers_engine, "seconds_of_peer", lambda *_arguments: 1.0)
    asked = {work.name: list(peers_engine.seconds_of(work, made, tmp_path, 1)) for work in SMALL_WORKS}
    assert asked["weighted_mean"] == ["Flower s", "NVFlare s", "byzfl s"]
    assert asked["geometric_median"] == ["byzfl s"]
    assert asked["nnm + trimmed_mean"] == []


def test_float32_may_round_the_result_of_a_peer():
    ours = np.linspace(0, 1, 1000)
    peers_engine.check_same(ours, ours.astype(np.float32), what="the mean")


@pytest.mark.parametrize("theirs", [np.full(10, 1.001), np.full(10, np.nan), np.ones(9)], ids=["far", "nan", "short"])
def test_a_peer_that_computes_something_else_is_no_comparison(theirs):
    with pytest.raises(SystemExit, match="the mean"):
        peers_engine.check_same(np.ones(10), theirs, what="the mean")


@pytest.mark.parametrize("peer", peers_engine.PEERS, ids=[peer.name for peer in peers_engine.PEERS])
def test_every_peer_has_a_lock_and_a_script(peer):
    assert (environments.LOCKS / f"requirements-{peer.name}.txt").is_file()
    assert (peers_engine.SCRIPTS / f"with_{peer.name}.py").is_file()


def test_the_lock_of_byzfl_holds_its_version_and_no_pytorch():
    packages = re.findall(
        r"^([\w-]+)==(\S+)", (environments.LOCKS / "requirements-byzfl.txt").read_text(), re.MULTILINE
    )
    assert ("byzfl", environments.pinned_version("byzfl", "byzfl")) in packages
    assert {name for name, _version in packages} == {"byzfl", "numpy", "scipy"}


def test_tables_of_different_columns_are_printed_apart(capsys):
    bench.print_tables([{"a": 1.0}, {"a": "-"}, {"b": "x"}])
    assert capsys.readouterr().out == "a\n-\n1\n-\n\nb\n-\nx\n"


def test_a_column_of_numbers_stands_to_the_right_though_its_first_is_missing(capsys):
    bench.print_table([{"seconds": "-"}, {"seconds": 1.5}])
    assert capsys.readouterr().out.splitlines()[2:] == ["      -", "    1.5"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["scale", "--full"], "--full goes with engine"), (["engine", "--repeat", "0"], "--repeat is at least 1; got 0")],
)
def test_an_option_that_cannot_be_is_refused(arguments, message, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["bench", *arguments])
    with pytest.raises(SystemExit, match="2"):
        bench.main()
    assert message in capsys.readouterr().err


def test_the_engine_is_told_about_peers_and_size(monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(engine, "measure", lambda **options: asked.append(options) or [{"rule": "krum"}])
    monkeypatch.setattr(sys, "argv", ["bench", "engine", "--peers", "--full", "--repeat", "3", "--json"])
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    bench.main()
    assert asked == [{"repeat": 3, "peers": True, "full": True}]
    assert '"rule": "krum"' in capsys.readouterr().out
