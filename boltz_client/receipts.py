"""The mesh's signed promise that an update was taken: checked against what was sent, before it is believed.

Left to a later version: proving that the promised leaf is in the log by `log_by`.
"""

from collections.abc import Collection
from dataclasses import dataclass

from boltz_client.errors import UntrustedMeshError
from boltz_client.pinning import MeshKeys
from boltz_protocol import codec
from boltz_protocol.encoding import from_base64url
from boltz_protocol.errors import MalformedMessageError
from boltz_protocol.leaves import LogLeaf
from boltz_protocol.messages import Receipt, SignedDocument
from boltz_protocol.signing import Purpose


@dataclass(frozen=True)
class Sent:
    """What a receipt must speak of. `body_sha256s`: each envelope sent under the upload id; a crash may make two."""

    model: str
    round: int
    client_id: str
    upload_id: str
    body_sha256s: Collection[str]


def verify_receipt(document: SignedDocument, sent: Sent, *, keys: MeshKeys) -> Receipt:
    """Check that the receipt is the mesh's, and for one of our envelopes.

    Raises:
        UntrustedMeshError: it is not.
    """
    receipt = keys.verify(document, Receipt, purpose=Purpose.RECEIPT)
    found = (receipt.model, receipt.round, receipt.client_id, receipt.upload_id)
    if found != (sent.model, sent.round, sent.client_id, sent.upload_id):
        raise UntrustedMeshError(
            f"the receipt is for {found}, not for {sent.model} round {sent.round} {sent.upload_id}"
        )
    if receipt.body_sha256 not in sent.body_sha256s:
        raise UntrustedMeshError(f"the receipt is for other bytes ({receipt.body_sha256}) than this home has sent")
    if receipt.log_by < receipt.received_at:
        raise UntrustedMeshError("the receipt promises the log for a time before the update came")
    _check_leaf(receipt)
    return receipt


def _check_leaf(receipt: Receipt) -> None:
    """Stop a promise that could never be called in: without a real leaf there is nothing to look for in the log."""
    try:
        codec.decode(from_base64url(receipt.leaf), LogLeaf)
    except MalformedMessageError as error:
        raise UntrustedMeshError(f"the receipt promises no leaf of the log: {error.message}") from error
