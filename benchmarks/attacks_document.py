"""The tables of docs/robustness.md: `python -m benchmarks.attacks_document` plays all attacks and writes them there.

They stand between two marks; the text around them is written by people.
"""

import argparse
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean

# As in production, one BLAS thread a process; it must be said before numpy is loaded.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from benchmarks.attacks import Results, bars, play_all, worst_accuracy, worst_backdoor
from benchmarks.attacks_listed import ADAPTIVE, KNOWN, NOBODY, Attack
from benchmarks.attacks_play import FinalTrust, play_for_trust

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "robustness.md"
BEGIN = "<!-- begin: python -m benchmarks.attacks_document -->"
END = "<!-- end -->"
SEEDS = 5


def mean_trust(*, seeds: int) -> Mapping[str, FinalTrust]:
    """What the default pipeline thinks of its clients after each attack, as the mean over the seeds."""
    played = {
        attack.name: [play_for_trust(attack, seed=seed) for seed in range(seeds)]
        for attack in (NOBODY, *KNOWN, *ADAPTIVE)
    }
    return {
        name: FinalTrust(fmean(one.attackers for one in each), fmean(one.honest for one in each))
        for name, each in played.items()
    }


def tables(results: Results, trust: Mapping[str, FinalTrust]) -> str:
    """All tables, in Markdown."""
    known, adaptive = ([attack for attack in group if not attack.backdoor] for group in (KNOWN, ADAPTIVE))
    backdoors = [attack for attack in (*KNOWN, *ADAPTIVE) if attack.backdoor]
    parts = (
        ("The bars", _bars(results)),
        ("In short", _summary(results)),
        ("Known attacks: accuracy", _accuracies(results, [NOBODY, *known])),
        ("Adaptive attacks: accuracy", _accuracies(results, adaptive)),
        ("Backdoors: success, and accuracy beside it", _backdoors(results, backdoors)),
        ("Trust in the end, by the default pipeline", _trust(trust)),
    )
    return "\n\n".join(f"### {title}\n\n{table}" for title, table in parts)


def with_tables(text: str, made: str) -> str:
    """The document with these tables between its marks.

    Raises:
        ValueError: the document has no marks.
    """
    before, begin, rest = text.partition(BEGIN)
    _old, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"the document has no {BEGIN} ... {END}")
    return f"{before}{begin}\n\n{made}\n\n{end}{after}"


def _bars(results: Results) -> str:
    lines = ([bar.promise, f"{bar.percent:.1f}", bar.attack, "yes" if bar.is_met else "no"] for bar in bars(results))
    return _table(["bar", "came out", "attack", "met"], lines, texts=(0, 2, 3))


def _summary(results: Results) -> str:
    heads = ["defence", "no attack", "known: accuracy", "by", "known: backdoor"]
    heads += ["adaptive: accuracy", "by", "adaptive: backdoor", "by"]
    lines = []
    for defence, outcomes in results.items():
        line = [f"`{defence}`", f"{outcomes[NOBODY.name].accuracy:.1f}"]
        known, adaptive = worst_accuracy(outcomes, KNOWN), worst_accuracy(outcomes, ADAPTIVE)
        let_in, let_in_adaptive = worst_backdoor(outcomes, KNOWN), worst_backdoor(outcomes, ADAPTIVE)
        line += [f"{known.percent:.1f}", known.attack, f"{let_in.percent:.1f}"]
        line += [f"{adaptive.percent:.1f}", adaptive.attack, f"{let_in_adaptive.percent:.1f}", let_in_adaptive.attack]
        lines.append(line)
    return _table(heads, lines, texts=(0, 3, 6, 8))


def _accuracies(results: Results, attacks: Sequence[Attack]) -> str:
    lines = (
        [f"`{defence}`", *(f"{outcomes[one.name].accuracy:.1f}" if one.name in outcomes else "" for one in attacks)]
        for defence, outcomes in results.items()
    )
    return _table(["defence", *(attack.name for attack in attacks)], lines)


def _backdoors(results: Results, attacks: Sequence[Attack]) -> str:
    lines = []
    for defence, outcomes in results.items():
        found = [outcomes[attack.name] for attack in attacks]
        lines.append([f"`{defence}`", *(f"{one.backdoor_success:.1f} / {one.accuracy:.1f}" for one in found)])
    return _table(["defence", *(attack.name for attack in attacks)], lines)


def _trust(trust: Mapping[str, FinalTrust]) -> str:
    lines = ([attack, f"{one.attackers:.2f}", f"{one.honest:.2f}"] for attack, one in trust.items())
    return _table(["attack", "attackers", "honest"], lines)


def _table(heads: Sequence[str], lines: Iterable[Sequence[str]], *, texts: Sequence[int] = (0,)) -> str:
    ruler = ["---" if column in texts else "--:" for column in range(len(heads))]
    return "\n".join("| " + " | ".join(line) + " |" for line in [heads, ruler, *lines])


def main() -> None:
    """Play, then write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.attacks_document")
    parser.add_argument("--seeds", type=int, default=SEEDS, help=f"so many seeds (default {SEEDS})")
    seeds = parser.parse_args().seeds
    made = tables(play_all(seeds=seeds), mean_trust(seeds=seeds))
    DOCUMENT.write_text(with_tables(DOCUMENT.read_text(encoding="utf-8"), made), encoding="utf-8")


if __name__ == "__main__":
    main()
