"""A client written from docs/protocol.md alone: it imports nothing of this repository.

Not for use: it keeps nothing, retries nothing, and pins whatever it is shown. It is there to show that the page suffices.
"""

import base64
import hashlib
import json
import os
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256, SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

CHUNK = 16384
API = "/api/v1"


def to_text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def to_bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def canonical(value: Any) -> bytes:
    """Good for objects with ASCII keys and whole numbers, which is all that is written here."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def rfc7638(jwk: dict[str, str], *members: str) -> str:
    return to_text(hashlib.sha256(canonical({name: jwk[name] for name in members})).digest())


@dataclass
class SecondClient:
    """One client at the mesh behind `http`."""

    http: httpx.Client
    authority: str
    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    mesh_keys: dict[str, bytes] = field(default_factory=dict)
    id: str = ""

    @property
    def public(self) -> str:
        return to_text(self.key.public_key().public_bytes_raw())

    @property
    def kid(self) -> str:
        return rfc7638({"crv": "Ed25519", "kty": "OKP", "x": self.public}, "crv", "kty", "x")

    def request(self, method: str, path: str, body: bytes = b"", kind: str = "application/json") -> Any:
        """A signed request and its answer: JSON decoded, weights as bytes."""
        path, _, query = (API + path).partition("?")
        lines = {"@method": method, "@path": path, "@query": f"?{query}", "@authority": self.authority}
        headers = {}
        if body:
            digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
            headers = {"Content-Type": kind, "Content-Digest": f"sha-256=:{digest}:"}
            lines |= {name.lower(): value for name, value in headers.items()}
        now = int(time.time())
        covered = " ".join(f'"{name}"' for name in lines)
        params = f'({covered});created={now};keyid="{self.kid}";alg="ed25519";expires={now + 60}'
        params += f';nonce="{to_text(os.urandom(16))}";tag="bt-fl-v1"'
        base = "".join(f'"{name}": {value}\n' for name, value in lines.items()) + f'"@signature-params": {params}'
        signature = base64.b64encode(self.key.sign(base.encode())).decode()
        headers |= {"Signature-Input": f"sig={params}", "Signature": f"sig=:{signature}:"}
        url = path + (f"?{query}" if query else "")
        response = self.http.request(method, url, headers=headers, content=body or None)
        response.raise_for_status()
        return response.json() if response.headers["Content-Type"] == "application/json" else response.content

    def enrol(self, name: str) -> None:
        """Pin the mesh's signing keys, then become a client."""
        for jwk in self.http.get(f"{API}/keys").json()["keys"]:
            if jwk["use"] == "sig" and jwk["kid"] == rfc7638(jwk, "crv", "kty", "x"):
                self.mesh_keys[jwk["kid"]] = to_bytes(jwk["x"])
        wanted = {"v": 1, "name": name, "kind": "edge_node", "region": "eu", "public_key": self.public, "token": None}
        self.id = self.request("POST", "/clients", canonical(wanted))["id"]

    def verified(self, document: dict[str, Any], purpose: str) -> dict[str, Any]:
        """The payload of a document that the mesh has signed for this purpose."""
        assert document["purpose"] == purpose
        payload = to_bytes(document["payload"])
        signed = b"boltz-mesh/v1/" + purpose.encode() + b"\0" + payload
        Ed25519PublicKey.from_public_bytes(self.mesh_keys[document["kid"]]).verify(
            to_bytes(document["signature"]), signed
        )
        return dict(json.loads(payload))

    def take_part(self, model: str, update: Sequence[float]) -> dict[str, Any]:
        """Send an update for the current round; gives the verified receipt."""
        view = self.request("GET", f"/models/{model}/rounds/current")
        descriptor = self.verified(view["descriptor"], "descriptor")
        version = f"/models/{model}/versions/{descriptor['base_version']}"
        manifest = self.verified(self.request("GET", version), "manifest")
        weights = self.request("GET", f"{version}/artifact")
        assert hashlib.sha256(weights).hexdigest() == manifest["weights_sha256"] == descriptor["base_sha256"]
        round_ = f"/models/{model}/rounds/{descriptor['round']}"
        upload_id = self.request("POST", f"{round_}/participation", b"{}")["upload_id"]
        envelope = self.seal(descriptor, manifest, upload_id, update)
        assert len(envelope) <= descriptor["max_envelope_bytes"]
        answer = self.request("PUT", f"{round_}/updates/{upload_id}", envelope, "application/vnd.boltz.envelope")
        receipt = self.verified(answer, "receipt")
        assert receipt["upload_id"] == upload_id
        assert receipt["body_sha256"] == hashlib.sha256(envelope).hexdigest()
        return receipt

    def seal(
        self, descriptor: dict[str, Any], manifest: dict[str, Any], upload_id: str, update: Sequence[float]
    ) -> bytes:
        """The envelope `BTE1` of an update."""
        plain = plaintext(manifest["layout"], update)
        jwk = descriptor["encryption_key"]
        assert jwk["kid"] == rfc7638(jwk, "e", "kty", "n")
        header = {
            "v": 1,
            "suite": 1,
            "server_kid": jwk["kid"],
            "client_kid": self.kid,
            "client_id": self.id,
            "model": descriptor["model"],
            "round": descriptor["round"],
            "upload_id": upload_id,
            "base_sha256": descriptor["base_sha256"],
            "layout_digest": hashlib.sha256(canonical(manifest["layout"])).hexdigest(),
            "codec": "safetensors-f32",
            "plain_length": len(plain),
            "created_at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        content_key = os.urandom(32)
        modulus, exponent = (int.from_bytes(to_bytes(jwk[name])) for name in ("n", "e"))
        public_key = RSAPublicNumbers(exponent, modulus).public_key()
        wrapped = public_key.encrypt(content_key, OAEP(mgf=MGF1(SHA256()), algorithm=SHA256(), label=None))
        clear = canonical(header)
        head = b"BTE1" + struct.pack(">I", len(clear)) + clear + struct.pack(">H", len(wrapped)) + wrapped
        return head + stream(content_key, hashlib.sha512(head).digest(), plain)


def plaintext(layout: list[dict[str, Any]], update: Sequence[float]) -> bytes:
    """Claims, then safetensors."""
    claims = canonical(
        {"v": 1, "examples": 100, "feature_coverage": 1, "invalid_share": 0, "metrics": {}, "local_noise": None}
    )
    tensors, start = {}, 0
    for spec in layout:
        stop = start + 4
        for size in spec["shape"]:
            stop = start + (stop - start) * size
        tensors[spec["name"]] = {"dtype": "F32", "shape": spec["shape"], "data_offsets": [start, stop]}
        start = stop
    listing = json.dumps(tensors).encode()
    numbers = struct.pack(f"<{len(update)}f", *update)
    return struct.pack(">I", len(claims)) + claims + struct.pack("<Q", len(listing)) + listing + numbers


def stream(content_key: bytes, context: bytes, plain: bytes) -> bytes:
    """Cobblestone-256."""
    salt = os.urandom(24)
    info = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\0" + salt + context
    derived = HKDFExpand(SHA512(), 32 + 12 + 32, info).derive(content_key)
    cipher, base_nonce, commitment = AESGCM(derived[:32]), int.from_bytes(derived[32:44]), derived[44:]
    chunks = [plain[start : start + CHUNK] for start in range(0, len(plain) + 1, CHUNK)]
    sealed = (cipher.encrypt((base_nonce ^ number).to_bytes(12), chunk, None) for number, chunk in enumerate(chunks))
    return salt + commitment + b"".join(sealed)
