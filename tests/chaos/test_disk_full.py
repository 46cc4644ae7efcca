"""A full disk: an upload is refused as a whole, the work waits, and both go on when there is room."""

import pytest

from boltz_client.clock import Clock
from boltz_client.errors import MeshBusyError
from tests.chaos.full_disk import small_disk
from tests.chaos.invariants import check_invariants
from tests.chaos.senders import enrol, one_hot_senders, random_senders, send_all
from tests.integration.tcp_proxy import Proxy

pytestmark = [pytest.mark.processes, pytest.mark.long]

NO_PATIENCE = Clock(sleep=lambda _seconds: None)
NO_SPACE = "No space left on device"


def test_an_upload_that_finds_no_room_is_answered_503_and_nothing_of_it_is_kept(mesh, model, parameters):
    first, *others = one_hot_senders(parameters)
    first.name = f"proxied-{model}"
    with small_disk(mesh, "inbox") as disk, Proxy(mesh.port) as proxy:
        with mesh.new_client(first.name, url=proxy.url, clock=NO_PATIENCE) as client:
            client.register("eu-west-1", first.kind)
            disk.fill()
            assert disk.free_bytes() == 0
            with pytest.raises(MeshBusyError):
                first.send(mesh, model, client)
            answers = bytes(proxy.received).split(b"HTTP/1.1 ")
            refusals = [answer for answer in answers if answer.startswith(b"503 ")]
            assert refusals
            assert all(b'"code":"storage_unavailable"' in refusal for refusal in refusals)
            assert all(b"retry-after: 30" in refusal.lower() for refusal in refusals)
            assert f"storage_unavailable: {NO_SPACE}" in mesh.processes["web"].log.read_text()
            assert (disk.files(), mesh.update_states(model)) == ([], [])
            disk.make_room()
            assert not first.send(mesh, model, client).resumed
        send_all(mesh, model, others)
        check_invariants(mesh, model, [first, *others])


@pytest.mark.parametrize("name", ["staged", "runs", "scratch"])
def test_work_that_finds_no_room_waits_for_it(mesh, model, parameters, name):
    senders = random_senders(parameters, seed=41)
    enrol(mesh, senders)
    with small_disk(mesh, name) as disk:
        disk.fill()
        assert disk.free_bytes() == 0
        before = times_without_room(mesh)
        send_all(mesh, model, senders)
        mesh.until(lambda: times_without_room(mesh) > before + 2, "somebody has tried and failed, repeatedly")
        mesh.until(lambda: mesh.round_state(model) in {"sealed", "aggregating"}, "the round is full, and waits")
        # a bounded number of times: the pauses grow
        assert mesh.value("SELECT max(failures) FROM rounds_update") < 50
        disk.make_room()
        check_invariants(mesh, model, senders)


def times_without_room(mesh):
    """How often all programs have said so."""
    return sum(process.log.read_text(errors="replace").count(NO_SPACE) for process in mesh.processes.values())
