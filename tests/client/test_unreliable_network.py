"""Lost requests, lost answers, storms of 503 and crashes: one update each time, and never a second one."""

from datetime import datetime
from email.utils import format_datetime

import httpx
import pytest

from boltz_client import FederatedClient
from boltz_client.errors import (
    AlreadySubmittedError,
    ClockSkewError,
    LocalError,
    MeshBusyError,
    MeshFaultError,
    RefusedError,
    RoundNotOpenError,
    ServerUnreachableError,
)
from boltz_client.retries import retry_after_seconds
from tests.client.mesh_simulation import URL

ARTIFACT = "GET .*/artifact"
UPLOAD = "PUT .*/updates/"


def test_a_lost_answer_is_asked_for_again_with_the_same_bytes_and_another_nonce(mesh, client, data):
    mesh.lose_answer(UPLOAD, times=3)
    result = client.participate_in_round("boltz-core", data)
    uploads = [body for body in mesh.bodies if body.startswith(b"BTE1")]
    assert len(uploads) == 4
    assert len(set(uploads)) == 1
    assert result.receipt.body_sha256 == mesh.the_update().body_sha256


def test_a_request_that_never_arrived_is_sent_again(mesh, client, data):
    mesh.lose_request(UPLOAD, times=2)
    client.participate_in_round("boltz-core", data)
    assert len(mesh.rounds[1].updates) == 1


def test_each_step_survives_a_lost_answer(mesh, make_client, data):
    for pattern in (
        "GET .*/keys",
        "POST .*/clients$",
        "GET .*/rounds/",
        "versions/0$",
        "artifact",
        "participation",
        "PUT",
    ):
        mesh.lose_answer(pattern)
    client = make_client()
    client.register(region="eu")
    client.participate_in_round("boltz-core", data)
    assert len(mesh.clients) == len(mesh.rounds[1].joined) == len(mesh.rounds[1].updates) == 1


def test_a_storm_of_503_is_waited_out_as_retry_after_asks(mesh, client, data):
    mesh.answer(UPLOAD, 503, times=3, headers={"Retry-After": "7"})
    client.participate_in_round("boltz-core", data)
    assert [seconds for seconds in mesh.clock.slept if seconds >= 7] == [7, 7, 7]
    assert len(mesh.rounds[1].updates) == 1


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_storm_without_end_is_given_up_and_resumed_later(mesh, client, data, status):
    mesh.answer(UPLOAD, status, times=8)
    with pytest.raises(MeshBusyError, match="busy or starting"):
        client.participate_in_round("boltz-core", data)
    result = client.participate_in_round("boltz-core", data)
    assert not result.resumed
    assert result.receipt.body_sha256 == mesh.the_update().body_sha256


def test_a_long_retry_after_is_told_instead_of_slept(mesh, client):
    mesh.answer("GET .*/models$", 429, headers={"Retry-After": "3600"})
    with pytest.raises(MeshBusyError, match="in 3600 seconds"):
        client.models()
    assert mesh.clock.slept == []


def test_retry_after_is_read_as_seconds_or_as_a_date():
    now = datetime.fromisoformat("2026-03-02T09:00:00+00:00")
    later = format_datetime(datetime.fromisoformat("2026-03-02T09:00:30+00:00"), usegmt=True)
    assert retry_after_seconds("30", now=now.timestamp()) == 30
    assert retry_after_seconds(later, now=now.timestamp()) == 30
    assert retry_after_seconds("Mon, 02 Mar 2026 09:00:30 -0000", now=now.timestamp()) == 30
    assert retry_after_seconds(later, now=now.timestamp() + 100) == 0
    assert retry_after_seconds("soon", now=0) is None
    assert retry_after_seconds(None, now=0) is None


def test_waits_double_and_are_jittered(mesh, client):
    mesh.lose_request("GET .*/models$", times=4)
    client.models()
    for slept, longest in zip(mesh.clock.slept, [0.2, 0.4, 0.8, 1.6], strict=True):
        assert longest / 2 <= slept <= longest


def test_a_mesh_that_is_not_there_is_named_by_its_address(mesh, client):
    mesh.lose_request(".*", times=100)
    with pytest.raises(ServerUnreachableError, match=f"no answer from {URL}.*connection refused"):
        client.models()


def test_our_crash_between_send_and_answer_is_resumed_without_a_second_update(mesh, client, make_client, data):
    mesh.lose_answer(UPLOAD, times=100)
    with pytest.raises(ServerUnreachableError, match="may or may not have arrived"):
        client.participate_in_round("boltz-core", data)
    sent = mesh.the_update().body_sha256
    mesh.faults.clear()
    result = make_client().participate_in_round("boltz-core", data)
    assert result.resumed
    assert result.receipt.body_sha256 == sent
    assert len(mesh.rounds[1].updates) == 1


def test_a_crash_before_the_send_arrived_sends_once(mesh, client, make_client, data):
    mesh.lose_request(UPLOAD, times=100)
    with pytest.raises(ServerUnreachableError):
        client.participate_in_round("boltz-core", data)
    mesh.faults.clear()
    result = make_client().participate_in_round("boltz-core", data)
    assert not result.resumed
    assert len(mesh.rounds[1].updates) == 1


def test_the_first_upload_arriving_after_the_second_was_sealed_counts_as_ours(mesh, client, make_client, data):
    """A slow proxy: the crashed call's bytes get in between the status question and the new upload."""
    mesh.lose_request(UPLOAD, times=8)
    held_back = []
    mesh.faults[0].act = lambda request, _proceed: _hold_back(request, held_back)
    with pytest.raises(ServerUnreachableError):
        client.participate_in_round("boltz-core", data)

    def late(request, proceed):
        mesh.carry_out(held_back[-1])
        return proceed(request)

    mesh.answer("POST .*/participation", 200)
    mesh.faults[-1].act = late
    result = make_client().participate_in_round("boltz-core", data)
    assert result.receipt.body_sha256 == mesh.the_update().body_sha256
    assert mesh.the_update().body == held_back[-1].content


def _hold_back(request: httpx.Request, held_back: list[httpx.Request]) -> httpx.Response:
    request.read()
    held_back.append(request)
    raise httpx.ReadTimeout("timed out", request=request)


def test_a_round_that_was_sealed_after_our_lost_answer_still_gives_the_receipt(mesh, client, data):
    def seal_then_refuse(request, proceed):
        proceed(request)
        mesh.rounds[1].state = "sealed"
        raise httpx.ReadError("reset", request=request)

    mesh.lose_answer(UPLOAD)
    mesh.faults[-1].act = seal_then_refuse
    mesh.answer(UPLOAD, 409, content=_problem("round_sealed"))
    result = client.participate_in_round("boltz-core", data)
    assert result.receipt.body_sha256 == mesh.the_update().body_sha256


def test_a_round_sealed_before_our_upload_says_so(mesh, client, data):
    mesh.answer(UPLOAD, 409, content=_problem("round_sealed"))
    with pytest.raises(RoundNotOpenError, match="takes no more"):
        client.participate_in_round("boltz-core", data)


def test_an_update_sent_from_another_machine_is_not_taken_for_ours(mesh, client, make_client, tmp_path, data):
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("identity.json", "registration.json", "mesh.json"):
        (copy / name).write_bytes((client.home / name).read_bytes())
        (copy / name).chmod(0o600)
    make_client(home=copy).participate_in_round("boltz-core", data)
    with pytest.raises(AlreadySubmittedError, match="from another home or process"):
        client.participate_in_round("boltz-core", data)
    assert len(mesh.rounds[1].updates) == 1


def test_a_second_upload_id_is_refused_as_already_submitted(mesh, client, data):
    mesh.answer(UPLOAD, 409, content=_problem("already_submitted"))
    with pytest.raises(AlreadySubmittedError):
        client.participate_in_round("boltz-core", data)


def test_a_retired_encryption_key_is_replaced_and_the_update_sealed_again(mesh, client, data):
    mesh.tamper("POST .*/participation", lambda body: (mesh.retire_encryption_key(), body)[1], times=1)
    result = client.participate_in_round("boltz-core", data)
    assert mesh.count("^PUT") == 2
    assert result.receipt.body_sha256 == mesh.the_update().body_sha256


def test_a_key_said_to_be_retired_and_not_replaced_is_not_tried_for_ever(mesh, client, data):
    mesh.answer(UPLOAD, 409, times=100, content=_problem("encryption_key_retired"))
    with pytest.raises(RefusedError) as caught:
        client.participate_in_round("boltz-core", data)
    assert caught.value.code == "encryption_key_retired"
    assert mesh.count("^PUT") == 1


@pytest.mark.parametrize(("offset", "direction"), [(600, "600 seconds ahead of"), (-600, "600 seconds behind")])
def test_a_wrong_clock_is_told_by_how_much(mesh, make_client, offset, direction):
    client = make_client(clock=mesh.clock.for_client(offset_seconds=offset))
    with pytest.raises(ClockSkewError, match=direction) as caught:
        client.register(region="eu")
    assert caught.value.offset_seconds == pytest.approx(offset, abs=1)


def test_a_truncated_download_is_continued_where_it_broke_off(mesh, client, data):
    mesh.tamper(ARTIFACT, lambda body: body[:100], times=1)
    client.participate_in_round("boltz-core", data)
    assert mesh.count(ARTIFACT) == 2
    assert client.pull("boltz-core").vector.shape == (4,)


def test_a_download_that_breaks_in_the_middle_is_continued(mesh, client):
    def broken(request, proceed):
        answer = proceed(request)

        def blocks():
            yield answer.read()[:50]
            raise httpx.ReadError("reset", request=request)

        return httpx.Response(200, headers={"ETag": answer.headers["ETag"]}, content=blocks())

    mesh.lose_answer(ARTIFACT)
    mesh.faults[-1].act = broken
    assert client.pull("boltz-core").manifest.number == 0
    assert mesh.count(ARTIFACT) == 2


def test_a_server_without_ranges_starts_over(mesh, client):
    def whole(request, proceed):
        del request.headers["Range"]
        return proceed(request)

    mesh.tamper(ARTIFACT, lambda body: body[:100], times=1)
    mesh.lose_answer(ARTIFACT)
    mesh.faults[-1].act = whole
    assert client.pull("boltz-core").vector.shape == (4,)


def test_a_wrong_part_of_the_weights_is_refused(mesh, client):
    mesh.tamper(ARTIFACT, lambda body: body[:100], times=1)
    mesh.answer(ARTIFACT, 206, headers={"Content-Range": "bytes 0-9/10"}, content=b"0123456789")
    with pytest.raises(Exception, match="another part of the weights"):
        client.pull("boltz-core")


def test_a_download_that_never_ends_well_is_given_up(mesh, client):
    mesh.tamper(ARTIFACT, lambda _body: b"", times=100)
    with pytest.raises(ServerUnreachableError, match="broke off at 0 of"):
        client.pull("boltz-core")
    assert mesh.count(ARTIFACT) == 8


def test_a_fault_of_the_mesh_is_told_apart_from_ours(mesh, client):
    mesh.answer("GET .*/models$", 500, content=b"<html>")
    with pytest.raises(MeshFaultError, match="failed on its side"):
        client.models()


@pytest.mark.parametrize(
    "url",
    ["localhost:8010", "ftp://mesh", "http://", "http://user:pass@mesh", "http://mesh?x=1", "http://mesh:port", "mesh"],
)
def test_an_address_that_is_none_is_said_at_once(tmp_path, url):
    with pytest.raises(LocalError, match="base_url"):
        FederatedClient("alice", url, home=tmp_path)


def _problem(code: str) -> bytes:
    from boltz_protocol import codec
    from tests.client.mesh_simulation import ProblemError

    return codec.encode(ProblemError(409, code, f"{code}: takes no more").problem)
