"""Taking an upload: durable before the answer, hashed once, idempotent, and indifferent to Redis.

Order: what can be refused from headers is refused before the body is read; the body streams to a partial file while
it is hashed, its clear header is compared to the path after the first block; then one transaction spends the nonce,
inserts the row and the log entry, and last of all gives the file its name, durably; commit; only then the receipt. So
a row has its file, and a file its row, but for a process that is killed between name and commit: inbox.py sweeps what
it left. A retry of the same bytes gets the same receipt, other bytes are a conflict.
"""

import contextlib
import hashlib
import io
import os
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import BinaryIO, NoReturn, Protocol

import msgspec
from django.db import IntegrityError, connection, transaction
from django.http.request import UnreadablePostError
from django.utils import timezone

from apps import dispatch
from apps.audit import services as audit
from apps.clients import services as clients
from apps.clients.models import Client, ClientKey
from apps.joined_rows import first_row
from apps.keys import services as keys
from apps.rounds import selectors, stores
from apps.rounds.models import Round, Update
from apps.rounds.services import inbox, lifecycle
from boltz_core.rounds.states import ClientState, RoundState
from boltz_protocol import envelope
from boltz_protocol.encoding import base64url
from boltz_protocol.errors import NotNowError, SenderError
from boltz_protocol.http_signature import ParsedSignature
from boltz_protocol.messages import EnvelopeHeader, Receipt, SignedDocument
from boltz_protocol.signing import Purpose

MAXIMUM_MERGE_DELAY = timedelta(hours=24)
# room for the longest header and wrapped key: it must be whole in the first block
HEAD_BYTES = 2 * envelope.MAX_HEADER_BYTES + 2048


class Body(Protocol):
    """The request's body as a stream."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes; empty at the end."""
        ...


# the upload id that a client was given in a round, and the id of the update that it has there
OWN_PLACE = """
    SELECT place.upload_id, known.id FROM rounds_participation AS place
    LEFT JOIN rounds_update AS known ON known.round_id = place.round_id AND known.client_id = place.client_id
    WHERE place.round_id = %s AND place.client_id = %s
"""


@dataclass(frozen=True)
class Upload:
    """An upload whose request signature has been verified; its body has not been read."""

    model: str
    round: int
    upload_id: str
    client: Client
    key: ClientKey
    signature: ParsedSignature
    body_sha256: bytes
    length: int


def accept_update(upload: Upload, body: Body) -> SignedDocument:
    """Store an update and promise it: returns the signed receipt, the same one for the same bytes.

    Raises:
        SenderError: `unknown_model`, `unknown_round`, `not_your_upload`, `body_too_large`, `body_incomplete`,
            `digest_mismatch`, `malformed_envelope`, `header_mismatch`.
        NotNowError: `not_joined`, `round_not_open`, `round_sealed`, `wrong_base_version`, `encryption_key_retired`,
            `upload_conflict`, `already_submitted`, `client_suspended`.
        ReplayedError: this very request was received before.
        OSError: the disk is full or broken; nothing was kept.
    """
    round_ = find_round(upload)
    try:
        known = find_known(upload, round_)
        if known is not None:
            return repeat_receipt(known, upload, body)
        check_open(round_)
        return store_update(upload, round_, body)
    except (SenderError, NotNowError, OSError):
        # an answer sent before the body was read may be lost with the connection
        with contextlib.suppress(UnreadablePostError):
            drain(body, upload.length)
        raise


def find_round(upload: Upload) -> Round:
    """The round of the path; its envelope limit is checked against the announced length before anything is read."""
    round_ = selectors.find_round(upload.model, str(upload.round))
    limit = envelope.max_envelope_bytes(round_.model.tensor_layout())
    if upload.length > limit:
        message = f"the body has {upload.length} bytes; an update of {upload.model} has at most {limit}"
        raise SenderError(message, code="body_too_large")
    return round_


def find_known(upload: Upload, round_: Round) -> Update | None:
    """The update that this upload repeats, if any. The upload id must belong to this client and round."""
    row = first_row(OWN_PLACE, [round_.pk, upload.client.pk])
    if row is None:
        raise NotNowError("join the round first: POST its participation", code="not_joined")
    upload_id, known = row
    if upload_id == upload.upload_id:
        return Update.objects.get(pk=known) if known else None
    if known:
        raise NotNowError("you have an update in this round already, under another id", code="already_submitted")
    raise SenderError("this upload id is not the one you were given for this round", code="not_your_upload")


def repeat_receipt(known: Update, upload: Upload, body: Body) -> SignedDocument:
    """The first receipt again, when the bytes are the same ones."""
    if known.body_sha256 != upload.body_sha256.hex():
        raise NotNowError("other bytes were accepted under this upload id", code="upload_conflict")
    clients.spend_nonce(upload.signature)
    drain(body, upload.length)
    return msgspec.convert(known.receipt, SignedDocument)


def check_open(round_: Round) -> None:
    """Refuse what comes too early or too late, before the body is read."""
    if round_.state != RoundState.OPEN or round_.closes_at <= timezone.now():
        lifecycle.refuse_closed(round_)


def store_update(upload: Upload, round_: Round, body: Body) -> SignedDocument:
    """Stream the body to disk, then insert the row; returns the receipt."""
    with stores.partial_file(stores.inbox()) as file:
        header = receive(upload, round_, body, file)
        try:
            with transaction.atomic():
                receipt = insert_update(upload, round_, header)
                stores.publish_file(file, stores.envelope_path(upload.body_sha256.hex()))
        except IntegrityError:
            return resolve_conflict(upload, round_)
        except Exception:
            inbox.discard_unclaimed(upload.body_sha256.hex())
            raise
    dispatch.send_on_commit(dispatch.PROCESS_UPDATE, upload.upload_id)
    return receipt


def receive(upload: Upload, round_: Round, body: Body, file: BinaryIO) -> EnvelopeHeader:
    """Copy the body to `file` in blocks, hashing it once; returns its checked header."""
    digest = hashlib.sha256()
    head = read_block(body, min(HEAD_BYTES, upload.length))
    header = envelope.read_header(io.BytesIO(head).read).header
    check_header(header, upload, round_)
    received = 0
    block = head
    while block:
        received += len(block)
        digest.update(block)
        file.write(block)
        block = body.read(min(stores.BLOCK_BYTES, upload.length - received)) if received < upload.length else b""
    if received != upload.length:
        raise SenderError(f"the body ended after {received} of {upload.length} bytes", code="body_incomplete")
    if digest.digest() != upload.body_sha256:
        raise SenderError("the body is not the one whose digest was signed", code="digest_mismatch")
    # here, where it keeps no lock: inside the transaction the bytes are on the disk already
    os.fsync(file.fileno())
    return header


def read_block(body: Body, size: int) -> bytes:
    """Exactly `size` bytes unless the body ends; a stream may hand out less at a time."""
    parts = []
    while size and (part := body.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def drain(body: Body, limit: int) -> None:
    """Read what is left of a body, bounded by its announced length, so that the sender gets to read the answer."""
    left = limit
    while left > 0 and (block := body.read(min(stores.BLOCK_BYTES, left))):
        left -= len(block)


def check_header(header: EnvelopeHeader, upload: Upload, round_: Round) -> None:
    """Path, key, client and header must agree: an envelope cannot be moved to another round, model or client."""
    found = (header.model, header.round, header.upload_id, header.client_id, header.client_kid)
    right = (upload.model, upload.round, upload.upload_id, upload.client.pk, upload.key.kid)
    if found != right:
        refuse_header(found, right)
    base = round_.base
    if base is None or header.base_sha256 != base.weights_sha256:
        message = f"the update is on top of {header.base_sha256[:12]}; this round's base version is "
        raise NotNowError(message + (base.weights_sha256[:12] if base else "not fixed"), code="wrong_base_version")
    if header.layout_digest != round_.model.layout_digest:
        raise SenderError("the update has another tensor layout than the model", code="header_mismatch")
    check_key(header)


def check_key(header: EnvelopeHeader) -> None:
    """Refuse an envelope for a key that may be destroyed before the update is decided."""
    if not keys.is_usable(header.server_kid):
        message = "the encryption key is retired; fetch the round's descriptor again and seal with the new key"
        raise NotNowError(message, code="encryption_key_retired")


def refuse_header(found: tuple[object, ...], right: tuple[object, ...]) -> NoReturn:
    """Say which fields of the header are not those of the request."""
    names = ("model", "round", "upload_id", "client_id", "client_kid")
    wrong = ", ".join(name for name, a, b in zip(names, found, right, strict=True) if a != b)
    raise SenderError(f"the envelope's header names another {wrong} than the request", code="header_mismatch")


def hold_active(client: Client) -> None:
    """Keep a client active until commit; it may have been suspended while the body was on its way.

    An erasure waits for this lock and then sees the update, which would outlive its client otherwise. Erasures lock
    the client first and rounds after it, and so do uploads.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT 1 FROM clients_client WHERE id = %s AND state = %s FOR SHARE", [client.pk, ClientState.ACTIVE]
        )
        if cursor.fetchone() is None:
            raise NotNowError("this client may not take part", code="client_suspended")


def insert_update(upload: Upload, round_: Round, header: EnvelopeHeader) -> SignedDocument:
    """Spend the nonce, insert the update with its log entry and receipt, in the caller's transaction."""
    inbox.hold_inbox()
    hold_active(upload.client)
    lifecycle.hold_open(round_)
    # again: a slow body may outlast the grace time of a key that was retired meanwhile
    check_key(header)
    clients.spend_nonce(upload.signature)
    received_at = timezone.now()
    entry = audit.append(
        "update.received",
        actor=upload.client.pseudonym,
        subject=upload.client.pseudonym,
        round=round_.label,
        detail={"upload_id": upload.upload_id, "body_sha256": upload.body_sha256.hex(), "bytes": upload.length},
    )
    receipt = make_receipt(upload, bytes(entry.leaf), received_at)
    Update.objects.create(
        pk=upload.upload_id,
        round=round_,
        client=upload.client,
        body_sha256=upload.body_sha256.hex(),
        body_bytes=upload.length,
        received_at=received_at,
        server_kid=header.server_kid,
        client_kid=upload.key.kid,
        public_key=bytes(upload.key.public_key),
        signature_base=upload.signature.base,
        signature=upload.signature.signature,
        receipt=msgspec.to_builtins(receipt),
        next_kick_at=received_at + timedelta(seconds=dispatch.retry_seconds()),
    )
    return receipt


def make_receipt(upload: Upload, leaf: bytes, received_at: datetime) -> SignedDocument:
    """The signed promise that these bytes were taken, with the leaf that will be in the log."""
    return keys.sign_document(
        Receipt(
            v=1,
            upload_id=upload.upload_id,
            client_id=upload.client.pk,
            model=upload.model,
            round=upload.round,
            body_sha256=upload.body_sha256.hex(),
            body_bytes=upload.length,
            received_at=received_at,
            leaf=base64url(leaf),
            log_by=received_at + MAXIMUM_MERGE_DELAY,
        ),
        Purpose.RECEIPT,
    )


def resolve_conflict(upload: Upload, round_: Round) -> SignedDocument:
    """Two uploads of one id met: the first has won; the second gets its receipt, or the conflict."""
    known = find_known(upload, round_)
    if known is None:
        raise NotNowError("you have an update in this round already, under another id", code="already_submitted")
    return repeat_receipt(known, upload, io.BytesIO())
