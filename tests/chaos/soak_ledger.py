"""What is known of a soak without asking the mesh: who has sent which vector where, and what was done to whom.

Written before each act, completed after it; read by the checks.
"""

import contextlib
import hashlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from boltz_client.home import Home
from boltz_client.journal import Journal as ClientJournal
from tests.chaos.soak_plan import GOOD

CANARY = 4.0
# every client has the places of one number; what is left holds noise
OWNERS = 97
# who may not count in a round that is frozen afterwards
REMOVALS = ("suspend", "revoke", "erase", "leave")


@dataclass
class Sending:
    """One client's part in one round. `client` is a name: who comes back after an erasure has another one.

    The vector is drawn anew each time: a long soak has many.
    """

    client: str
    index: int
    model: str
    number: int
    kind: str
    examples: int
    draw: Callable[[], np.ndarray]
    upload_id: str | None = None
    digests: set[str] = field(default_factory=set)
    receipts: list = field(default_factory=list)

    @property
    def vector(self):
        """What its client adds to the weights."""
        return self.draw()

    @property
    def good(self):
        """Whether there is nothing wrong with it."""
        return self.kind in GOOD

    def delta(self, base):
        """What was sent, exactly: a trainer adds the vector to the weights, and the SDK subtracts them again."""
        return (base + self.vector) - base if self.kind == "honest" else self.vector


@dataclass
class Act:
    """Something done to a client, which may or may not have happened until it has `ended_at`."""

    kind: str
    client: str
    began_at: float
    ended_at: float | None = None


class Ledger:
    """All of it. `homes` is the folder of the clients' homes."""

    def __init__(self, homes):
        self._homes = homes
        self._lock = threading.Lock()
        self._sendings = {}
        self._acts = []

    def sending(self, client, model, number, make):
        """The client's sending in a round; `make` makes it the first time."""
        with self._lock:
            found = self._sendings.setdefault((model, number), {})
            if client not in found:
                found[client] = make()
            return found[client]

    def sendings(self, model, number):
        """What was sent in a round, by upload id; of what went through the SDK its own journal tells."""
        with self._lock:
            sent = list(self._sendings.get((model, number), {}).values())
        for one in sent:
            if one.kind == "honest":
                self._read_journal(one)
        return {one.upload_id: one for one in sent if one.upload_id is not None}

    def names(self):
        """Every name under which somebody has sent."""
        with self._lock:
            return {name for senders in self._sendings.values() for name in senders}

    @contextlib.contextmanager
    def act(self, kind, client):
        """Note an act; one that raises stays open: it may have happened."""
        act = Act(kind, client, began_at=time.time())
        with self._lock:
            self._acts.append(act)
        yield
        act.ended_at = time.time()

    def acts(self, client, *kinds):
        """What was done to a client, in order."""
        with self._lock:
            return [act for act in self._acts if act.client == client and act.kind in kinds]

    def may_be_out(self, client, until):
        """Whether anything can have kept a client out at some time before `until`."""
        return any(act.began_at <= until for act in self.acts(client, *REMOVALS))

    def is_out(self, client, since, until):
        """Whether a client was certainly kept out all the time from `since` to `until`."""
        back = [act.began_at for act in self.acts(client, "resume")]
        for act in self.acts(client, *REMOVALS):
            if act.ended_at is None or act.ended_at >= since:
                continue
            if act.kind != "suspend" or not any(act.ended_at <= began <= until for began in back):
                return True
        return False

    def _read_journal(self, sending):
        entry = ClientJournal(Home(self._homes / sending.client)).read(sending.model, sending.number)
        if entry is not None:
            sending.upload_id = entry.upload_id
            sending.digests |= set(entry.sent)
            if entry.receipt is not None and not sending.receipts:
                sending.receipts.append(entry.receipt)


def known_vector(seed, *, client, index, model, number, parameters, clients):
    """The vector of a client in a round: noise, and at the places of the clients nothing but its own canary."""
    digest = hashlib.sha256(f"{seed} vector {client} {model} {number}".encode()).digest()
    noise = np.random.default_rng(int.from_bytes(digest[:8])).normal(scale=0.1, size=parameters)
    owner = np.arange(parameters) % OWNERS
    return np.where(owner < clients, (owner == index) * CANARY, noise).astype("<f4")
