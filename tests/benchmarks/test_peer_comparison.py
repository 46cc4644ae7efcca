import re
import sys
from pathlib import Path

import pytest

import benchmarks.__main__ as bench
from benchmarks import round as ours
from benchmarks.peers import comparison, environments

HASH = re.compile(r" --hash=sha256:[0-9a-f]{64}")
PEERS = [peer.name for peer in comparison.PEERS]


@pytest.fixture
def measured(monkeypatch):
    """Systems that take as many seconds as is said here; what they were asked for is kept."""
    asked = []
    seconds = {"ours": 0.5, "flower": 10.0, "nvflare": 2.5}

    def row(system, parameters, rounds):
        asked.append((system, parameters, rounds))
        return {"s a round": seconds[system], "server MB": 700.0, "MB a client": 90.0}

    monkeypatch.setattr(ours, "measure_size", lambda size, *, rounds: {"pull": 0.1} | row("ours", size, rounds))
    monkeypatch.setattr(comparison, "measure_peer", lambda peer, size, *, rounds: row(peer.name, size, rounds))
    monkeypatch.setattr(environments, "python_of", Path)
    return asked


def test_each_size_has_a_row_for_each_system(measured):
    rows = comparison.measure(sizes=(10_000, 1_000_000), repeat=4)
    assert [(row["parameters"], row["system"].split()[0]) for row in rows] == [
        (size, system) for size in ("1e+04", "1e+06") for system in ("ours", "Flower", "NVFlare")
    ]


def test_all_systems_of_a_size_are_measured_one_after_the_other_for_the_same_rounds(measured):
    comparison.measure(sizes=(10_000, 1_000_000), repeat=4)
    assert measured == [(system, size, 4) for size in (10_000, 1_000_000) for system in ("ours", "flower", "nvflare")]


def test_the_ratio_is_ours_to_the_peers(measured):
    rows = comparison.measure(sizes=(10_000,), repeat=4)
    assert [row["ours / it"] for row in rows] == [1.0, 0.05, 0.2]


def test_the_table_has_the_same_columns_in_every_row(measured, capsys):
    rows = comparison.measure(sizes=(10_000,), repeat=4)
    bench.print_table(rows)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split("  ")[0] == "parameters"
    assert len(lines) == 5
    assert {tuple(row) for row in rows} == {
        ("parameters", "system", "s a round", "ours / it", "server MB", "MB a client")
    }


def test_peers_are_refused_where_there_are_none(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["bench", "scale", "--peers"])
    with pytest.raises(SystemExit, match="2"):
        bench.main()
    assert "--peers goes with round and engine" in capsys.readouterr().err


@pytest.mark.parametrize("peer", comparison.PEERS, ids=PEERS)
def test_the_lock_of_a_peer_holds_the_version_in_the_table(peer):
    version = environments.pinned_version(peer.name, peer.package)
    lock = (environments.LOCKS / f"requirements-{peer.name}.txt").read_text()
    assert f"\n{peer.package}=={version} " in f"\n{lock}"


@pytest.mark.parametrize("peer", PEERS)
def test_every_line_of_a_peers_lock_is_one_version_with_its_hashes(peer):
    text = (environments.LOCKS / f"requirements-{peer}.txt").read_text()
    lines = re.sub(r"\s+#.*|^#.*", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    for line in filter(str.strip, lines.splitlines()):
        pinned = re.sub(r"\s+", " ", line)
        assert HASH.search(pinned), pinned
        assert re.fullmatch(r"[\w.-]+(\[[\w,-]+\])?==[\w.!+]+( ; [\w\s.()<>=!'-]+)?", HASH.sub("", pinned)), pinned


def test_the_app_for_flower_asks_for_the_version_that_is_installed():
    app = (environments.LOCKS / "flower_app" / "pyproject.toml").read_text()
    assert f'"flwr=={environments.pinned_version("flower", "flwr")}"' in app


def test_a_package_that_is_not_pinned_has_no_version():
    with pytest.raises(ValueError, match=r"requirements-flower\.in does not pin numpy"):
        environments.pinned_version("flower", "numpy")
