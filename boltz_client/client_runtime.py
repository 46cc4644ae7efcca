"""`FederatedClient`: the whole mesh as one object.

```python
client = FederatedClient("my-client", "http://localhost:8010")
client.register(region="us-east-1")
result = client.participate_in_round("boltz-core", {"X": X, "y": y}, round_number=1)
```

Each method is one call into the module that knows how. Nothing is asked of the network or the disk before the first
method.
"""

import weakref
from collections.abc import Collection, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import msgspec

from boltz_client import participation
from boltz_client.clock import Clock
from boltz_client.endpoints import Endpoints
from boltz_client.enrolment import Enrolment, Wanted
from boltz_client.errors import LocalError
from boltz_client.home import Home, default_home
from boltz_client.identity import Identity
from boltz_client.journal import Journal
from boltz_client.local_policy import LocalPolicy
from boltz_client.member import Member
from boltz_client.pinning import MeshKeys
from boltz_client.round_result import RoundResult
from boltz_client.trainers import Trainer
from boltz_client.transport import Transport
from boltz_client.versions import PulledModel, VersionCache
from boltz_protocol.messages import ClientKind, ClientRecord, Label, ModelView, RoundView, TrustView, UpdateStatus


class FederatedClient:
    """One client at one mesh.

    Args:
        name: the client's name at the mesh.
        base_url: where the mesh is, like https://mesh.example.com.
        home: folder for the key, the pinned keys, versions and receipts; default ~/.boltz/clients/<host_port>/<name>,
            or below BOLTZ_CLIENT_HOME.
        passphrase: encrypts the key file.
        local_policy: what this participant agrees to.
        trainer: trains every round unless the call brings another; default by the model's task.
        transport: an httpx transport, to reach a mesh inside this process.
        pinned_keys: key ids of the mesh, known beforehand; without them those of the first contact are pinned.
        clock: where time and random bytes come from.

    All methods raise `FederatedClientError`; the message says what to do.
    """

    def __init__(
        self,
        name: str,
        base_url: str,
        *,
        home: Path | str | None = None,
        passphrase: str | None = None,
        local_policy: LocalPolicy | None = None,
        trainer: Trainer | None = None,
        transport: httpx.BaseTransport | None = None,
        pinned_keys: Collection[str] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.name = _label(name, "name")
        self._clock = clock or Clock()
        self._transport = Transport(base_url, clock=self._clock, http=transport)
        self._close = weakref.finalize(self, self._transport.close)
        self.home = Path(home).expanduser() if home else default_home(name, self._transport.authority)
        self._local_policy, self._trainer = local_policy or LocalPolicy(), trainer
        store = Home(self.home)
        self._endpoints = Endpoints(self._transport, self._signer)
        self._enrolment = Enrolment(store, self._endpoints, passphrase, self._clock)
        self._keys = MeshKeys(store, self._endpoints.key_set, given=pinned_keys)
        self._versions = VersionCache(store, self._endpoints, self._keys)
        self._journal = Journal(store)
        self._identity: Identity | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; also happens by itself."""
        self._close()

    def register(self, region: str, kind: ClientKind = "user_device", token: str | None = None) -> ClientRecord:
        """Enrol at the mesh. Calling it again changes nothing, and finishes what an interrupted call had begun.

        But a client that waits for an operator's approval is let in by a token that is given later.
        """
        kind = _client_kind(kind)
        self._keys.load()
        self._identity = None
        return self._enrolment.register(Wanted(self.name, _label(region, "region"), kind, token))

    def models(self) -> tuple[ModelView, ...]:
        """All models of the mesh."""
        return self._endpoints.models()

    def pull(self, model: str, version: int | None = None) -> PulledModel:
        """A version of a model (None: the latest), verified; fetched only if the one at hand is not current."""
        return self._versions.pull(model, version).pulled()

    def participate_in_round(
        self,
        model: str,
        data: Mapping[str, Any],
        round_number: int | None = None,
        *,
        trainer: Trainer | None = None,
        wait_for_result: bool | float = False,
        wait_for_open: bool | float = False,
    ) -> RoundResult:
        """Train on `data` and send the update; the data stays here.

        Calling it again for a round that this home has sent to returns that update's result (`resumed`), also after a
        crash.

        Args:
            model: its name.
            data: {"X": features, "y": target}; arrays in the model's order of features, or pandas with its column
                names. Rows with missing or infinite values are dropped and counted.
            round_number: None: the current round.
            trainer: for this call; default: the client's, else the task's.
            wait_for_result: True: until the decision is out; a number: at most that many seconds.
            wait_for_open: the same, for a round that is scheduled.
        """
        chosen = trainer or self._trainer
        request = participation.Request(model, data, round_number, chosen, wait_for_open, wait_for_result)
        return participation.take_part(self._member(), request)

    def status(self, model: str, round_number: int | None = None) -> UpdateStatus:
        """What became of this home's update; None: its newest for the model."""
        newest = round_number is None
        entry = self._journal.latest(model) if newest else self._journal.read(model, round_number or 0)
        if entry is None:
            which = model if newest else f"{model} round {round_number}"
            raise LocalError(f"this home has sent no update for {which}", code="nothing_sent")
        return self._endpoints.update_status(model, entry.round, entry.upload_id)

    def record(self) -> ClientRecord:
        """This client as the mesh sees it."""
        return self._enrolment.refresh(self._signer())

    def trust(self) -> TrustView:
        """This client's reputation."""
        return self.record().trust

    def round(self, model: str, number: int | None = None) -> RoundView:
        """One round; None: the current one."""
        return self._endpoints.round(model, number)

    def rounds(self, model: str, limit: int = 20) -> tuple[RoundView, ...]:
        """The newest rounds of a model, newest first."""
        return self._endpoints.rounds(model, limit=limit)

    def rotate_key(self) -> ClientRecord:
        """Replace this client's key by a new one."""
        record = self._enrolment.rotate_key(self._enrolment.registration())
        self._identity = None
        return record

    def leave(self) -> None:
        """Leave the mesh and be erased there; the key here is deleted, receipts are kept."""
        self._enrolment.leave()
        self._identity = None

    def _signer(self) -> Identity:
        if self._identity is None:
            self._enrolment.registration()
            self._identity = self._enrolment.identity()
        return self._identity

    def _member(self) -> Member:
        identity = self._signer()
        return Member(
            identity=identity,
            record=self._enrolment.registration(),
            endpoints=self._endpoints,
            keys=self._keys,
            versions=self._versions,
            journal=self._journal,
            local_policy=self._local_policy,
            clock=self._clock,
        )


def _label(value: str, what: str) -> str:
    try:
        return msgspec.convert(value, Label)
    except msgspec.ValidationError as error:
        raise LocalError(f"{what} must be 1 to 128 printable characters, not {value!r}", code=f"bad_{what}") from error


def _client_kind(value: str) -> ClientKind:
    try:
        kind: ClientKind = msgspec.convert(value, ClientKind)
    except msgspec.ValidationError as error:
        raise LocalError(
            f"kind must be broker_adapter, edge_node, partner_firm or user_device, not {value!r}", code="bad_kind"
        ) from error
    return kind
