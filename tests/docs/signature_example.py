"""The worked examples of docs/protocol.md, made with nothing but the standard library and an Ed25519 key.

`python -m tests.docs.signature_example` prints what stands in the document between the marks. It uses none of our
packages, so that the tests compare two programs and not one with itself.
"""

import base64
import hashlib
import json
import textwrap

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

BEGIN = "<!-- begin: python -m tests.docs.signature_example -->"
END = "<!-- end -->"
SEED, NEW_SEED = bytes(range(32)), bytes(range(32, 64))
NONCE = bytes(range(16))
CREATED = 1767225600  # 2026-01-01 00:00:00 UTC
AUTHORITY = "mesh.example.com"
PATH = "/api/v1/clients"
WIDTH = 100


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def canonical(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def public_of(key: Ed25519PrivateKey) -> str:
    return base64url(key.public_key().public_bytes_raw())


def kid_of(key: Ed25519PrivateKey) -> str:
    jwk = {"crv": "Ed25519", "kty": "OKP", "x": public_of(key)}
    return base64url(hashlib.sha256(canonical(jwk)).digest())


def request() -> dict[str, str]:
    """The parts of a signed request to enrol."""
    key = Ed25519PrivateKey.from_private_bytes(SEED)
    body = canonical(
        {
            "v": 1,
            "name": "another-client",
            "kind": "edge_node",
            "region": "eu-west-1",
            "public_key": public_of(key),
            "token": None,
        }
    )
    digest = f"sha-256=:{base64.b64encode(hashlib.sha256(body).digest()).decode()}:"
    components = '("@method" "@path" "@query" "@authority" "content-type" "content-digest")'
    params = (
        f'{components};created={CREATED};keyid="{kid_of(key)}";alg="ed25519";expires={CREATED + 120}'
        f';nonce="{base64url(NONCE)}";tag="bt-fl-v1"'
    )
    base = "\n".join(
        [
            '"@method": POST',
            f'"@path": {PATH}',
            '"@query": ?',
            f'"@authority": {AUTHORITY}',
            '"content-type": application/json',
            f'"content-digest": {digest}',
            f'"@signature-params": {params}',
        ]
    )
    signature = base64.b64encode(key.sign(base.encode())).decode()
    return {
        "Private key (seed, in hex), for these examples only": SEED.hex(),
        "Public key": public_of(key),
        "Key id": kid_of(key),
        "Body": body.decode(),
        "Content-Digest": digest,
        "Signature base": base,
        "Signature-Input": f"sig={params}",
        "Signature": f"sig=:{signature}:",
    }


def statement() -> dict[str, str]:
    """A statement that both keys sign when a client changes its key, here as signed by the old one."""
    old, new = Ed25519PrivateKey.from_private_bytes(SEED), Ed25519PrivateKey.from_private_bytes(NEW_SEED)
    payload = canonical(
        {
            "v": 1,
            "client_id": "c_AAECAwQFBgcICQoLDA0ODw",
            "old_kid": kid_of(old),
            "new_kid": kid_of(new),
            "new_public_key": public_of(new),
            "authority": AUTHORITY,
        }
    )
    signature = old.sign(b"boltz-mesh/v1/key-rotation\0" + payload)
    document = {
        "v": 1,
        "purpose": "key-rotation",
        "kid": kid_of(old),
        "payload": base64url(payload),
        "signature": base64url(signature),
    }
    return {"Payload, before base64url": payload.decode(), "Document": canonical(document).decode()}


def render(made: dict[str, str]) -> str:
    """What stands in the document, marks included."""
    parts = [f"{name}:\n\n```text\n{folded(text)}\n```" for name, text in made.items()]
    return "\n\n".join([BEGIN, *parts, END])


def folded(text: str) -> str:
    """Long lines in pieces, the later ones indented."""
    return "\n".join(
        "\n    ".join(textwrap.wrap(line, WIDTH, break_on_hyphens=False, drop_whitespace=False)) or line
        for line in text.split("\n")
    )


def unfolded(text: str) -> str:
    """The text again."""
    return text.replace("\n    ", "")


if __name__ == "__main__":
    print(render(request()), render(statement()), sep="\n\n")  # noqa: T201 - to be put into the document
