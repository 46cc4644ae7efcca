"""The mesh's endpoints (wire-protocol.md) as calls that take and give messages; no decisions."""

from collections.abc import Callable

import httpx
import msgspec

from boltz_client.errors import LocalError, MeshAnswerError
from boltz_client.retries import FOR_UPLOADS
from boltz_client.transport import ENVELOPE, JSON, Answer, Call, Signer, Transport
from boltz_protocol import codec
from boltz_protocol.messages import (
    ClientRecord,
    EnrolmentRequest,
    KeyRotationRequest,
    KeySet,
    ModelList,
    ModelView,
    Name,
    Participation,
    RoundList,
    RoundView,
    SignedDocument,
    UpdateStatus,
)

# an answer that is held longer than this could be taken for a connection that is lost
LONGEST_HOLD_SECONDS = 20.0


class Endpoints:
    """The mesh behind `transport`; requests are signed by whoever `signer` gives at that moment."""

    def __init__(self, transport: Transport, signer: Callable[[], Signer]) -> None:
        self.transport = transport
        self._signer = signer

    def key_set(self) -> KeySet:
        """The keys that the mesh shows. The only request without a signature."""
        return self.transport.call(Call("GET", "/keys"), signer=None).read(KeySet)

    def enrol(self, request: EnrolmentRequest, *, signer: Signer) -> ClientRecord:
        """Enrol; signed by the key in the request."""
        return self.transport.call(_json("POST", "/clients", request), signer=signer).read(ClientRecord)

    def me(self, *, signer: Signer | None = None) -> ClientRecord:
        """The own record."""
        return self.transport.call(Call("GET", "/clients/me"), signer=signer or self._signer()).read(ClientRecord)

    def rotate_key(self, request: KeyRotationRequest, *, signer: Signer) -> ClientRecord:
        """Replace the key; signed by the old one."""
        return self.transport.call(_json("POST", "/clients/me/keys", request), signer=signer).read(ClientRecord)

    def leave(self) -> None:
        """Leave and be erased."""
        self.transport.call(Call("DELETE", "/clients/me"), signer=self._signer())

    def models(self) -> tuple[ModelView, ...]:
        """All models."""
        return self._get("/models").read(ModelList).models

    def model(self, name: str) -> ModelView:
        """One model."""
        return self._get(model_path(name)).read(ModelView)

    def rounds(self, model: str, *, limit: int) -> tuple[RoundView, ...]:
        """The newest rounds of a model."""
        return self._get(f"{model_path(model)}/rounds", limit=str(limit)).read(RoundList).rounds

    def round(self, model: str, number: int | None) -> RoundView:
        """One round; None: the current one."""
        return self._get(f"{model_path(model)}/rounds/{number_or(number, 'current')}").read(RoundView)

    def manifest(self, model: str, number: int | None, *, at_hand: SignedDocument | None = None) -> SignedDocument:
        """A version's signed manifest (None: the latest); not sent when it is the one at hand.

        Raises:
            MeshAnswerError: 304 (not modified), and nothing was at hand.
        """
        path = f"{model_path(model)}/versions/{number_or(number, 'latest')}"
        headers = {} if at_hand is None else {"If-None-Match": codec.etag(at_hand)}
        answer = self.transport.call(Call("GET", path, headers=headers), signer=self._signer())
        if answer.status != httpx.codes.NOT_MODIFIED:
            return answer.read(SignedDocument)
        if at_hand is None:
            raise MeshAnswerError(f"the mesh answered 304 (not modified) for {path}, of which this home keeps nothing")
        return at_hand

    def join(self, model: str, number: int) -> Participation:
        """Join a round: the answer names the upload id, the same one each time."""
        call = _json("POST", f"{model_path(model)}/rounds/{number}/participation", {})
        return self.transport.call(call, signer=self._signer()).read(Participation)

    def send_update(self, place: Participation, body: bytes | memoryview, *, body_sha256: bytes) -> SignedDocument:
        """Send an envelope; the answer is the receipt."""
        call = Call(
            "PUT",
            _update_path(place.model, place.round, place.upload_id),
            body=body,
            body_sha256=body_sha256,
            content_type=ENVELOPE,
            progress=f"sending an update for {place.model}",
        )
        return self.transport.call(call, signer=self._signer(), policy=FOR_UPLOADS).read(SignedDocument)

    def update_status(self, model: str, number: int, upload_id: str, *, wait_seconds: float = 0.0) -> UpdateStatus:
        """What became of an update; the mesh may hold its answer for `wait_seconds` while nothing is decided."""
        seconds = int(min(wait_seconds, LONGEST_HOLD_SECONDS))
        headers = {"Prefer": f"wait={seconds}"} if seconds else {}
        call = Call("GET", _update_path(model, number, upload_id), headers=headers)
        return self.transport.call(call, signer=self._signer()).read(UpdateStatus)

    def artifact(self, model: str, number: int, *, headers: dict[str, str]) -> tuple[Call, Signer]:
        """The request for a version's weights; they are streamed (artifact.py), so the caller opens it."""
        call = Call("GET", f"{model_path(model)}/versions/{number}/artifact", headers=headers)
        return call, self._signer()

    def _get(self, path: str, **params: str) -> Answer:
        return self.transport.call(Call("GET", path, params=params), signer=self._signer())


def model_path(name: str) -> str:
    """Where a model is.

    Raises:
        LocalError: `name` cannot be a model's (and so must not get into a path).
    """
    try:
        msgspec.convert(name, Name)
    except msgspec.ValidationError as error:
        raise LocalError(f"{name!r} cannot be the name of a model (like boltz-core)", code="bad_model_name") from error
    return f"/models/{name}"


def number_or(number: int | None, word: str) -> str:
    """A path segment: the number, or the word that stands for the newest."""
    return word if number is None else str(int(number))


def _update_path(model: str, number: int, upload_id: str) -> str:
    return f"{model_path(model)}/rounds/{number}/updates/{upload_id}"


def _json(method: str, path: str, message: object) -> Call:
    return Call(method, path, body=codec.encode(message), content_type=JSON)
