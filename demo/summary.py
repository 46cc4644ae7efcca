"""What is said at the end: the margin over local-only first, then who gained, then who was refused."""

from collections.abc import Mapping

from demo.outcome import Outcome


def headline(outcome: Outcome) -> str:
    """One sentence that holds whichever way the run went."""
    gain = outcome.over_local_only
    direction = "lower" if gain.error_share > 0 else "higher"
    return (
        f"Together the clients forecast with {abs(gain.error_share):.1%} {direction} squared error than alone; "
        f"{gain.gained} of {len(outcome.shares)} gained."
    )


def rejected_words(rejected: Mapping[str, int]) -> str:
    """Codes with their counts: "not_finite, 2 x undecryptable"; a count of one is left out."""
    return ", ".join(code if count == 1 else f"{count} x {code}" for code, count in sorted(rejected.items()))


def summary_lines(outcome: Outcome) -> list[str]:
    """The summary in plain text, a line each."""
    scores = {"federated": outcome.federated, "local-only": outcome.local_only, "naive": outcome.naive}
    lines = [
        headline(outcome),
        "R2     " + ", ".join(f"{name} {score.r2:.3f}" for name, score in scores.items()) + "  (higher is better)",
        "QLIKE  " + ", ".join(f"{name} {score.qlike:.3f}" for name, score in scores.items()) + "  (lower is better)",
    ]
    lines += [
        f"Refused: {name} {refusals[0].misbehaviour}; {len(refusals)} of {len(outcome.lines)} rounds "
        f"({', '.join(sorted({refusal.code for refusal in refusals}))})"
        for name, refusals in outcome.refused_by_client().items()
    ]
    lines.append(f"Took {outcome.seconds:.0f} s for {len(outcome.lines)} rounds with {len(outcome.shares)} clients.")
    return lines
