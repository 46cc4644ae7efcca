"""One client of the demo in a process of its own: `python -m demo.participant --help`.

Reads its share, enrols, takes part in rounds 1 to R through the SDK as any participant would, and prints one line of
JSON for each thing that happens. Imports little, so that many can start at once.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from boltz_client import FederatedClient, FederatedClientError, RoundResult, polling
from boltz_client.round_result import is_decided
from demo import misbehaviour

MODEL = "boltz-core"
LOOK_SECONDS = 0.25
PATIENCE_SECONDS = 120.0

Say = Callable[..., None]


class RoundNeverOpenedError(Exception):
    """A round did not open in time."""


def print_event(event: str, **facts: Any) -> None:
    """One line of JSON, for whoever started this process."""
    print(json.dumps({"event": event, **facts}), flush=True)


def wait_for_round(client: FederatedClient, number: int) -> None:
    """Return once the round is open or past.

    Raises:
        RoundNeverOpenedError: it has not been opened after `PATIENCE_SECONDS`.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not any(view.round >= number and view.state != "scheduled" for view in client.rounds(MODEL, limit=1)):
        if time.monotonic() > deadline:
            raise RoundNeverOpenedError(f"{MODEL} round {number} has not opened in {PATIENCE_SECONDS:.0f} s")
        time.sleep(LOOK_SECONDS)


def take_part(client: FederatedClient, share: Path, rounds: int, *, say: Say = print_event) -> None:
    """Train and send one update a round; say what became of it once the next round is there."""
    with np.load(share) as arrays:
        data = {"X": arrays["X"], "y": arrays["y"]}
    result: RoundResult | None = None
    for number in range(1, rounds + 1):
        wait_for_round(client, number)
        if result is not None:
            say_decision(result.wait(PATIENCE_SECONDS), say)
        result = client.participate_in_round(MODEL, data, round_number=number)
        say("sent", round=number, norm=result.norm_sent, clipped=result.clipped, examples=result.examples)
    if result is not None:
        say_decision(result.wait(PATIENCE_SECONDS), say)


def say_decision(result: RoundResult, say: Say) -> None:
    """What became of an update, and with which weight."""
    weight = result.status.weight if result.status else None
    say("decided", round=result.round, decision=result.decision, weight=weight)


def misbehave(client: FederatedClient, how: str, rounds: int, *, say: Say = print_event) -> None:
    """Send one bad update a round and say how it was answered."""
    member = client._member()  # noqa: SLF001 - to misbehave is to go where the SDK's public methods do not lead
    for number in range(1, rounds + 1):
        wait_for_round(client, number)
        place = misbehaviour.send_misbehaving(member, MODEL, number, how)
        status = polling.poll(
            lambda seconds, place=place: member.endpoints.update_status(
                MODEL, place.round, place.upload_id, wait_seconds=seconds
            ),
            is_decided,
            clock=member.clock,
            timeout_seconds=PATIENCE_SECONDS,
        )
        say("refused" if status.state == "rejected" else "decided", round=number, code=status.code, state=status.state)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m demo.participant", description="One client of the demo.")
    parser.add_argument("--url", required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--kind", required=True)
    parser.add_argument("--region", required=True)
    parser.add_argument("--home", type=Path, required=True, help="folder for its key and its receipts")
    parser.add_argument("--rounds", type=int, required=True)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--share", type=Path, help=".npz file with X and y")
    what.add_argument("--misbehave", choices=sorted(misbehaviour.BODIES))
    return parser.parse_args()


def main() -> int:
    """Enrol, take part, leave quietly; exit code 1 with a last line that says why when something went wrong."""
    options = arguments()
    try:
        with FederatedClient(options.name, options.url, home=options.home) as client:
            record = client.register(region=options.region, kind=options.kind)
            print_event("registered", client_id=record.id, status=record.status)
            if options.misbehave:
                misbehave(client, options.misbehave, options.rounds)
            else:
                take_part(client, options.share, options.rounds)
    except (FederatedClientError, RoundNeverOpenedError) as error:
        print_event("failed", error=type(error).__name__, message=str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
