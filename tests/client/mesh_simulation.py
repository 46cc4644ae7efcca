"""A small mesh in memory that keeps the wire protocol honestly: it verifies every signature, spends nonces and opens envelopes.

Tests make it unreliable with `lose_answer`, `lose_request`, `answer` and `tamper`, and dishonest by changing its public state.
It speaks httpx's MockTransport; `http_server.py` puts the same mesh behind a socket.
"""

import hashlib
import io
import itertools
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache

import httpx
import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from msgspec import structs

from boltz_client.clock import Clock
from boltz_protocol import codec, envelope, http_signature, signing, tasks, tensors
from boltz_protocol.encoding import base64url, from_base64url
from boltz_protocol.errors import BoltzError
from boltz_protocol.leaves import LogLeaf
from boltz_protocol.messages import (
    ClientRecord,
    EnrolmentRequest,
    KeyRotationRequest,
    KeyRotationStatement,
    KeySet,
    KeySuccession,
    ModelList,
    ModelView,
    Participation,
    Problem,
    Receipt,
    RoundDescriptor,
    RoundList,
    RoundPolicy,
    RoundView,
    SignedDocument,
    TaskSpec,
    TrustView,
    UpdateStatus,
    VersionManifest,
)
from boltz_protocol.signing import Purpose

AUTHORITY = "mesh.test"
URL = f"http://{AUTHORITY}"
START = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
FEATURES = ("spread", "volume", "momentum")

LINEAR = TaskSpec(
    kind="linear",
    features=FEATURES,
    center=(0.0, 100.0, 1.0),
    scale=(1.0, 50.0, 2.0),
    clip=5.0,
    target="next_day",
    metric="r2",
)
MLP = structs.replace(LINEAR, kind="mlp", hidden=(4,), activation="tanh")
CUSTOM = structs.replace(LINEAR, kind="custom", features=(), center=(), scale=(), metric="own")
POLICY = RoundPolicy(
    mode="robust",
    rule="weighted_mean",
    max_norm=10.0,
    quorum=1,
    target=10,
    example_cap=10_000,
    round_seconds=3600,
    replay_window_days=0,
)


@cache
def rsa_key(number: int) -> RSAPrivateKey:
    """The number-th encryption key; making one takes long, so each process makes it once."""
    return generate_private_key(public_exponent=65537, key_size=3072)


class TestClock:
    """Time that passes only when someone sleeps."""

    __test__ = False

    def __init__(self) -> None:
        self.seconds = START.timestamp()
        self.slept: list[float] = []
        self._counter = itertools.count()

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.seconds += seconds

    def random_bytes(self, count: int) -> bytes:
        return hashlib.shake_256(str(next(self._counter)).encode()).digest(count)

    def now(self) -> float:
        return self.seconds

    def utc(self) -> datetime:
        return datetime.fromtimestamp(self.seconds, tz=UTC)

    def for_client(self, *, offset_seconds: float = 0.0, seed: int = 0) -> Clock:
        """The clock as the SDK takes it, wrong by an offset if the test says so."""
        return Clock(
            now=lambda: self.seconds + offset_seconds,
            monotonic=lambda: self.seconds,
            sleep=self.sleep,
            random_bytes=lambda count: hashlib.shake_256(f"{seed}/{next(self._counter)}".encode()).digest(count),
        )


class ProblemError(Exception):
    """What a handler raises to answer with a problem."""

    def __init__(self, status: int, code: str, detail: str = "", *, server_time: datetime | None = None) -> None:
        super().__init__(code)
        self.status = status
        self.problem = Problem(
            kind=f"urn:boltz-mesh:problem:{code}",
            title=code,
            status=status,
            detail=detail or f"the mesh says {code}",
            code=code,
            server_time=server_time,
        )


class SigningKey:
    """An Ed25519 key of the mesh."""

    def __init__(self) -> None:
        self.private = Ed25519PrivateKey.generate()
        self.public = self.private.public_key().public_bytes_raw()
        self.kid = signing.thumbprint(self.public)

    def sign_document(self, message: object, purpose: Purpose) -> SignedDocument:
        return signing.sign_document(message, purpose=purpose, kid=self.kid, sign=self.private.sign)


@dataclass
class MeshClient:
    record: ClientRecord
    keys: dict[str, bytes]


@dataclass
class MeshUpdate:
    client_id: str
    place: Participation
    body_sha256: str
    body: bytes
    header: object
    claims: object
    delta: np.ndarray
    receipt: SignedDocument
    state: str = "staged"
    code: str | None = None
    reason: str | None = None


@dataclass
class MeshRound:
    number: int
    base: int
    state: str = "open"
    opens_at: datetime = START
    encryption: int = 0
    policy: RoundPolicy = POLICY
    version: int | None = None
    joined: dict[str, str] = field(default_factory=dict)
    updates: dict[str, MeshUpdate] = field(default_factory=dict)


@dataclass
class Fault:
    """Meets requests whose "METHOD path" matches `pattern`, `times` times."""

    pattern: str
    times: int
    act: Callable[[httpx.Request, Callable[[httpx.Request], httpx.Response]], httpx.Response]


class SimulatedMesh:
    """One model, its rounds, its clients."""

    def __init__(
        self, task: TaskSpec = LINEAR, *, clock: TestClock | None = None, weights: dict[str, np.ndarray] | None = None
    ) -> None:
        self.clock = clock or TestClock()
        self.task, self.model = task, "boltz-core"
        self.signing_keys = [SigningKey()]
        self.successions: list[SignedDocument] = []
        self.clients: dict[str, MeshClient] = {}
        self.nonces: set[tuple[str, str]] = set()
        self.enrolment_state = "active"
        self.vectors: list[np.ndarray] = []
        self.manifests: list[VersionManifest] = []
        self.rounds: dict[int, MeshRound] = {}
        self.faults: list[Fault] = []
        self.log: list[str] = []
        self.bodies: list[bytes] = []
        first = weights if weights is not None else tasks.seed_weights(task, seed=b"test")
        self.layout = tensors.Layout.of(first)
        self.add_version(tensors.flatten(first, self.layout))
        self.open_round()

    # --- what tests do to it

    def hold_looks(self) -> list[str | None]:
        """Hold each look at an update for as long as it would wait; returns what looks ask for, as they come."""
        asked: list[str | None] = []

        def act(request: httpx.Request, proceed: Callable[[httpx.Request], httpx.Response]) -> httpx.Response:
            asked.append(request.headers.get("Prefer"))
            if asked[-1]:
                self.clock.seconds += float(asked[-1].removeprefix("wait="))
            return proceed(request)

        self.faults.append(Fault("GET .*/updates/", 10**6, act))
        return asked

    def transport(self) -> httpx.MockTransport:
        return httpx.MockTransport(self.handle)

    def add_version(self, vector: np.ndarray, *, round_number: int | None = None) -> VersionManifest:
        raw = tensors.encode_safetensors(vector, self.layout)
        manifest = VersionManifest(
            v=1,
            model=self.model,
            number=len(self.manifests),
            mode="robust",
            task=self.task,
            layout=self.layout.specs,
            layout_digest=self.layout.digest,
            weights_sha256=hashlib.sha256(raw).hexdigest(),
            weights_bytes=len(raw),
            base_sha256=self.manifests[-1].weights_sha256 if self.manifests else None,
            round=round_number,
            members=0,
            created_at=self.clock.utc(),
        )
        self.vectors.append(vector)
        self.manifests.append(manifest)
        return manifest

    def open_round(self, *, state: str = "open", opens_at: datetime | None = None, **changes: object) -> MeshRound:
        number = len(self.rounds) + 1
        policy = structs.replace(POLICY, **changes)
        opened = MeshRound(
            number, base=len(self.manifests) - 1, state=state, opens_at=opens_at or self.clock.utc(), policy=policy
        )
        self.rounds[number] = opened
        return opened

    def publish(self, number: int) -> VersionManifest:
        """The plain mean of what was accepted becomes the next version."""
        round_ = self.rounds[number]
        deltas = [update.delta for update in round_.updates.values() if update.state == "staged"]
        step = np.mean(deltas, axis=0).astype(np.float32)
        manifest = self.add_version(self.vectors[round_.base] + step, round_number=number)
        round_.state, round_.version = "published", manifest.number
        for update in round_.updates.values():
            update.state = "aggregated" if update.state == "staged" else update.state
        return manifest

    def rotate_signing_key(self) -> SigningKey:
        old, new = self.signing_keys[-1], SigningKey()
        self.signing_keys.append(new)
        self.successions.append(self.succession(old, new))
        return new

    def succession(self, old: SigningKey, new: SigningKey) -> SignedDocument:
        jwk = signing.ed25519_jwk(new.public, state="current", not_before=self.clock.utc())
        message = KeySuccession(v=1, old_kid=old.kid, new=jwk, created_at=self.clock.utc())
        return old.sign_document(message, Purpose.KEY_SUCCESSION)

    def retire_encryption_key(self, number: int = 1) -> None:
        self.rounds[number].encryption += 1

    def lose_answer(self, pattern: str, times: int = 1) -> None:
        """The request is carried out; its answer never arrives."""

        def act(request: httpx.Request, proceed: Callable[[httpx.Request], httpx.Response]) -> httpx.Response:
            proceed(request)
            raise httpx.ReadError("connection reset", request=request)

        self.faults.append(Fault(pattern, times, act))

    def lose_request(self, pattern: str, times: int = 1) -> None:
        def act(request: httpx.Request, _proceed: object) -> httpx.Response:
            raise httpx.ConnectError("connection refused", request=request)

        self.faults.append(Fault(pattern, times, act))

    def answer(
        self, pattern: str, status: int, *, times: int = 1, headers: dict[str, str] | None = None, content: object = b""
    ) -> None:
        self.faults.append(
            Fault(pattern, times, lambda _request, _proceed: httpx.Response(status, headers=headers, content=content))
        )

    def tamper(self, pattern: str, change: Callable[[bytes], bytes], times: int = 1000) -> None:
        """The answer's body is changed on the way."""

        def act(request: httpx.Request, proceed: Callable[[httpx.Request], httpx.Response]) -> httpx.Response:
            answer = proceed(request)
            headers = {name: value for name, value in answer.headers.items() if name.lower() != "content-length"}
            return httpx.Response(answer.status_code, headers=headers, content=change(answer.read()))

        self.faults.append(Fault(pattern, times, act))

    def count(self, pattern: str) -> int:
        """How many requests matched."""
        return sum(bool(re.search(pattern, line)) for line in self.log)

    def the_update(self, number: int = 1) -> MeshUpdate:
        (update,) = self.rounds[number].updates.values()
        return update

    # --- what it does

    def handle(self, request: httpx.Request) -> httpx.Response:
        line = f"{request.method} {request.url.raw_path.decode()}"
        self.log.append(line)
        for fault in self.faults:
            if fault.times and re.search(fault.pattern, line):
                fault.times -= 1
                return fault.act(request, self.carry_out)
        return self.carry_out(request)

    def carry_out(self, request: httpx.Request) -> httpx.Response:
        body = request.read()
        self.bodies.append(body)
        try:
            return self.route(request, body)
        except ProblemError as error:
            headers = {"Content-Type": "application/problem+json"}
            return httpx.Response(error.status, headers=headers, content=codec.encode(error.problem))
        except BoltzError as error:
            return httpx.Response(422, content=codec.encode(ProblemError(422, error.code, error.message).problem))

    def route(self, request: httpx.Request, body: bytes) -> httpx.Response:
        path, _, query = request.url.raw_path.decode().partition("?")
        assert path.startswith("/api/v1/"), path
        assert "Content-Encoding" not in request.headers
        parts = path.removeprefix("/api/v1/").split("/")
        if parts == ["keys"]:
            assert "Signature" not in request.headers
            return _message(self.key_set())
        if parts == ["clients"]:
            return self.enrol(request, body, path, query)
        client, kid = self.authenticate(request, body, path, query)
        if parts[0] == "clients":
            return self.own_record(request, client, kid, parts[1:], body)
        if parts == ["models"]:
            return _message(ModelList(v=1, models=(self.model_view(),)))
        if parts[0] != "models" or parts[1] != self.model:
            raise ProblemError(404, "unknown_model")
        return self.model_request(request, client, parts[2:], body)

    def signature_parts(self, request: httpx.Request, body: bytes, path: str, query: str):
        digest = request.headers.get("Content-Digest")
        if digest is not None and http_signature.parse_content_digest(digest) != hashlib.sha256(body).digest():
            raise ProblemError(422, "digest_mismatch")
        if body and digest is None:
            raise ProblemError(401, "authentication_failed")
        return http_signature.parse_signature(
            http_signature.RequestParts(
                method=request.method,
                authority=request.headers["Host"],
                path=path,
                query=query,
                content_type=request.headers.get("Content-Type"),
                content_digest=digest,
            ),
            signature_input=request.headers["Signature-Input"],
            signature=request.headers["Signature"],
        )

    def verify(self, parsed, public_key: bytes) -> None:
        try:
            http_signature.verify_request(parsed, public_key=public_key, now=int(self.clock.now()))
        except http_signature.ClockSkewError as error:
            raise ProblemError(401, "clock_skew", server_time=self.clock.utc()) from error
        except BoltzError as error:
            raise ProblemError(401, "authentication_failed") from error
        if (parsed.kid, parsed.nonce) in self.nonces:
            raise ProblemError(401, "authentication_failed")
        self.nonces.add((parsed.kid, parsed.nonce))

    def authenticate(self, request, body: bytes, path: str, query: str) -> tuple[MeshClient, str]:
        parsed = self.signature_parts(request, body, path, query)
        for client in self.clients.values():
            if parsed.kid in client.keys:
                self.verify(parsed, client.keys[parsed.kid])
                return client, parsed.kid
        raise ProblemError(401, "authentication_failed")

    def enrol(self, request, body: bytes, path: str, query: str) -> httpx.Response:
        wanted = codec.decode(body, EnrolmentRequest)
        public_key = from_base64url(wanted.public_key)
        kid = signing.thumbprint(public_key)
        parsed = self.signature_parts(request, body, path, query)
        assert parsed.kid == kid
        self.verify(parsed, public_key)
        for client in self.clients.values():
            if kid in client.keys:
                if client.record.status == "pending" and wanted.token is not None:
                    organisation = f"by {wanted.token}"
                    client.record = structs.replace(client.record, status="active", organisation=organisation)
                return _message(client.record, 200)
            if client.record.name == wanted.name:
                raise ProblemError(409, "name_taken")
        record = ClientRecord(
            v=1,
            id=f"c_{len(self.clients)}",
            name=wanted.name,
            kind=wanted.kind,
            region=wanted.region,
            organisation=None if wanted.token is None else f"by {wanted.token}",
            status=self.enrolment_state,
            kid=kid,
            trust=TrustView(score=0.05, credit=0.0, debt=0.0, rounds=0, label="new"),
        )
        self.clients[record.id] = MeshClient(record, {kid: public_key})
        return _message(record, 201)

    def own_record(self, request, client: MeshClient, kid: str, rest: list[str], body: bytes) -> httpx.Response:
        if rest == ["me"] and request.method == "GET":
            return _message(client.record)
        if rest == ["me"] and request.method == "DELETE":
            del self.clients[client.record.id]
            return httpx.Response(204)
        assert rest == ["me", "keys"]
        rotation = codec.decode(body, KeyRotationRequest)
        by_old = signing.verify_document(
            rotation.by_old, KeyRotationStatement, purpose=Purpose.KEY_ROTATION, keys=client.keys
        )
        new_public = from_base64url(by_old.new_public_key)
        by_new = signing.verify_document(
            rotation.by_new, KeyRotationStatement, purpose=Purpose.KEY_ROTATION, keys={by_old.new_kid: new_public}
        )
        assert by_new == by_old
        assert (by_old.client_id, by_old.old_kid, by_old.authority) == (client.record.id, kid, AUTHORITY)
        client.keys = {by_old.new_kid: new_public}
        client.record = structs.replace(client.record, kid=by_old.new_kid)
        return _message(client.record)

    def model_request(self, request, client: MeshClient, rest: list[str], body: bytes) -> httpx.Response:
        if not rest:
            return _message(self.model_view())
        if rest[0] == "versions":
            number = len(self.manifests) - 1 if rest[1] == "latest" else int(rest[1])
            if rest[2:] == ["artifact"]:
                return self.artifact(request, number)
            return self.manifest(request, number)
        if rest == ["rounds"]:
            limit = int(request.url.params["limit"])
            views = [self.round_view(self.rounds[number]) for number in sorted(self.rounds, reverse=True)]
            return _message(RoundList(v=1, rounds=tuple(views[:limit])))
        number = max(self.rounds, default=0) if rest[1] == "current" else int(rest[1])
        if number not in self.rounds:
            raise ProblemError(404, "unknown_round")
        return self.round_request(request, client, self.rounds[number], rest[2:], body)

    def manifest(self, request, number: int) -> httpx.Response:
        document = self.signing_keys[-1].sign_document(self.manifests[number], Purpose.MANIFEST)
        headers = {"ETag": codec.etag(document)}
        if request.headers.get("If-None-Match") == headers["ETag"]:
            return httpx.Response(304, headers=headers)
        return httpx.Response(200, headers=headers, content=codec.encode(document))

    def artifact(self, request, number: int) -> httpx.Response:
        raw = tensors.encode_safetensors(self.vectors[number], self.layout)
        headers = {"ETag": f'"{self.manifests[number].weights_sha256}"'}
        if request.headers.get("If-None-Match") == headers["ETag"]:
            return httpx.Response(304, headers=headers)
        asked = re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range", ""))
        if asked:
            start = int(asked[1])
            headers["Content-Range"] = f"bytes {start}-{len(raw) - 1}/{len(raw)}"
            return httpx.Response(206, headers=headers, content=raw[start:])
        return httpx.Response(200, headers=headers, content=raw)

    def round_request(self, request, client: MeshClient, round_: MeshRound, rest: list[str], body: bytes):
        if not rest:
            return _message(self.round_view(round_))
        if client.record.status != "active":
            status = client.record.status
            raise ProblemError(403, f"client_{status}", f"this client is {status}")
        if rest == ["participation"]:
            assert body == b"{}"
            if round_.state != "open" and client.record.id not in round_.joined:
                raise ProblemError(409, "round_sealed")
            upload_id = round_.joined.setdefault(client.record.id, f"u{round_.number}_{len(round_.joined)}")
            return _message(self.place(round_, client.record.id, upload_id))
        upload_id = rest[1]
        if request.method == "GET":
            update = round_.updates.get(upload_id)
            if update is None or update.client_id != client.record.id:
                raise ProblemError(404, "unknown_update")
            return _message(self.update_status(round_, update))
        return self.take_update(request, client, round_, upload_id, body)

    def place(self, round_: MeshRound, client_id: str, upload_id: str) -> Participation:
        return Participation(v=1, model=self.model, round=round_.number, client_id=client_id, upload_id=upload_id)

    def take_update(self, request, client: MeshClient, round_: MeshRound, upload_id: str, body: bytes):
        assert request.headers["Content-Type"] == "application/vnd.boltz.envelope"
        assert int(request.headers["Content-Length"]) == len(body)
        sha256 = hashlib.sha256(body).hexdigest()
        known = round_.updates.get(upload_id)
        if known is not None:
            if known.body_sha256 != sha256:
                raise ProblemError(409, "upload_conflict")
            return _message(known.receipt, 202)
        if round_.state != "open":
            raise ProblemError(409, "round_sealed")
        if round_.joined.get(client.record.id) != upload_id:
            raise ProblemError(409, "not_joined")
        source = io.BytesIO(body)
        head = envelope.read_header(source.read)
        private = rsa_key(round_.encryption)
        if head.header.server_kid != self.encryption_jwk(round_).kid:
            raise ProblemError(409, "encryption_key_retired")
        header = head.header
        expected = (client.record.id, client.record.kid, self.model, round_.number, upload_id)
        assert (header.client_id, header.client_kid, header.model, header.round, header.upload_id) == expected
        assert header.base_sha256 == self.manifests[round_.base].weights_sha256
        opened = envelope.open_sealed(
            head, source.read, content_key=envelope.unwrap_key(private, head.wrapped_key), layout=self.layout
        )
        delta = np.frombuffer(b"".join(bytes(block) for block in opened.blocks()), dtype="<f4")
        assert source.read() == b""
        receipt = self.receipt(round_, client.record.id, upload_id, sha256, len(body))
        round_.updates[upload_id] = MeshUpdate(
            client_id=client.record.id,
            place=self.place(round_, client.record.id, upload_id),
            body_sha256=sha256,
            body=body,
            header=header,
            claims=opened.claims,
            delta=delta,
            receipt=receipt,
        )
        return _message(receipt, 202)

    def receipt(self, round_: MeshRound, client_id: str, upload_id: str, sha256: str, length: int) -> SignedDocument:
        leaf = LogLeaf(
            v=1,
            id="leaf",
            t=self.clock.utc(),
            type="update.received",
            actor="pseudonym",
            subject="pseudonym",
            round=f"{self.model}/{round_.number}",
            detail=sha256,
        )
        receipt = Receipt(
            v=1,
            upload_id=upload_id,
            client_id=client_id,
            model=self.model,
            round=round_.number,
            body_sha256=sha256,
            body_bytes=length,
            received_at=self.clock.utc(),
            leaf=base64url(codec.encode(leaf)),
            log_by=self.clock.utc() + timedelta(hours=24),
        )
        return self.signing_keys[-1].sign_document(receipt, Purpose.RECEIPT)

    # --- what it shows

    def key_set(self) -> KeySet:
        current = self.signing_keys[-1]
        jwks = [
            signing.ed25519_jwk(key.public, state="current" if key is current else "retired", not_before=START)
            for key in self.signing_keys
        ]
        encryption = signing.rsa_jwk(rsa_key(0).public_key(), state="current", not_before=START)
        return KeySet(v=1, keys=(*jwks, encryption), successions=tuple(self.successions))

    def encryption_jwk(self, round_: MeshRound):
        return signing.rsa_jwk(rsa_key(round_.encryption).public_key(), state="current", not_before=START)

    def model_view(self) -> ModelView:
        return ModelView(
            v=1,
            name=self.model,
            mode="robust",
            task=self.task,
            layout_digest=self.layout.digest,
            parameters=self.layout.parameters,
            policy=POLICY,
            current_version=len(self.manifests) - 1,
            current_round=max(self.rounds, default=None),
        )

    def descriptor(self, round_: MeshRound) -> RoundDescriptor:
        base = self.manifests[round_.base]
        return RoundDescriptor(
            v=1,
            model=self.model,
            round=round_.number,
            base_version=base.number,
            base_sha256=base.weights_sha256,
            layout_digest=self.layout.digest,
            policy=round_.policy,
            encryption_key=self.encryption_jwk(round_),
            max_envelope_bytes=envelope.max_envelope_bytes(self.layout),
            opens_at=round_.opens_at,
            closes_at=round_.opens_at + timedelta(seconds=round_.policy.round_seconds),
        )

    def round_view(self, round_: MeshRound) -> RoundView:
        if round_.state == "scheduled" and self.clock.utc() >= round_.opens_at:
            round_.state = "open"
        shown = round_.state != "scheduled"
        return RoundView(
            v=1,
            model=self.model,
            round=round_.number,
            state=round_.state,
            opens_at=round_.opens_at,
            closes_at=round_.opens_at + timedelta(seconds=round_.policy.round_seconds),
            descriptor=self.signing_keys[-1].sign_document(self.descriptor(round_), Purpose.DESCRIPTOR)
            if shown
            else None,
            joined=len(round_.joined),
            accepted=len(round_.updates),
            staged=len(round_.updates),
            rejected={},
            version=round_.version,
            step_norm=None,
        )

    def update_status(self, round_: MeshRound, update: MeshUpdate) -> UpdateStatus:
        aggregated = update.state == "aggregated"
        return UpdateStatus(
            v=1,
            upload_id=update.place.upload_id,
            model=self.model,
            round=round_.number,
            round_state=round_.state,
            state=update.state,
            code=update.code,
            reason=update.reason,
            norm=float(np.linalg.norm(update.delta.astype(np.float64))),
            weight=1 / len(round_.updates) if aggregated else None,
            version=round_.version if aggregated else None,
            receipt=update.receipt,
        )


def _message(message: object, status: int = 200) -> httpx.Response:
    return httpx.Response(status, headers={"Content-Type": "application/json"}, content=codec.encode(message))


def change_json(change: Callable[[dict], object]) -> Callable[[bytes], bytes]:
    """A tamperer that edits the JSON of an answer and writes it canonically again."""

    def tamperer(body: bytes) -> bytes:
        value = json.loads(body)
        change(value)
        return codec.encode(value)

    return tamperer


def resigned(mesh: SimulatedMesh, purpose: Purpose, kind: type, key: SigningKey | None = None, **changes: object):
    """A tamperer that changes a signed document's content and signs it again, with the mesh's own key or another."""

    def tamperer(body: bytes) -> bytes:
        value = json.loads(body)
        document = value.get("descriptor", value)
        message = codec.decode(from_base64url(document["payload"]), kind)
        signed = (key or mesh.signing_keys[-1]).sign_document(structs.replace(message, **changes), purpose)
        replacement = json.loads(codec.encode(signed))
        if "descriptor" in value:
            value["descriptor"] = replacement
            return codec.encode(value)
        return codec.encode(replacement)

    return tamperer


__all__ = [
    "AUTHORITY",
    "CUSTOM",
    "FEATURES",
    "LINEAR",
    "MLP",
    "START",
    "URL",
    "ProblemError",
    "SigningKey",
    "SimulatedMesh",
    "TestClock",
    "change_json",
    "resigned",
    "rsa_key",
]
