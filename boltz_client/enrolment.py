"""Become, change and stop being a client: registration, key rotation, leaving.

A key is stored before the mesh hears of it, and a new one becomes the home's key only once the mesh has answered with
it. So each step can be repeated after a crash: the same key registers again, the same new key is offered again.
"""

from dataclasses import dataclass
from typing import Literal

from boltz_client import identity as identities
from boltz_client.clock import Clock
from boltz_client.endpoints import Endpoints
from boltz_client.errors import (
    NotAcceptedError,
    NotRegisteredError,
    RefusedError,
    RegistrationError,
    UntrustedMeshError,
)
from boltz_client.home import Home
from boltz_client.identity import Identity
from boltz_protocol import signing
from boltz_protocol.encoding import base64url
from boltz_protocol.messages import (
    ClientKind,
    ClientRecord,
    EnrolmentRequest,
    KeyRotationRequest,
    KeyRotationStatement,
    Label,
    Message,
)
from boltz_protocol.signing import Purpose

IDENTITY = "identity.json"
NEXT_IDENTITY = "identity-next.json"
REGISTRATION = "registration.json"
_CONFLICT = 409


class Registration(Message, frozen=True):
    """`registration.json`: who this home is, at which mesh."""

    v: Literal[1]
    authority: Label
    record: ClientRecord


@dataclass(frozen=True)
class Wanted:
    """What the caller wants to be."""

    name: str
    region: str
    kind: ClientKind
    token: str | None


@dataclass(frozen=True)
class Enrolment:
    """The steps of one home at one mesh."""

    home: Home
    endpoints: Endpoints
    passphrase: str | None
    clock: Clock

    def identity(self) -> Identity:
        """The home's key, after settling a rotation that a crash had cut off.

        Raises:
            NotRegisteredError: there is none yet.
        """
        current = self._load(IDENTITY)
        successor = self._load(NEXT_IDENTITY)
        if successor is not None and self._speaks(successor):
            return self._promote(successor)
        if current is None:
            raise NotRegisteredError('this home has no key yet; call client.register(region="...") first')
        return current

    def registration(self) -> ClientRecord:
        """The record as it was last seen.

        Raises:
            NotRegisteredError: not registered yet.
            RegistrationError: the home belongs to another mesh.
        """
        found = self.home.read(Registration, REGISTRATION)
        if found is None:
            raise NotRegisteredError('not registered yet; call client.register(region="...") first')
        if found.authority != self.endpoints.transport.authority:
            raise RegistrationError(
                f"this home belongs to the mesh at {found.authority}; use that base_url, or another home"
            )
        return found.record

    def register(self, wanted: Wanted) -> ClientRecord:
        """Register, or find out that it has been done; a token lets in a client that waits.

        Raises:
            RegistrationError: registered as something else.
            RefusedError: the mesh does not take it (name, token).
        """
        if self.home.read(Registration, REGISTRATION) is not None:
            self.registration()
        identity = self._load(IDENTITY) or identities.create(
            self.home, IDENTITY, passphrase=self.passphrase, clock=self.clock
        )
        if self._load(NEXT_IDENTITY) is not None:
            identity = self.identity()
        record = self._known(identity) or self._enrol(wanted, identity)
        self._keep(record, identity)
        _check_wanted(record, wanted)
        if record.status == "pending" and wanted.token is not None:
            # it waits for an operator, and has been given a token since
            record = self._enrol(wanted, identity)
            self._keep(record, identity)
        return record

    def rotate_key(self, record: ClientRecord) -> ClientRecord:
        """Replace the key by a new one, vouched for by both."""
        old = self.identity()
        new = self._load(NEXT_IDENTITY) or identities.create(
            self.home, NEXT_IDENTITY, passphrase=self.passphrase, clock=self.clock
        )
        statement = KeyRotationStatement(
            v=1,
            client_id=record.id,
            old_kid=old.kid,
            new_kid=new.kid,
            new_public_key=base64url(new.public_key),
            authority=self.endpoints.transport.authority,
        )
        by_new, by_old = (
            signing.sign_document(statement, purpose=Purpose.KEY_ROTATION, kid=key.kid, sign=key.sign)
            for key in (new, old)
        )
        try:
            record = self.endpoints.rotate_key(KeyRotationRequest(v=1, by_new=by_new, by_old=by_old), signer=old)
        except NotAcceptedError:
            # A lost answer: the retry is signed by a key that the first attempt has already replaced.
            if not self._speaks(new):
                raise
            record = self.endpoints.me(signer=new)
        self._keep(record, new)
        self._promote(new)
        return record

    def leave(self) -> None:
        """Have this client erased, then forget the key and the registration. Receipts stay."""
        self.endpoints.leave()
        for name in (REGISTRATION, IDENTITY, NEXT_IDENTITY):
            self.home.forget(name)

    def refresh(self, identity: Identity) -> ClientRecord:
        """Ask for the own record and remember it."""
        record = self.endpoints.me(signer=identity)
        self._keep(record, identity)
        return record

    def _load(self, name: str) -> Identity | None:
        return identities.load(self.home, name, passphrase=self.passphrase, clock=self.clock)

    def _speaks(self, key: Identity) -> bool:
        """Whether the mesh takes this key for the client's."""
        try:
            return self.endpoints.me(signer=key).kid == key.kid
        except NotAcceptedError:
            return False

    def _known(self, identity: Identity) -> ClientRecord | None:
        """The record, when an earlier registration had arrived. A fresh home does not ask."""
        if self.home.read(Registration, REGISTRATION) is None:
            return None
        try:
            return self.endpoints.me(signer=identity)
        except NotAcceptedError:
            return None

    def _enrol(self, wanted: Wanted, identity: Identity) -> ClientRecord:
        request = EnrolmentRequest(
            v=1,
            name=wanted.name,
            kind=wanted.kind,
            region=wanted.region,
            public_key=base64url(identity.public_key),
            token=wanted.token,
        )
        try:
            return self.endpoints.enrol(request, signer=identity)
        except RefusedError as refusal:
            # Perhaps an earlier, interrupted registration is what stands in the way: then the key is known.
            if refusal.problem.status != _CONFLICT:
                raise
            try:
                return self.endpoints.me(signer=identity)
            except NotAcceptedError:
                raise refusal from None

    def _keep(self, record: ClientRecord, identity: Identity) -> None:
        if record.kid != identity.kid:
            raise UntrustedMeshError("the mesh answered with the record of another key")
        self.home.write(Registration(v=1, authority=self.endpoints.transport.authority, record=record), REGISTRATION)

    def _promote(self, key: Identity) -> Identity:
        identities.store(key, self.home, IDENTITY, passphrase=self.passphrase, clock=self.clock)
        self.home.forget(NEXT_IDENTITY)
        return key


def _check_wanted(record: ClientRecord, wanted: Wanted) -> None:
    if (record.name, record.region, record.kind) != (wanted.name, wanted.region, wanted.kind):
        raise RegistrationError(
            f"this home is registered as {record.name!r} ({record.kind}, {record.region}); "
            "only an operator can change that. Use another name and home for another client."
        )
