"""Signed requests against the real endpoints, in-process: `httpx` over WSGI, on real Postgres.

    def test_something(mesh_http):
        client = enrolled(mesh_http, "alpha")
        assert client.get("/api/v1/clients/me").status_code == 200

`Signer` makes each part of a signature changeable, for requests that must be refused.
"""

import hashlib
import secrets
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.conf import settings
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections

from boltz_protocol import codec, http_signature, signing
from boltz_protocol.encoding import base64url
from boltz_protocol.http_signature import RequestParts
from boltz_protocol.messages import ClientRecord, EnrolmentRequest, Problem

AUTHORITY = "testserver"
BASE_URL = f"http://{AUTHORITY}"
CLIENTS = "/api/v1/clients"
ME = "/api/v1/clients/me"


@pytest.fixture(autouse=True)
def _own_key_directory(settings, tmp_path):
    """Each test has a key store of its own."""
    settings.BOLTZ_KEY_DIR = tmp_path / "keys"


@pytest.fixture(scope="session")
def wsgi_application():
    """What the web server runs."""
    Path(settings.STATIC_ROOT).mkdir(exist_ok=True)  # whitenoise warns when nothing has been collected
    return get_wsgi_application()


@pytest.fixture
def mesh_http(db, wsgi_application) -> Iterator[httpx.Client]:
    """The mesh over HTTP, in this process and in this test's transaction.

    Django closes old connections around each request, and with them a test's transaction; its own test client turns that off too.
    """
    around_requests = (request_started, request_finished)
    for signal in around_requests:
        signal.disconnect(close_old_connections)
    transport = httpx.WSGITransport(app=wsgi_application)
    with httpx.Client(transport=transport, base_url=BASE_URL) as http:
        yield http
    for signal in around_requests:
        signal.connect(close_old_connections)


@dataclass
class Signer:
    """An Ed25519 key that signs requests."""

    private_key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)

    @property
    def public_key(self) -> bytes:
        return self.private_key.public_key().public_bytes_raw()

    @property
    def kid(self) -> str:
        return signing.thumbprint(self.public_key)

    def headers(
        self,
        method: str,
        path: str,
        *,
        body: bytes = b"",
        query: str = "",
        content_type: str = "application/json",
        authority: str = AUTHORITY,
        kid: str | None = None,
        nonce: bytes | None = None,
        created: int | None = None,
        lifetime_seconds: int = 120,
        digest: bytes | None = None,
    ) -> dict[str, str]:
        """The headers of a signed request; what is not given is right."""
        content = {}
        if body:
            sha256 = digest if digest is not None else hashlib.sha256(body).digest()
            content = {"Content-Type": content_type, "Content-Digest": http_signature.content_digest(sha256)}
        parts = RequestParts(
            method=method,
            authority=authority,
            path=path,
            query=query,
            content_type=content.get("Content-Type"),
            content_digest=content.get("Content-Digest"),
        )
        signature = http_signature.make_signature(
            parts,
            kid=kid or self.kid,
            sign=self.private_key.sign,
            nonce=nonce or secrets.token_bytes(http_signature.NONCE_BYTES),
            created=int(time.time()) if created is None else created,
            lifetime_seconds=lifetime_seconds,
        )
        return content | signature


@dataclass
class SignedClient:
    """A client of the mesh, as far as HTTP goes."""

    http: httpx.Client
    signer: Signer
    record: ClientRecord | None = None

    @property
    def authority(self) -> str:
        """The mesh's name, as requests to it sign it."""
        return self.http.base_url.netloc.decode()

    def request(
        self,
        method: str,
        path: str,
        message: Any = None,
        *,
        body: bytes = b"",
        unsigned: Mapping[str, str] | None = None,
        **changes: Any,
    ) -> httpx.Response:
        """Send a signed request; `message` is encoded, `body` goes as it is, `changes` go to `Signer.headers`.

        `unsigned`: headers that the signature does not cover.
        """
        body = codec.encode(message) if message is not None else body
        path, _, query = path.partition("?")
        changes = {"authority": self.authority} | changes
        headers = self.signer.headers(method, path, body=body, query=query, **changes) | dict(unsigned or {})
        url = f"{path}?{query}" if query else path
        return self.http.request(method, url, content=body or None, headers=headers)

    def get(self, path: str, **changes: Any) -> httpx.Response:
        return self.request("GET", path, **changes)

    def post(self, path: str, message: Any = None, **changes: Any) -> httpx.Response:
        return self.request("POST", path, message, **changes)

    def put(self, path: str, body: bytes, **changes: Any) -> httpx.Response:
        return self.request("PUT", path, body=body, content_type="application/octet-stream", **changes)

    def delete(self, path: str, **changes: Any) -> httpx.Response:
        return self.request("DELETE", path, **changes)


def enrolment(signer: Signer, name: str = "alpha", *, token: str | None = None, **changes: Any) -> EnrolmentRequest:
    """A request to enrol a signer's key."""
    fields: dict[str, Any] = {"kind": "edge_node", "region": "eu-west-1", **changes}
    return EnrolmentRequest(v=1, name=name, public_key=base64url(signer.public_key), token=token, **fields)


def enrolled(http: httpx.Client, name: str = "alpha", *, token: str | None = None, **changes: Any) -> SignedClient:
    """A client that has enrolled."""
    client = SignedClient(http, Signer())
    response = client.post(CLIENTS, enrolment(client.signer, name, token=token, **changes))
    assert response.status_code in {200, 201}, response.text
    client.record = read(response, ClientRecord)
    return client


def read(response: httpx.Response, kind: type) -> Any:
    """The message in an answer; it must be canonical."""
    return codec.decode(response.content, kind, max_bytes=1 << 20)


def problem(response: httpx.Response) -> Problem:
    """The problem in an answer."""
    assert response.headers["content-type"] == "application/problem+json", response.text
    found: Problem = read(response, Problem)
    assert found.status == response.status_code
    return found


def refusal(response: httpx.Response) -> tuple[int, str]:
    """Status and code of a problem."""
    found = problem(response)
    return found.status, found.code
