"""Our profile against an independent implementation, and against the vectors of RFC 9421 appendix B.2.

The library judges times by the real clock, so these tests sign with it.
"""

import base64
import datetime as dt
import hashlib
from types import SimpleNamespace

import http_message_signatures as oracle
import pytest
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from boltz_protocol import http_signature
from boltz_protocol.encoding import base64url
from boltz_protocol.errors import BadSignatureError
from boltz_protocol.http_signature import RequestParts
from boltz_protocol.signing import verify_signature
from tests.unit.protocol import rfc9421_vectors

BODY = b'{"v":1}'
NONCE = bytes(range(16))
WITHOUT_BODY = ("@method", "@path", "@query", "@authority")
WITH_BODY = (*WITHOUT_BODY, "content-type", "content-digest")


def message(url, *, method="POST", body=True):
    digest = http_signature.content_digest(hashlib.sha256(BODY).digest())
    headers = {"Content-Type": "application/json", "Content-Digest": digest} if body else {}
    return SimpleNamespace(method=method, url=url, headers=headers)


def parts(request, *, authority="mesh.example", path="/api/v1/clients", query=""):
    return RequestParts(
        method=request.method,
        authority=authority,
        path=path,
        query=query,
        content_type=request.headers.get("Content-Type"),
        content_digest=request.headers.get("Content-Digest"),
    )


CASES = pytest.mark.parametrize(
    ("request_", "request_parts"),
    [
        (message("https://mesh.example/api/v1/clients"), {}),
        (message("https://MESH.example/api/v1/clients?a=1&b=%20"), {"query": "a=1&b=%20"}),
        (message("https://mesh.example:8443/a%20b"), {"authority": "mesh.example:8443", "path": "/a%20b"}),
        (message("https://mesh.example/api/v1/clients", method="GET", body=False), {}),
        (
            message("http://[::1]:9/?x", method="DELETE", body=False),
            {"authority": "[::1]:9", "path": "/", "query": "x"},
        ),
    ],
    ids=["plain", "query and case", "port and escape", "no body", "address"],
)


@pytest.fixture
def resolver(client_key, client_kid):
    return oracle.MappingKeyResolver(
        private_keys={client_kid: client_key}, public_keys={client_kid: client_key.public_key()}
    )


@CASES
def test_the_library_verifies_what_we_sign(client_key, client_kid, resolver, request_, request_parts):
    now = int(dt.datetime.now(dt.UTC).timestamp())
    fields = http_signature.make_signature(
        parts(request_, **request_parts), kid=client_kid, sign=client_key.sign, nonce=NONCE, created=now
    )
    covered = WITH_BODY if "Content-Digest" in request_.headers else WITHOUT_BODY
    signed = SimpleNamespace(method=request_.method, url=request_.url, headers=request_.headers | fields)
    verifier = oracle.HTTPMessageVerifier(signature_algorithm=oracle.algorithms.ED25519, key_resolver=resolver)
    [result] = verifier.verify(
        signed,
        expect_tag="bt-fl-v1",
        require_components=covered,
        body=BODY if covered is WITH_BODY else None,
    )
    assert result.parameters["keyid"] == client_kid
    assert result.parameters["expires"] == now + 120
    assert result.nonce == base64url(NONCE)


@CASES
def test_we_verify_what_the_library_signs(client_kid, client_public, resolver, request_, request_parts):
    created = dt.datetime.now(dt.UTC)
    signed = SimpleNamespace(method=request_.method, url=request_.url, headers=dict(request_.headers))
    oracle.HTTPMessageSigner(signature_algorithm=oracle.algorithms.ED25519, key_resolver=resolver).sign(
        signed,
        key_id=client_kid,
        created=created,
        expires=created + dt.timedelta(seconds=120),
        nonce=base64url(NONCE),
        label="sig",
        tag="bt-fl-v1",
        covered_component_ids=WITH_BODY if "Content-Digest" in request_.headers else WITHOUT_BODY,
        use_existing_digest="Content-Digest" in request_.headers,
    )
    parsed = http_signature.parse_signature(
        parts(request_, **request_parts),
        signature_input=signed.headers["Signature-Input"],
        signature=signed.headers["Signature"],
    )
    http_signature.verify_request(parsed, public_key=client_public, now=int(created.timestamp()))


# --- the vectors of the RFC ---


def test_the_ed25519_signature_of_the_rfc_verifies():
    public_key = load_pem_public_key(rfc9421_vectors.ED25519_PUBLIC_KEY_PEM).public_bytes_raw()
    base = "\n".join(rfc9421_vectors.ED25519_BASE).encode()
    signature = base64.b64decode(rfc9421_vectors.SIGNATURES["sig-b26"][1])
    verify_signature(public_key, signature, base)
    with pytest.raises(BadSignatureError):
        verify_signature(public_key, signature, base + b"\n")


def test_our_lines_of_the_base_are_those_of_the_rfc(client_key, client_kid):
    method, target, _ = rfc9421_vectors.REQUEST_LINE.split(" ")
    path, _, query = target.partition("?")
    request = RequestParts(
        method=method,
        authority=rfc9421_vectors.REQUEST_FIELDS["Host"],
        path=path,
        query=query,
        content_type=rfc9421_vectors.REQUEST_FIELDS["Content-Type"],
        content_digest=rfc9421_vectors.REQUEST_FIELDS["Content-Digest"],
    )
    fields = http_signature.make_signature(
        request, kid=client_kid, sign=client_key.sign, nonce=NONCE, created=rfc9421_vectors.CREATED
    )
    parsed = http_signature.parse_signature(
        request, signature_input=fields["Signature-Input"], signature=fields["Signature"]
    )
    assert tuple(parsed.base.decode().split("\n")[:-1]) == rfc9421_vectors.FULL_COVERAGE_BASE[1:7]


@pytest.mark.parametrize("label", rfc9421_vectors.SIGNATURES)
def test_the_signatures_of_the_rfc_are_outside_our_profile(label):
    signature_input, signature = rfc9421_vectors.SIGNATURES[label]
    request = RequestParts(method="POST", authority="example.com", path="/foo", query="param=Value&Pet=dog")
    with pytest.raises(BadSignatureError, match="profile"):
        http_signature.parse_signature(
            request, signature_input=f"{label}={signature_input}", signature=f"{label}=:{signature}:"
        )
