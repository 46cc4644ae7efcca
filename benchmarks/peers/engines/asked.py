"""What the script of each peer has in common: it reads which work is asked for, combines, and writes what came of it.

The scripts run in the peers' own environments, so nothing of the project is at hand.
"""

import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Asked:
    """Rows to combine: shape (updates, parameters), float32, with the examples of each, and f."""

    rows: NDArray[np.float32]
    examples: list[int]
    byzantine: int


# makes what is used up by one combination, which is not timed, and returns the combination
Prepare = Callable[[], Callable[[], Any]]


def answer(works: Mapping[str, Callable[[Asked], Prepare]], as_vector: Callable[[Any], NDArray[Any]]) -> None:
    """Do what the file says whose name is the program's argument; write the shortest time and the vector."""
    wanted = json.loads(Path(sys.argv[1]).read_text())
    asked = Asked(np.load(wanted["rows"]), wanted["examples"], wanted["byzantine"])
    prepare = works[wanted["work"]](asked)
    seconds, result = [], None
    for _ in range(wanted["repeat"]):
        combine = prepare()
        started = time.perf_counter()
        result = combine()
        seconds.append(time.perf_counter() - started)
    np.save(wanted["vector"], as_vector(result))
    Path(wanted["answer"]).write_text(json.dumps(min(seconds)))
