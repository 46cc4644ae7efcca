"""Every rule, step and optimizer as a document: `python -m boltz_core.aggregation.rules > docs/rules.md`."""

import sys
from collections.abc import Iterable

from boltz_core.aggregation.rules.parameters import Parameter, Seed
from boltz_core.aggregation.rules.registry import RULES, STEPS
from boltz_core.aggregation.rules.rule import Rule, Step
from boltz_core.aggregation.server_optimizer import OPTIMIZERS, OptimizerKind

PARTS: tuple[Rule | Step | OptimizerKind, ...] = (*RULES.values(), *STEPS.values(), *OPTIMIZERS.values())
HEAD = """\
# Rules

Made from the code: `python -m boltz_core.aggregation.rules > docs/rules.md`. n updates, of which f are malicious; f is
the policy's `byzantine`, or a fifth of n. A policy whose conditions do not hold for every number of updates from its
quorum to its target is refused; they are checked again when the round is frozen, and a round that cannot keep them is
abandoned. What docs/robustness.md measures is what they are worth.

An update whose norm is past the round's `max_norm`, or past 4 times the median norm of the round, is out before any of
these looks at it. The plain weighted mean alone takes all.
"""


def document() -> str:
    """The whole document, in Markdown."""
    return "\n".join(
        (
            HEAD,
            "## Rules\n",
            *_table(
                ("rule", "kind", "weights", "needs", "tolerates", "source"),
                (
                    (
                        f"`{rule.name}`",
                        rule.kind,
                        "yes" if rule.weighted else "no",
                        str(rule.condition),
                        rule.tolerates,
                        rule.source,
                    )
                    for rule in RULES.values()
                ),
            ),
            "## In front of a rule\n",
            *_table(
                ("step", "weights", "needs", "tolerates", "source"),
                (
                    (
                        f"`{step.name}`",
                        "yes" if step.weighted else "no",
                        str(step.condition),
                        step.tolerates,
                        step.source,
                    )
                    for step in STEPS.values()
                ),
            ),
            "## Server optimizers\n",
            *_table(
                ("optimizer", "what it does", "keeps"),
                ((f"`{kind.name}`", kind.meaning, ", ".join(kind.state_names)) for kind in OPTIMIZERS.values()),
            ),
            "## Parameters\n",
            *_table(
                ("of", "parameter", "bounds", "default", "meaning"),
                ((f"`{part.name}`", *_described(parameter)) for part in PARTS for parameter in part.parameters),
            ),
        )
    )


def _described(parameter: Parameter | Seed) -> tuple[str, str, str, str]:
    if isinstance(parameter, Seed):
        return f"`{parameter.name}`", "32 bytes", "drawn at the freeze", parameter.meaning
    default = "from the data" if parameter.default is None else f"{parameter.default:g}"
    return f"`{parameter.name}`", f"{parameter.least:g} to {parameter.most:g}", default, parameter.meaning


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    lines = [head, ("---",) * len(head), *rows]
    return [*("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines), ""]


if __name__ == "__main__":
    sys.stdout.write(document())
