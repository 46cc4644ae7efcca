"""The engine's work as other systems do it: each in its own environment, on the same rows (`peers/engines/`)."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.engine_updates import MadeUpdates
from benchmarks.engine_works import Work
from benchmarks.peers import environments, flower
from benchmarks.peers.stage import staged
from boltz_core.arrays import Float64Vector

SCRIPTS = Path(__file__).parent / "engines"
ONE_THREAD = {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
TOLERANCE = 1e-5
MEANS, KRUMS = frozenset({"weighted_mean"}), frozenset({"krum", "multi_krum"})
COORDINATES = frozenset({"median", "trimmed_mean"})


@dataclass(frozen=True)
class EnginePeer:
    """Another system: the rules that it has, and those of which it must have our result."""

    title: str
    rules: frozenset[str]
    same: frozenset[str]

    @property
    def name(self) -> str:
        """Of its environment and its script."""
        return self.title.lower()


PEERS = (
    EnginePeer("Flower", MEANS | COORDINATES | KRUMS | {"bulyan"}, MEANS | COORDINATES),
    EnginePeer("NVFlare", MEANS, MEANS),
    EnginePeer("byzfl", MEANS | COORDINATES | KRUMS | {"geometric_median"}, COORDINATES),
)


def install() -> None:
    """Make every environment that is not there yet.

    Raises:
        SystemExit: one could not be installed.
    """
    for peer in PEERS:
        environments.python_of(peer.name)


def seconds_of(work: Work, made: MadeUpdates, ours: Path, repeat: int) -> dict[str, float]:
    """The seconds of every peer that does such work; `ours` is where our result lies.

    Raises:
        SystemExit: a peer failed, or has computed something else.
    """
    able = [peer for peer in PEERS if work.rule in peer.rules and not work.before]
    return {f"{peer.title} s": seconds_of_peer(peer, work, made, ours, repeat) for peer in able}


def seconds_of_peer(peer: EnginePeer, work: Work, made: MadeUpdates, ours: Path, repeat: int) -> float:
    """The shortest seconds of one peer."""
    with staged(environments.python_of(peer.name), flower.SETTINGS | ONE_THREAD) as stage:
        vector, answer = stage.directory / "vector.npy", stage.directory / "answer.json"
        asked = {
            "work": work.rule,
            "rows": str(made.rows_path),
            "examples": work.examples,
            "byzantine": work.byzantine,
            "repeat": repeat,
            "vector": str(vector),
            "answer": str(answer),
        }
        (stage.directory / "asked.json").write_text(json.dumps(asked))
        stage.run(str(stage.python), str(SCRIPTS / f"with_{peer.name}.py"), "asked.json", name=work.rule)
        if work.rule in peer.same:
            check_same(np.load(ours), np.load(vector), what=f"{work.rule} of {peer.title}")
        return float(json.loads(answer.read_text()))


def check_same(ours: Float64Vector, theirs: NDArray[Any], *, what: str) -> None:
    """Refuse to compare the seconds of two who compute different things; peers may round as float32 does.

    Raises:
        SystemExit: with the difference.
    """
    if ours.shape != theirs.shape:
        raise SystemExit(f"{what} has shape {theirs.shape}, ours {ours.shape}")
    apart, largest = float(np.abs(ours - theirs).max()), float(np.abs(ours).max())
    if not apart <= TOLERANCE * largest:
        raise SystemExit(f"{what} differs from ours by {apart:.3g}; the largest number is {largest:.3g}")
