"""Every message of the protocol as a frozen struct.

All are decoded by `codec.decode`: unknown fields are refused, every field is present, ranges are checked while parsing.
Times are UTC datetimes; digests are lower-case hex of SHA-256; binary values are base64url without padding.
"""

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta, Struct

MAX_SAFE_INTEGER = 2**53 - 1

Name = Annotated[str, Meta(pattern=r"\A[a-z0-9][a-z0-9._-]{0,63}\Z")]
Label = Annotated[str, Meta(min_length=1, max_length=128, pattern=r"\A[^\x00-\x1f\x7f]+\Z")]
TensorName = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_][A-Za-z0-9_./-]{0,127}\Z")]
Sha256Hex = Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]
KeyId = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_-]{43}\Z")]
Identifier = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_-]{1,64}\Z")]
Code = Annotated[str, Meta(pattern=r"\A[a-z][a-z0-9_]{0,63}\Z")]
Base64Url = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_-]*\Z", max_length=1 << 20)]
Timestamp = Annotated[datetime, Meta(tz=True)]
Count = Annotated[int, Meta(ge=0, le=MAX_SAFE_INTEGER)]
Positive = Annotated[int, Meta(ge=1, le=MAX_SAFE_INTEGER)]
Share = Annotated[float, Meta(ge=0, le=1)]
PositiveFloat = Annotated[float, Meta(gt=0)]
Parameters = Annotated[dict[Name, float], Meta(max_length=32)]

ClientKind = Literal["broker_adapter", "edge_node", "partner_firm", "user_device"]
Mode = Literal["robust", "private", "masked"]
TaskKind = Literal["linear", "mlp", "custom"]


class Message(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What every message has in common: frozen, keyword-only, no unknown fields."""


# --- what is trained ---


class TensorSpec(Message, frozen=True):
    """Name and shape of one float32 tensor."""

    name: TensorName
    shape: Annotated[tuple[Annotated[int, Meta(ge=1, le=2**31 - 1)], ...], Meta(min_length=1, max_length=8)]


class TaskSpec(Message, frozen=True):
    """What a model predicts from which features, scaled by fixed numbers: clip((x - center) / scale, -clip, clip)."""

    kind: TaskKind
    features: Annotated[tuple[Label, ...], Meta(max_length=4096)]
    center: tuple[float, ...]
    scale: tuple[PositiveFloat, ...]
    clip: PositiveFloat | None
    target: Label
    metric: Label
    hidden: Annotated[tuple[Annotated[int, Meta(ge=1, le=65536)], ...], Meta(max_length=8)] = ()
    activation: Literal["relu", "tanh"] = "relu"


class RoundPolicy(Message, frozen=True):
    """The rules of a round, copied into it when it opens. Norms are L2, in the units of the weights.

    `before`: what is done to staged updates in front of the rule, in order. `byzantine`: how many malicious updates the
    rule tolerates; None: a fifth of them, rounded down. `parameters` are those of the rule and of what stands in front
    of it; what is not given has its default. `optimizer` makes the model's step of what the rule gives.
    """

    mode: Mode
    rule: Name
    max_norm: PositiveFloat
    quorum: Positive
    target: Positive
    example_cap: Positive
    round_seconds: Positive
    replay_window_days: Count
    before: Annotated[tuple[Name, ...], Meta(max_length=8)] = ()
    byzantine: Count | None = None
    parameters: Parameters = {}
    optimizer: Name = "none"
    optimizer_parameters: Parameters = {}


class VersionManifest(Message, frozen=True):
    """What a version is and where it came from. Signed with purpose `manifest`.

    `state_sha256`: the server optimizer's state, from which the next version is made; it is not for clients.
    """

    v: Literal[1]
    model: Name
    number: Count
    mode: Mode
    task: TaskSpec
    layout: Annotated[tuple[TensorSpec, ...], Meta(min_length=1, max_length=65536)]
    layout_digest: Sha256Hex
    weights_sha256: Sha256Hex
    weights_bytes: Positive
    base_sha256: Sha256Hex | None
    round: Positive | None
    members: Count
    created_at: Timestamp
    optimizer: Name = "none"
    state_sha256: Sha256Hex | None = None


class ModelView(Message, frozen=True):
    """A model as clients see it."""

    v: Literal[1]
    name: Name
    mode: Mode
    task: TaskSpec
    layout_digest: Sha256Hex
    parameters: Positive
    policy: RoundPolicy
    current_version: Count
    current_round: Positive | None


# --- keys and signed documents ---


class Jwk(Message, frozen=True):
    """A public key of the mesh (RFC 7517), with its state and validity. `kid` is its RFC 7638 thumbprint."""

    kid: KeyId
    kty: Literal["OKP", "RSA"]
    use: Literal["sig", "enc"]
    alg: Literal["EdDSA", "RSA-OAEP-256"]
    state: Literal["current", "retired", "destroyed"]
    not_before: Timestamp
    not_after: Timestamp | None
    crv: Literal["Ed25519"] | None = None
    x: Base64Url | None = None
    n: Base64Url | None = None
    e: Base64Url | None = None


class SignedDocument(Message, frozen=True):
    """A message's canonical bytes with an Ed25519 signature over its purpose and those bytes (signing.py)."""

    v: Literal[1]
    purpose: Name
    kid: KeyId
    payload: Base64Url
    signature: Base64Url


class KeySet(Message, frozen=True):
    """`GET /keys`. Each succession is a signed `KeySuccession`, oldest first."""

    v: Literal[1]
    keys: tuple[Jwk, ...]
    successions: tuple[SignedDocument, ...]


class KeySuccession(Message, frozen=True):
    """A mesh signing key names the next one. Signed by the old key, purpose `key-succession`."""

    v: Literal[1]
    old_kid: KeyId
    new: Jwk
    created_at: Timestamp


# --- clients ---


class EnrolmentRequest(Message, frozen=True):
    """`POST /clients`; the request is signed by `public_key` (Ed25519, 32 bytes)."""

    v: Literal[1]
    name: Label
    kind: ClientKind
    region: Label
    public_key: Base64Url
    token: Annotated[str, Meta(max_length=256)] | None


class TrustView(Message, frozen=True):
    """A client's reputation. `label` reads "new" at the prior."""

    score: Share
    credit: Annotated[float, Meta(ge=0)]
    debt: Annotated[float, Meta(ge=0)]
    rounds: Count
    label: Label


class ClientRecord(Message, frozen=True):
    """A client as it sees itself."""

    v: Literal[1]
    id: Identifier
    name: Label
    kind: ClientKind
    region: Label
    organisation: Label | None
    status: Literal["pending", "active", "suspended", "revoked", "erased"]
    kid: KeyId
    trust: TrustView


class KeyRotationStatement(Message, frozen=True):
    """What both keys sign when a client changes its key."""

    v: Literal[1]
    client_id: Identifier
    old_kid: KeyId
    new_kid: KeyId
    new_public_key: Base64Url
    authority: Label


class KeyRotationRequest(Message, frozen=True):
    """`POST /clients/me/keys`: the statement signed by the new key and by the old one, purpose `key-rotation`."""

    v: Literal[1]
    by_new: SignedDocument
    by_old: SignedDocument


# --- rounds and updates ---


class RoundDescriptor(Message, frozen=True):
    """What a client agrees to when it takes part. Signed with purpose `descriptor`; its digest is in the log."""

    v: Literal[1]
    model: Name
    round: Positive
    base_version: Count
    base_sha256: Sha256Hex
    layout_digest: Sha256Hex
    policy: RoundPolicy
    encryption_key: Jwk
    max_envelope_bytes: Positive
    opens_at: Timestamp
    closes_at: Timestamp


RoundState = Literal["scheduled", "open", "sealed", "frozen", "aggregating", "published", "abandoned", "failed"]
UpdateState = Literal[
    "received", "processing", "staged", "aggregated", "rejected", "quarantined", "stalled", "expired", "erased"
]


class RoundView(Message, frozen=True):
    """A round as clients see it; `descriptor` is absent until it opens."""

    v: Literal[1]
    model: Name
    round: Positive
    state: RoundState
    opens_at: Timestamp
    closes_at: Timestamp
    descriptor: SignedDocument | None
    joined: Count
    accepted: Count
    staged: Count
    rejected: dict[Code, Count]
    version: Count | None
    step_norm: Annotated[float, Meta(ge=0)] | None


class ModelList(Message, frozen=True):
    """Answer to `GET /models`."""

    v: Literal[1]
    models: tuple[ModelView, ...]


class RoundList(Message, frozen=True):
    """Answer to `GET /models/{name}/rounds`, newest first."""

    v: Literal[1]
    rounds: tuple[RoundView, ...]


class ParticipationRequest(Message, frozen=True):
    """`POST .../participation`: an empty object. Who asks is in the signature, for which round in the path."""


class Participation(Message, frozen=True):
    """Answer to `POST .../participation`: the upload id to use; the same one each time."""

    v: Literal[1]
    model: Name
    round: Positive
    client_id: Identifier
    upload_id: Identifier


class EnvelopeHeader(Message, frozen=True):
    """The clear, authenticated head of an envelope: where its update belongs."""

    v: Literal[1]
    suite: Literal[1]
    server_kid: KeyId
    client_kid: KeyId
    client_id: Identifier
    model: Name
    round: Positive
    upload_id: Identifier
    base_sha256: Sha256Hex
    layout_digest: Sha256Hex
    codec: Literal["safetensors-f32"]
    plain_length: Positive
    created_at: Timestamp


class Claims(Message, frozen=True):
    """What a client says about its own update. Bounded, sealed with it, never trusted."""

    v: Literal[1]
    examples: Positive
    feature_coverage: Share
    invalid_share: Share
    metrics: Annotated[dict[Label, float], Meta(max_length=16)]
    local_noise: Annotated[float, Meta(ge=0)] | None


class Receipt(Message, frozen=True):
    """The server's promise that an update was taken and will be in the log. Signed with purpose `receipt`."""

    v: Literal[1]
    upload_id: Identifier
    client_id: Identifier
    model: Name
    round: Positive
    body_sha256: Sha256Hex
    body_bytes: Positive
    received_at: Timestamp
    leaf: Base64Url
    log_by: Timestamp


class UpdateStatus(Message, frozen=True):
    """What became of an update, as its client sees it: `weight` is its share of the round, `version` where it went."""

    v: Literal[1]
    upload_id: Identifier
    model: Name
    round: Positive
    round_state: RoundState
    state: UpdateState
    code: Code | None
    reason: str | None
    norm: Annotated[float, Meta(ge=0)] | None
    weight: Share | None
    version: Count | None
    receipt: SignedDocument


class Problem(Message, frozen=True, rename={"kind": "type"}):
    """An error (RFC 9457, application/problem+json). `code` is for programs, `detail` for people."""

    kind: str
    title: str
    status: int
    detail: str
    code: Code
    server_time: Timestamp | None = None
