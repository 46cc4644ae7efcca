"""One run of the demo from the first process to the last: data, mesh, clients, rounds, report.

Whatever happens in between, everything that was started is stopped and the temporary directory is removed (context
managers, innermost first: clients, mesh, directory).
"""

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.live import Live

from boltz_client import FederatedClient, FederatedClientError
from boltz_protocol.messages import RoundView
from demo import baselines, crowd, market, metrics, report, shares, stage, summary, table, task
from demo.crowd import ClientDiedError, Crowd
from demo.observer import Observer, RoundLostError
from demo.outcome import Outcome
from local_stack import interrupts, unprivileged
from local_stack.mesh import Mesh

LOOK_SECONDS = 0.25
STALL_SECONDS = 90.0
LEAVE_SECONDS = 30.0


class RunFailedError(Exception):
    """The demo could not finish; the message says why and holds what its parts said last."""


def run(options: argparse.Namespace) -> int:
    """Run the demo; returns the exit code."""
    started = time.monotonic()
    try:
        stage.require_free_port(options.port)
        say(f"reading the market and drawing shares for {options.clients} clients (seed {options.seed})")
        outcome = prepare(clients=options.clients, rounds=options.rounds, seed=options.seed)
        with (
            unprivileged.temporary_directory("demo") as folder,
            stage.open_mesh(folder / "mesh", port=options.port) as mesh,
        ):
            members = crowd.make_members(outcome.shares)
            say(f"starting PostgreSQL, Redis, web, worker, beat and reconciler; the API will be at {mesh.url}")
            stage.start_mesh(mesh, members=len(members))
            say(f"starting {len(members)} clients, each in a process of its own")
            with Crowd(members, folder=clients_folder(folder), url=mesh.url, rounds=options.rounds) as everyone:
                everyone.start()
                watch(outcome, mesh, everyone)
                see_off(everyone)
                outcome.refusals = everyone.refusals()
            outcome.seconds = time.monotonic() - started
            report.write_report(outcome, options.report)
            tell(outcome, options.report)
            if options.keep:
                keep(mesh)
    except (
        RunFailedError,
        ClientDiedError,
        RoundLostError,
        FederatedClientError,
        market.MissingMarketDataError,
    ) as error:
        print(f"The demo failed. {error}", file=sys.stderr)
        return 1
    return 0


def prepare(*, clients: int, rounds: int, seed: int) -> Outcome:
    """Draw the shares and score the baselines."""
    volatility = task.volatility_task()
    drawn = shares.make_shares(market.load_market(), clients=clients, seed=seed)
    return Outcome(
        seed=seed,
        rounds=rounds,
        shares=drawn,
        naive=metrics.score(drawn, [baselines.naive(share) for share in drawn]),
        local_only=metrics.score(drawn, [baselines.local_only(share, volatility) for share in drawn]),
    )


def watch(outcome: Outcome, mesh: Mesh, everyone: Crowd) -> None:
    """Show each round as it goes, until all are published.

    Raises:
        RunFailedError: nothing was published for `STALL_SECONDS`.
        ClientDiedError, RoundLostError, ProcessFailedError: something ended that should not have.
    """
    with FederatedClient("demo-observer", mesh.url, home=mesh.directory / "observer") as client:
        client.register(region=crowd.REGIONS[0], kind="edge_node")
        observer = Observer(client, model=stage.MODEL, task=task.volatility_task())
        with display(outcome) as shown:
            last = time.monotonic()
            while len(outcome.lines) < outcome.rounds:
                before = len(outcome.lines)
                shown.show(observer.look(outcome))
                if len(outcome.lines) > before:
                    last = time.monotonic()
                look_after(mesh, everyone, idle_seconds=time.monotonic() - last)
                time.sleep(LOOK_SECONDS)
            shown.show(None)


def look_after(mesh: Mesh, everyone: Crowd, *, idle_seconds: float) -> None:
    """Find out early that something has ended or stands still."""
    everyone.require_alive()
    for process in mesh.processes.values():
        process.require_running()
    if idle_seconds > STALL_SECONDS:
        logs = "\n".join(f"--- {name} ---\n{process.log_tail()}" for name, process in mesh.processes.items())
        raise RunFailedError(f"No round was published for {STALL_SECONDS:.0f} s. The mesh's logs end with:\n{logs}")


class LiveTable:
    """On a terminal: one table that grows."""

    def __init__(self, outcome: Outcome, live: Live) -> None:
        self._outcome, self._live = outcome, live

    def show(self, running: RoundView | None) -> None:
        """Draw the table anew."""
        self._live.update(table.live_table(self._outcome, running))


class PlainLines:
    """In a pipe or a log: one line a round, once it is out."""

    def __init__(self, outcome: Outcome) -> None:
        self._outcome, self._shown = outcome, 0

    def show(self, running: RoundView | None) -> None:
        """Print the lines that are new; a round that still runs has none yet."""
        del running
        for line in self._outcome.lines[self._shown :]:
            print(table.plain_line(line, self._outcome), flush=True)
        self._shown = len(self._outcome.lines)


@contextmanager
def display(outcome: Outcome) -> Iterator[LiveTable | PlainLines]:
    """How rounds are shown: a live table on a terminal, else plain lines."""
    console = Console()
    if console.is_terminal:
        with Live(table.live_table(outcome), console=console) as live:
            yield LiveTable(outcome, live)
    else:
        yield PlainLines(outcome)


def see_off(everyone: Crowd) -> None:
    """Let the clients read their last decision and leave.

    Raises:
        RunFailedError: one stays.
    """
    deadline = time.monotonic() + LEAVE_SECONDS
    while not everyone.have_all_ended():
        everyone.require_alive()
        if time.monotonic() > deadline:
            raise RunFailedError(f"Not every client has left {LEAVE_SECONDS:.0f} s after the last round.")
        time.sleep(LOOK_SECONDS)
    everyone.require_alive()


def clients_folder(folder: Path) -> Path:
    """The clients' private folder: shares and keys lie there for as long as they run."""
    clients = folder / "clients"
    clients.mkdir(mode=0o700)
    return clients


def tell(outcome: Outcome, path: Path) -> None:
    """The summary, and where the report is."""
    print("", *summary.summary_lines(outcome), f"Report: {path}", sep="\n", flush=True)


def keep(mesh: Mesh) -> None:
    """Leave the mesh to be looked at, until Ctrl-C."""
    print(
        "",
        f"The mesh is still up: {mesh.url}/admin/",
        f"  log in as   admin   {mesh.new_admin_password()}",
        f"  API         {mesh.url}/api/docs/",
        "Ctrl-C stops everything; nothing is kept.",
        sep="\n",
        flush=True,
    )
    try:
        while True:
            for process in mesh.processes.values():
                process.require_running()
            time.sleep(1)
    except interrupts.InterruptedBySignal:
        say("stopping")


def say(text: str) -> None:
    """Progress, to a person."""
    print(text, file=sys.stderr, flush=True)
