"""When which client of a peer held the model of which round, as the clients themselves have written it down.

A round lasts from the moment at which the last client holds its model to the moment at which the last client holds the
next one.
"""

import itertools
import json
from collections.abc import Mapping
from pathlib import Path


def read_deliveries(file: Path) -> dict[int, dict[str, float]]:
    """For each round, when each client first held its model; a line that is not complete yet is left for next time."""
    rounds: dict[int, dict[str, float]] = {}
    text = file.read_text() if file.exists() else ""
    for line in text[: text.rfind("\n") + 1].splitlines():
        entry = json.loads(line)
        rounds.setdefault(int(entry["round"]), {}).setdefault(str(entry["client"]), float(entry["held_at"]))
    return rounds


def delivered_rounds(rounds: Mapping[int, Mapping[str, float]], *, clients: int) -> list[int]:
    """The rounds whose model all clients hold, in order."""
    return sorted(number for number, held in rounds.items() if len(held) == clients)


def round_seconds(rounds: Mapping[int, Mapping[str, float]], *, clients: int) -> list[float]:
    """How long each round lasted, for all rounds but the last, whose successor nobody has seen.

    Raises:
        ValueError: a round is missing between two others.
    """
    numbers = delivered_rounds(rounds, clients=clients)
    if numbers and numbers != list(range(numbers[0], numbers[0] + len(numbers))):
        raise ValueError(f"some clients missed a round; all of them took part in {numbers}")
    ends = [max(rounds[number].values()) for number in numbers]
    return [later - earlier for earlier, later in itertools.pairwise(ends)]
