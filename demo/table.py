"""The live table: a rich table on a terminal, one line a round anywhere else.

It shows what the observer read from the API; the row of a round that still runs has counts and no scores yet.
"""

from rich import box
from rich.table import Table

from boltz_protocol.messages import RoundView
from demo.metrics import Scores
from demo.outcome import Outcome, RoundLine
from demo.summary import rejected_words

COLUMNS = (
    ("round", "right"),
    ("joined", "right"),
    ("staged", "right"),
    ("refused, and why", "left"),
    ("step", "right"),
    ("R2", "right"),
    ("QLIKE", "right"),
)


def live_table(outcome: Outcome, running: RoundView | None = None) -> Table:
    """Everything so far, with the baselines on top and the state of the running round below; fits 80 columns."""
    table = Table(
        title="boltz-core: next-day volatility, scored out of sample",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 1, 0, 0),
    )
    for name, justify in COLUMNS:
        table.add_column(name, justify=justify)
    table.add_row(*baseline_cells("naive", outcome.naive), style="dim")
    table.add_row(*baseline_cells("local-only", outcome.local_only), style="dim", end_section=True)
    for line in outcome.lines:
        table.add_row(*round_cells(line))
    if running is not None:
        table.caption = running_words(running)
        table.caption_justify = "left"
    return table


def baseline_cells(name: str, scores: Scores) -> tuple[str, ...]:
    """A baseline has scores and no counts."""
    return (name, "", "", "", "", *score_cells(scores))


def round_cells(line: RoundLine) -> tuple[str, ...]:
    """A published round."""
    counts = (f"{line.number}", f"{line.joined}", f"{line.staged}")
    return (*counts, rejected_words(line.rejected), f"{line.step_norm:.3f}", *score_cells(line.scores))


def running_words(view: RoundView) -> str:
    """A round that has not been published yet."""
    refused = rejected_words(view.rejected)
    counts = f"{view.joined} joined, {view.accepted} accepted, {view.staged} staged"
    return f"round {view.round} is {view.state}: {counts}{refused and f'; refused {refused}'}"


def score_cells(scores: Scores) -> tuple[str, str]:
    """R2 and QLIKE."""
    return f"{scores.r2:.3f}", f"{scores.qlike:.3f}"


def plain_line(line: RoundLine, outcome: Outcome) -> str:
    """One published round in words, for logs and pipes."""
    return (
        f"round {line.number}/{outcome.rounds}: joined {line.joined}, accepted {line.accepted}, staged {line.staged}, "
        f"refused {rejected_words(line.rejected) or 'none'}, step norm {line.step_norm:.4f}, "
        f"R2 {line.scores.r2:.4f} (local-only {outcome.local_only.r2:.4f}, naive {outcome.naive.r2:.4f}), "
        f"QLIKE {line.scores.qlike:.4f} (local-only {outcome.local_only.qlike:.4f}, naive {outcome.naive.qlike:.4f})"
    )
