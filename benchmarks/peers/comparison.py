"""A round of ours beside a round of each peer, in one run: the table of `./dev bench round --peers`.

A round lasts, for all three, from the moment at which every client holds a version to the moment at which every client
holds the next one. In between each client sends one update and pulls one model, and the server combines once. What is
not the same:

- Our clients begin together, when the last one has pulled. A peer's client begins as soon as it holds the model itself,
  and does not wait for those that are served last (favours the peers).
- Our updates are signed, sealed, checked one by one, on disk before they are answered, and logged; versions are kept.
  The peers send plaintext (favours the peers).
- A peer's client notes that it holds a model when its code gets it; ours when it has checked and stored it (favours the
  peers).
- Our clients train in a process that stays, as NVFlare's do. Flower starts one for each message, by its design (favours
  us).

As in ours, the first round warms up, and memory is looked at in rounds of its own at the end.
"""

import statistics
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from benchmarks import round as ours
from benchmarks.peers import deliveries, environments, flower, nvflare
from benchmarks.peers.stage import CLIENTS, SERVER, Load, Stage, staged
from benchmarks.processes import PeakMemory

SECONDS, SERVER_MEMORY, CLIENT_MEMORY = "s a round", "server MB", "MB a client"
Row = dict[str, str | float]


@dataclass(frozen=True)
class Peer:
    """Another system.

    Args:
        name: of its environment.
        title: in the table, before its version.
        package: what it is called in the package index.
        settings: environment variables of its processes.
        start: starts server, clients and training, and returns while they train.
    """

    name: str
    title: str
    package: str
    settings: Mapping[str, str]
    start: Callable[[Stage, Load], None]


PEERS = (
    Peer("flower", "Flower", "flwr", flower.SETTINGS, flower.start),
    Peer("nvflare", "NVFlare", "nvflare", nvflare.SETTINGS, nvflare.start),
)


def measure(*, sizes: tuple[int, ...] = ours.SIZES, repeat: int) -> list[Row]:
    """A row for each size and system."""
    for peer in PEERS:
        environments.python_of(peer.name)
    return [row for size in sizes for row in compared(list(systems(size, rounds=repeat)))]


def systems(parameters: int, *, rounds: int) -> Iterator[Row]:
    """What each system needs at one size, ours first; each is said when it is known, for the table takes its time."""
    measured = ours.measure_size(parameters, rounds=rounds)
    yield said(parameters, "ours", {name: measured[name] for name in (SECONDS, SERVER_MEMORY, CLIENT_MEMORY)})
    for peer in PEERS:
        title = f"{peer.title} {environments.pinned_version(peer.name, peer.package)}"
        yield said(parameters, title, measure_peer(peer, parameters, rounds=rounds))


def said(parameters: int, system: str, measured: Row) -> Row:
    """The row of one system, which is also printed, apart from the table."""
    row = {"parameters": f"{parameters:.0e}", "system": system} | measured
    print(*(f"{name} {value}" for name, value in row.items()), sep=", ", file=sys.stderr, flush=True)
    return row


def compared(rows: list[Row]) -> list[Row]:
    """The rows of one size with the ratio of ours, the first of them, to each."""
    first = float(rows[0][SECONDS])
    order = ("parameters", "system", SECONDS, "ours / it", SERVER_MEMORY, CLIENT_MEMORY)
    return [{name: (row | {"ours / it": first / float(row[SECONDS])})[name] for name in order} for row in rows]


def measure_peer(peer: Peer, parameters: int, *, rounds: int) -> Row:
    """The median seconds of a peer's rounds, and the peaks of proportional memory."""
    timed = ours.WARM_UP + rounds
    # one more: a round ends when all hold the model of the next
    load = Load(parameters, ours.CLIENTS, timed + ours.MEMORY_ROUNDS + 1)
    with staged(environments.python_of(peer.name), peer.settings) as stage:
        peer.start(stage, load)
        wait_for_deliveries(stage, peer, timed + 1)
        with PeakMemory(stage.groups) as memory:
            wait_for_deliveries(stage, peer, load.rounds)
        seconds = deliveries.round_seconds(deliveries.read_deliveries(stage.deliveries), clients=ours.CLIENTS)
    return {
        SECONDS: statistics.median(seconds[ours.WARM_UP : timed]),
        SERVER_MEMORY: memory.peak[SERVER] / ours.MEGABYTE,
        CLIENT_MEMORY: memory.peak[CLIENTS] / ours.MEGABYTE / ours.CLIENTS,
    }


def wait_for_deliveries(stage: Stage, peer: Peer, rounds: int) -> None:
    """Wait until all clients have held the models of so many rounds, one after the other."""
    for number in range(1, rounds + 1):
        stage.wait_for(lambda number=number: delivered(stage) >= number, what=f"model {number} of {peer.title}")


def delivered(stage: Stage) -> int:
    """The number of rounds whose model all clients have held."""
    return len(deliveries.delivered_rounds(deliveries.read_deliveries(stage.deliveries), clients=ours.CLIENTS))
