"""Which signing keys speak for the mesh.

First contact pins the keys that are shown (or only those whose ids the participant was given); from then on a new key
counts only if a pinned one names it in a signed succession. Decisions are functions over (pins, what the mesh shows);
`MeshKeys` adds the file and the request.

Invariants: a pin is never removed or replaced; a key names one successor, once; the mesh's current key is the last of
the chain. Left out: a first contact through an attacker's hands. Give `pinned_keys` to close that. A key that has been
succeeded still verifies documents, because versions signed by it stay in use; it can no longer bring in another key.
"""

from collections.abc import Callable, Collection
from typing import Literal, TypeVar

from boltz_client.errors import MeshAnswerError, UntrustedMeshError
from boltz_client.home import Home
from boltz_client.transport import MAX_ANSWER_BYTES
from boltz_protocol import signing
from boltz_protocol.encoding import base64url, from_base64url
from boltz_protocol.errors import BadSignatureError, MalformedMessageError
from boltz_protocol.messages import Base64Url, Jwk, KeyId, KeySet, KeySuccession, Message, SignedDocument
from boltz_protocol.signing import Purpose

FILE = "mesh.json"

T = TypeVar("T")


class Pin(Message, frozen=True):
    """One trusted key, and the one it named after itself."""

    kid: KeyId
    public: Base64Url
    successor: KeyId | None


class Pins(Message, frozen=True):
    """`mesh.json`."""

    v: Literal[1]
    keys: tuple[Pin, ...]

    def public_keys(self) -> dict[str, bytes]:
        """Raw public keys by key id."""
        return {pin.kid: from_base64url(pin.public) for pin in self.keys}


def first_pins(shown: KeySet, *, given: Collection[str] | None) -> Pins:
    """What to trust at first contact: all signing keys shown, or of these only the `given` ones, and their successors.

    Raises:
        UntrustedMeshError: none of the given keys is among those shown, or the successions do not fit.
    """
    keys = [jwk for jwk in shown.keys if jwk.use == "sig" and (given is None or jwk.kid in given)]
    if not keys:
        wanted = ", ".join(sorted(given)) if given else "any signing key"
        raise UntrustedMeshError(f"the mesh does not show {wanted}; this is not the mesh you were given keys for")
    return later_pins(
        Pins(v=1, keys=tuple(Pin(kid=jwk.kid, public=_public(jwk), successor=None) for jwk in keys)), shown
    )


def later_pins(pins: Pins, shown: KeySet) -> Pins:
    """What to trust after the mesh has shown its keys again: the pins, and who they have named since.

    Raises:
        UntrustedMeshError: a pinned key has named two successors, or the current key is not the end of the chain.
    """
    known = {pin.kid: pin for pin in pins.keys}
    for document in shown.successions:
        if document.kid in known:  # others are from before our first contact, and prove nothing to us
            _succeed(known, document)
    for jwk in shown.keys:
        if jwk.use == "sig" and jwk.state == "current" and (jwk.kid not in known or known[jwk.kid].successor):
            raise UntrustedMeshError(
                f"the mesh signs with the key {jwk.kid}, which no pinned key has named as its successor. Either it "
                "was set up anew or someone stands between. Ask the operator; only if the change is genuine, delete "
                "mesh.json in this client's home."
            )
    return Pins(v=1, keys=tuple(known.values()))


def _succeed(known: dict[str, Pin], document: SignedDocument) -> None:
    trusted = Pins(v=1, keys=tuple(known.values())).public_keys()
    try:
        succession = signing.verify_document(document, KeySuccession, purpose=Purpose.KEY_SUCCESSION, keys=trusted)
        new = Pin(kid=succession.new.kid, public=_public(succession.new), successor=None)
    except (BadSignatureError, MalformedMessageError) as error:
        raise UntrustedMeshError(f"a succession of the mesh's keys does not hold: {error.message}") from error
    old = known[document.kid]
    # A stolen old key must not be able to lead elsewhere once it has named its successor.
    if succession.old_kid != old.kid or old.successor not in {None, new.kid}:
        raise UntrustedMeshError(f"the mesh's key {old.kid} has named two different successors; ask the operator")
    known[old.kid] = Pin(kid=old.kid, public=old.public, successor=new.kid)
    known.setdefault(new.kid, new)


def _public(jwk: Jwk) -> str:
    try:
        return base64url(signing.ed25519_from_jwk(jwk))
    except MalformedMessageError as error:
        raise MeshAnswerError(f"the mesh shows a signing key that is none: {error.message}") from error


class MeshKeys:
    """The pinned keys of one home. `fetch` asks the mesh for the keys it shows."""

    def __init__(self, home: Home, fetch: Callable[[], KeySet], *, given: Collection[str] | None) -> None:
        self._home, self._fetch, self._given = home, fetch, given
        self._pins: Pins | None = None

    def load(self) -> Pins:
        """The pins, made at first contact."""
        if self._pins is None:
            self._pins = self._home.read(Pins, FILE)
            if self._pins is None:
                self._keep(first_pins(self._fetch(), given=self._given))
            elif self._given is not None and not set(self._given) & {pin.kid for pin in self._pins.keys}:
                raise UntrustedMeshError("the keys pinned in this home are not those in pinned_keys; use another home")
        if self._pins is None:  # pragma: no cover - _keep has set it
            raise AssertionError
        return self._pins

    def verify(self, document: SignedDocument, kind: type[T], *, purpose: Purpose) -> T:
        """Check a document of the mesh; when its key is unknown, look whether a pinned key has named it.

        Raises:
            UntrustedMeshError: no pinned key speaks for it, or it is not what was asked for.
        """
        pins = self.load()
        if document.kid not in pins.public_keys():
            pins = self._keep(later_pins(pins, self._fetch()))
        try:
            return signing.verify_document(
                document, kind, purpose=purpose, keys=pins.public_keys(), max_bytes=MAX_ANSWER_BYTES
            )
        except (BadSignatureError, MalformedMessageError) as error:
            raise UntrustedMeshError(f"the mesh's {purpose.value} does not hold: {error.message}") from error

    def _keep(self, pins: Pins) -> Pins:
        if pins != self._pins:
            self._home.write(pins, FILE)
            self._pins = pins
        return pins
