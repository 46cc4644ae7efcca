from datetime import UTC, datetime

import msgspec
from rich.console import Console

from boltz_protocol.messages import RoundView
from demo import table


def shown(rendered):
    console = Console(width=80)
    with console.capture() as capture:
        console.print(rendered)
    return capture.get()


def test_the_table_shows_each_round_beside_both_baselines(outcome):
    text = shown(table.live_table(outcome))
    assert text.index("naive") < text.index("local-only") < text.index("0.480")


def test_a_round_is_one_line_of_80_columns(outcome):
    rows = [line.split() for line in shown(table.live_table(outcome)).splitlines()]
    assert ["3", "14", "12", "not_finite,", "undecryptable", "0.033", "0.480", "0.270"] in rows


def test_the_running_round_is_described_below(outcome):
    now = datetime(2026, 1, 1, tzinfo=UTC)
    running = RoundView(
        v=1, model="boltz-core", round=4, state="open", opens_at=now, closes_at=now, descriptor=None,
        joined=9, accepted=5, staged=3, rejected={}, version=None, step_norm=None,
    )  # fmt: skip
    text = shown(table.live_table(outcome, running))
    assert "round 4 is open: 9 joined, 5 accepted, 3 staged" in text
    assert "refused:" not in text
    refusing = msgspec.structs.replace(running, state="sealed", rejected={"not_finite": 2})
    assert "round 4 is sealed: 9 joined, 5 accepted, 3 staged; refused 2 x not_finite" in " ".join(
        shown(table.live_table(outcome, refusing)).split()
    )


def test_a_plain_line_says_all_of_it(outcome):
    line = table.plain_line(outcome.lines[0], outcome)
    assert line.startswith("round 1/3: joined 14, accepted 14, staged 12, refused not_finite, undecryptable")
    assert "R2 0.4600 (local-only 0.4600, naive 0.4300)" in line
