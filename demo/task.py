"""What `boltz-core` is: the starter model that the server creates and the demo trains, read from one file.

The file (`boltz_federated/starter_models/boltz-core.json`) holds the task, the policy, and beside each number why it is
that number. The demo only checks here that the features it builds are the features the task asks for.
"""

from pathlib import Path

import msgspec

from boltz_protocol.messages import RoundPolicy, TaskSpec
from demo import market

STARTERS = Path(__file__).resolve().parent.parent / "boltz_federated" / "starter_models"


class StarterModel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A starter file: `why` gives the reason for each choice and is read by people only."""

    name: str
    why: dict[str, str]
    task: TaskSpec
    policy: RoundPolicy


class TaskMismatchError(Exception):
    """The task's features are not the ones that `market` builds."""


def read_starter(name: str) -> StarterModel:
    """One starter model by its name."""
    return msgspec.json.decode((STARTERS / f"{name}.json").read_bytes(), type=StarterModel)


def volatility_task() -> TaskSpec:
    """The task of `boltz-core`.

    Raises:
        TaskMismatchError: its features, or their order, differ from `market.FEATURES`.
    """
    task = read_starter("boltz-core").task
    if task.features != market.FEATURES:
        raise TaskMismatchError(f"boltz-core asks for {task.features}; the demo builds {market.FEATURES}")
    return task
