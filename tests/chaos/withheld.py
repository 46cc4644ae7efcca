"""Updates that the SDK has made, written into its journal and not sent.

A test can send the very bytes in any way it likes, let the SDK find out afterwards what became of them, and check the
mesh's promises against that journal.
"""

import contextlib
from dataclasses import dataclass

import httpx
import pytest

from boltz_client.clock import Clock
from boltz_client.errors import ServerUnreachableError
from boltz_protocol.tensors import Layout
from local_stack import ports, programs
from tests.apps.hostile_envelopes import ENVELOPE_TYPE, Place, descriptor_of
from tests.apps.signed_requests import SignedClient, Signer
from tests.chaos.extra_programs import extra
from tests.chaos.faults import paused
from tests.chaos.wire_faults import ANSWER_SECONDS, head_of

# a kept connection may be one to a web server that another test has killed
NOTHING_KEPT = httpx.Limits(max_keepalive_connections=0)

NO_LIMITS = dict.fromkeys(
    (
        "BOLTZ_LIMIT_CLIENT",
        "BOLTZ_LIMIT_ADDRESS",
        "BOLTZ_LIMIT_REFUSED",
        "BOLTZ_QUOTA_REQUESTS",
        "BOLTZ_QUOTA_BYTES",
    ),
    "off",
)
NO_PATIENCE = Clock(sleep=lambda _seconds: None)


@pytest.fixture
def wire(mesh):
    """HTTP to the mesh without the SDK; no partial file is left from programs that other tests have killed."""
    for path in (mesh.directory / "data").glob("*/*.part"):
        path.unlink()
    with httpx.Client(base_url=mesh.url, timeout=ANSWER_SECONDS, trust_env=False, limits=NOTHING_KEPT) as connection:
        yield connection


@pytest.fixture
def unlimited(mesh, wire):
    """The same to a second web server that counts nobody's requests, for more of them than anybody may send."""
    port = ports.free_port()
    web = programs.web(host=ports.LOOPBACK, port=port)
    url = f"http://{ports.LOOPBACK}:{port}"
    with (
        extra(mesh, web, name="unlimited-web", settings=NO_LIMITS),
        httpx.Client(base_url=url, timeout=ANSWER_SECONDS, trust_env=False, limits=NOTHING_KEPT) as connection,
    ):
        mesh.until(lambda: is_ready(connection), "the second web server is ready")
        yield connection


def is_ready(connection):
    try:
        return connection.get("/readyz").is_success
    except httpx.TransportError:
        return False


class Withholding(httpx.BaseTransport):
    """A network that carries everything but updates, and keeps these."""

    def __init__(self):
        self._network = httpx.HTTPTransport()
        self.kept = None

    def handle_request(self, request):
        if request.method != "PUT":
            return self._network.handle_request(request)
        self.kept = (request.url.path, request.read())
        raise httpx.ConnectError("updates are withheld")

    def close(self):
        self._network.close()


@dataclass(frozen=True)
class Withheld:
    """An update as the SDK has sealed it, whose it is, and where it belongs."""

    path: str
    body: bytes
    client: SignedClient
    layout: Layout

    @property
    def upload_id(self):
        return self.path.rpartition("/")[2]

    @property
    def round_path(self):
        return self.path.rpartition("/updates/")[0]

    def request(self, *, length=None, body=None, authority=None, more=(), **changes):
        """A request that sends it, to the byte, up to where its body begins; signed anew."""
        body = self.body if body is None else body
        authority = authority or self.client.authority
        signed = self.client.signer.headers(
            "PUT", self.path, **{"body": body, "content_type": ENVELOPE_TYPE, "authority": authority} | changes
        )
        announced = {"Content-Length": str(len(body) if length is None else length)}
        return head_of("PUT", self.path, signed | announced | dict(more), authority=authority)

    def send(self, body=None, **changes):
        """Send it, or other bytes in its place, as a library does."""
        body = self.body if body is None else body
        return self.client.request("PUT", self.path, body=body, **{"content_type": ENVELOPE_TYPE} | changes)

    def place(self):
        """Where it belongs, for envelopes that are made otherwise."""
        return Place(self.client, descriptor_of(self.client, self.round_path), self.upload_id, self.layout)


def withhold(mesh, wire, sender, model):
    """Let a sender's SDK join a round, train, seal and note what it is about to send; nothing is sent."""
    mesh.client(sender.name, sender.kind)
    network = Withholding()
    with mesh.new_client(sender.name, transport=network, clock=NO_PATIENCE) as client:
        with pytest.raises(ServerUnreachableError, match="may or may not have arrived"):
            sender.send(mesh, model, client)
        member = client._member()
    path, body = network.kept
    signed = SignedClient(wire, Signer(member.identity._private_key), member.record)
    return Withheld(path, body, signed, Layout.of({"w": sender.vector}))


@contextlib.contextmanager
def waits_to_be_decided(mesh, upload):
    """Send an update that no worker can claim during the block."""
    with mesh.session() as cursor:
        with paused(mesh, "worker", "beat", "reconciler"):
            assert upload.send().status_code == 202
            cursor.execute("SELECT 1 FROM rounds_update WHERE id = %s FOR UPDATE", [upload.upload_id])
        yield
