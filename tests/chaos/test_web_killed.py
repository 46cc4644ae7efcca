"""SIGKILL of the web server with all its children during an upload; the client finds out, and sends nothing twice."""

from dataclasses import dataclass, field

import pytest

from boltz_client.clock import Clock
from boltz_client.errors import ServerUnreachableError
from boltz_client.home import Home
from boltz_client.journal import Journal
from tests.chaos.faults import kill
from tests.chaos.invariants import check_invariants
from tests.chaos.senders import one_hot_senders, send_all
from tests.integration.tcp_proxy import Proxy

pytestmark = pytest.mark.processes

NO_PATIENCE = Clock(sleep=lambda _seconds: None)


class WebIsDeadError(OSError):
    """Ends the proxy's connection."""


@dataclass
class Strike:
    """Kills the web server once a client has sent `after` bytes of an upload; or once the answer to it is on its way."""

    mesh: object
    after: int | None = None
    _uploaded: int | None = field(default=None, init=False)
    struck: bool = field(default=False, init=False)

    def let_request(self, block):
        if self._uploaded is None and block.startswith(b"PUT "):
            self._uploaded = 0
        if self._uploaded is not None:
            self._uploaded += len(block)
        if not self.struck and self.after is not None and (self._uploaded or 0) > self.after:
            self._strike()
        return block

    def let_answer(self, block):
        # the mesh answers once the commit is done
        if not self.struck and self.after is None and self._uploaded and block.startswith(b"HTTP/1.1 202"):
            self._strike()
        return block

    def _strike(self):
        self.struck = True
        kill(self.mesh, "web")
        raise WebIsDeadError


def entry_of(mesh, sender, model):
    return Journal(Home(mesh.homes / sender.name)).read(model, 1)


@pytest.mark.parametrize(
    ("after", "stored"), [(300_000, []), (None, ["staged"])], ids=["half-way", "before-the-answer"]
)
def test_web_is_killed_during_an_upload(mesh, model, parameters, after, stored):
    first, *others = one_hot_senders(parameters)
    # a home belongs to the address at which it has enrolled
    first.name = f"proxied-{model}"
    strike = Strike(mesh, after)
    with Proxy(mesh.port, let_request=strike.let_request, let_answer=strike.let_answer) as proxy:
        with mesh.new_client(first.name, url=proxy.url, clock=NO_PATIENCE) as client:
            client.register("eu-west-1", first.kind)
            with pytest.raises(ServerUnreachableError, match="may or may not have arrived"):
                first.send(mesh, model, client)
        assert strike.struck
        assert not mesh.processes["web"].is_running()
        before = entry_of(mesh, first, model)
        assert before.receipt is None
        mesh.until(lambda: mesh.update_states(model) == stored, f"the mesh holds {stored}")
        mesh.start_program("web")
        mesh.wait_until_ready()
        # a client that knows only what its journal says
        with mesh.new_client(first.name, url=proxy.url) as again:
            result = first.send(mesh, model, again)
    assert result.resumed == bool(stored)
    assert result.upload_id == before.upload_id
    assert set(before.sent) <= set(entry_of(mesh, first, model).sent)
    send_all(mesh, model, others)
    check_invariants(mesh, model, [first, *others])
