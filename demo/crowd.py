"""The demo's clients as seen from outside: one process each, its files in a private folder, what it prints read back.

A client's process gets its share as an .npz file, so that it needs neither pandas nor the market's file, and starts in
a fraction of a second. The processes are in groups of their own: Ctrl-C on the terminal reaches the demo alone, which
then stops them; and the kernel ends them if the demo itself is killed (local_stack.processes).
"""

import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from demo.outcome import Refusal
from demo.shares import Share
from local_stack.mesh import ROOT
from local_stack.processes import Process, Program

REGIONS = ("us-east-1", "eu-west-1", "ap-southeast-1")
MISBEHAVIOURS = {
    "garbage": "sends bytes that nobody can decrypt",
    "nan": "sends weights that are not numbers",
}
LAST_LINES = 12


class ClientDiedError(Exception):
    """A client's process ended before its time; the message holds its last lines."""


@dataclass(frozen=True)
class Member:
    """One client of the crowd. `misbehaviour` is a key of `MISBEHAVIOURS`; whoever misbehaves needs no share."""

    name: str
    kind: str
    region: str
    share: Share | None = None
    misbehaviour: str | None = None


def make_members(shares: Sequence[Share]) -> tuple[Member, ...]:
    """The honest clients, and one for each misbehaviour."""
    honest = [
        Member(name=share.name, kind=share.kind, region=REGIONS[index % len(REGIONS)], share=share)
        for index, share in enumerate(shares)
    ]
    return (
        *honest,
        *(Member(f"misfit-{name}", "user_device", REGIONS[0], misbehaviour=name) for name in MISBEHAVIOURS),
    )


class Crowd:
    """The processes of all members. As a context manager it stops them at the end, whatever happened.

    Args:
        members: who takes part.
        folder: private and empty; shares, homes and logs go there, and its owner removes it.
        url: where the mesh is.
        rounds: in how many rounds each takes part.
    """

    def __init__(self, members: Sequence[Member], *, folder: Path, url: str, rounds: int) -> None:
        self.members = tuple(members)
        self._folder, self._url, self._rounds = folder, url, rounds
        self._processes = {member.name: self._process(member) for member in members}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Write the shares and start everyone."""
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
        for member in self.members:
            if member.share is not None:
                np.savez(self._share_file(member), X=member.share.train.X, y=member.share.train.y)
            self._processes[member.name].start(environment=environment)

    def stop(self) -> None:
        """Stop everyone who still runs; all get their signal before any is waited for."""
        for process in self._processes.values():
            process.ask_to_stop()
        for process in self._processes.values():
            process.stop()

    def require_alive(self) -> None:
        """Look at every process.

        Raises:
            ClientDiedError: one ended with an error.
        """
        for name, process in self._processes.items():
            if not process.is_running() and process.exit_code:
                lines = "\n".join(process.log_tail().splitlines()[-LAST_LINES:])
                raise ClientDiedError(f"Client {name} ended with code {process.exit_code}. Its last lines:\n{lines}")

    def have_all_ended(self) -> bool:
        """Whether everyone has taken part in all rounds and left."""
        return not any(process.is_running() for process in self._processes.values())

    def refusals(self) -> list[Refusal]:
        """What the mesh answered to those who misbehave, as they printed it."""
        return [
            Refusal(member.name, MISBEHAVIOURS[member.misbehaviour], event["round"], event["code"])
            for member in self.members
            if member.misbehaviour
            for event in read_events(self._processes[member.name].log)
            if event["event"] == "refused"
        ]

    def _process(self, member: Member) -> Process:
        arguments = {
            "--url": self._url,
            "--name": member.name,
            "--kind": member.kind,
            "--region": member.region,
            "--home": str(self._folder / "homes" / member.name),
            "--rounds": str(self._rounds),
        }
        if member.share is not None:
            arguments["--share"] = str(self._share_file(member))
        if member.misbehaviour:
            arguments["--misbehave"] = member.misbehaviour
        flat = [part for pair in arguments.items() for part in pair]
        program = Program(member.name, (sys.executable, "-m", "demo.participant", *flat), stop_seconds=3.0)
        return Process(program, directory=self._folder, working_directory=ROOT)

    def _share_file(self, member: Member) -> Path:
        return self._folder / f"{member.name}.npz"


def read_events(log: Path) -> Iterator[dict[str, Any]]:
    """The events in a client's log; lines that are none (warnings, a traceback) are passed over."""
    for line in log.read_text(errors="replace").splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict) and "event" in event:
            yield event
