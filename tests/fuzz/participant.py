"""Clients that are enrolled and have joined a round: who signs the requests, and what would be right in them."""

import itertools
import json
from urllib.parse import unquote, urlsplit

import httpx
import numpy as np
from django.utils.encoding import escape_uri_path
from requests.auth import AuthBase

from boltz_protocol import codec, signing
from boltz_protocol.encoding import base64url
from boltz_protocol.messages import KeyRotationRequest, KeyRotationStatement
from boltz_protocol.tensors import Layout
from tests.apps.hostile_envelopes import seal, seal_plain, take_place
from tests.apps.signed_requests import SignedClient, Signer, enrolled, enrolment
from tests.fuzz.hostile_requests import RightParts

PARAMETERS = 16
LAYOUT = Layout.of({"w": np.zeros(PARAMETERS)})
ANSWER_SECONDS = 30.0


class Participants:
    """One client after the other: a new one whenever the last has left, or is asked for.

    `requests_signed` counts the requests by which a client is enrolled and joins, each of which spends a nonce.
    """

    def __init__(self, url, model):
        self.requests_signed = 0
        self.enrolled = 0
        self._model = model
        self._names = (f"fuzz-{number}" for number in itertools.count())
        self._http = httpx.Client(
            base_url=url, timeout=ANSWER_SECONDS, trust_env=False, event_hooks={"response": [self._count]}
        )
        self.renew()

    def close(self):
        self._http.close()

    def renew(self):
        """Another client, in its place in the round, with another key that waits to follow its own."""
        self.client = enrolled(self._http, next(self._names))
        self.enrolled += 1
        self.place = take_place(self.client, LAYOUT, self._model)
        self.next_signer, self.newcomer = Signer(), Signer()

    def signer_of(self, operation, body):
        """Whose signature is right: the client's, or that of the key in a request to enrol."""
        if operation != "postClients":
            return self.client.signer
        try:
            key = json.loads(body)["public_key"]
        except (ValueError, TypeError, KeyError):
            return self.newcomer
        return self.client.signer if key == base64url(self.client.signer.public_key) else self.newcomer

    def right_parts(self, operation):
        """What a right request for an operation has."""
        path = self._path()
        match operation:
            case "postClients":
                body = codec.encode(enrolment(self.newcomer, next(self._names)))
            case "postMyKeys":
                body = codec.encode(self._rotation())
            case "postParticipation":
                body = b"{}"
            case "putUpdate":
                body = seal(self.place, np.zeros(PARAMETERS, np.float32))
            case "getVersion" | "getArtifact":
                return RightParts(path | {"number": "latest"})
            case _:
                return RightParts(path)
        return RightParts(path, body, {"public_key": base64url(self.newcomer.public_key)})

    def hostile_update(self, content):
        """An update whose envelope is right from outside, with any content, in this client's place."""
        return RightParts(self._path(), seal_plain(self.place, content))

    def learn(self, operation, status):
        """Follow what an answer to the client has changed about it."""
        if (operation, status) == ("postMyKeys", 200):
            self.client = SignedClient(self._http, self.next_signer, self.client.record)
        if (operation, status) == ("deleteMe", 204):
            self.renew()

    def _path(self):
        return {"name": self._model, "number": "1", "upload_id": self.place.upload_id}

    def _rotation(self):
        old, new = self.client.signer, self.next_signer
        said = KeyRotationStatement(
            v=1,
            client_id=self.client.record.id,
            old_kid=old.kid,
            new_kid=new.kid,
            new_public_key=base64url(new.public_key),
            authority=self.client.authority,
        )
        by_new, by_old = (
            signing.sign_document(
                said, purpose=signing.Purpose.KEY_ROTATION, kid=signer.kid, sign=signer.private_key.sign
            )
            for signer in (new, old)
        )
        return KeyRotationRequest(v=1, by_new=by_new, by_old=by_old)

    def _count(self, _response):
        self.requests_signed += 1


class Sending(AuthBase):
    """The last hand on a request: its body, and, where there is somebody to sign it, the signature.

    Args:
        body: what replaces the request's own body; None leaves it.
        signer_of: gives whoever signs a body; None leaves the request unsigned.
    """

    def __init__(self, body, signer_of=None):
        self._body = body
        self._signer_of = signer_of

    def __call__(self, request):
        """Change the request that is about to be sent."""
        if self._body is not None:
            request.body = self._body
            # requests' own way to say so leaves the old length where the new one is 0
            request.headers["Content-Length"] = str(len(self._body))
        if self._signer_of is not None:
            self._sign(request)
        return request

    def _sign(self, request):
        url = urlsplit(request.url)
        body = request.body.encode() if isinstance(request.body, str) else request.body or b""
        content_type = request.headers.get("Content-Type", "application/json")
        if isinstance(content_type, bytes):
            content_type = content_type.decode("latin-1")
        signed = self._signer_of(body).headers(
            request.method,
            # as the server reads it, and writes it again
            escape_uri_path(unquote(url.path)),
            query=url.query,
            body=body,
            content_type=content_type,
            authority=url.netloc,
        )
        request.headers.update(signed)
