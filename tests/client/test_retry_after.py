"""429 and 503: waited out to the second as the mesh asks, within bounds, and nothing is done twice for it."""

import re

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boltz_client.errors import MeshBusyError
from boltz_client.retries import FOR_UPLOADS, RetryPolicy, retry_after_seconds

UPLOAD = "PUT .*/updates/"
STEPS = ("GET .*/rounds/", "versions/", "POST .*/participation", UPLOAD)


def nonces(mesh, pattern):
    """Of the requests that matched, in order."""
    requests = [request for request in mesh.seen if re.search(pattern, f"{request.method} {request.url.path}")]
    return [re.search(r'nonce="([^"]+)"', request.headers["Signature-Input"])[1] for request in requests]


@pytest.fixture
def seen(mesh, monkeypatch):
    """Every request that reaches the mesh."""
    mesh.seen = []
    real = mesh.handle
    monkeypatch.setattr(mesh, "handle", lambda request: (mesh.seen.append(request), real(request))[1])


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("step", STEPS)
def test_each_step_waits_as_long_as_it_is_told_to(mesh, client, data, step, status):
    mesh.answer(step, status, times=2, headers={"Retry-After": "11"})
    client.participate_in_round("boltz-core", data)
    assert [seconds for seconds in mesh.clock.slept if seconds >= 5] == [11, 11]
    assert len(mesh.rounds[1].updates) == 1


@pytest.mark.parametrize("status", [429, 503])
def test_an_update_that_was_taken_before_a_proxy_said_no_is_not_doubled(mesh, seen, make_client, data, status):
    client = make_client()
    client.register(region="us-east-1")

    def taken_and_refused(request, proceed):
        assert proceed(request).status_code == 202
        return httpx.Response(status, headers={"Retry-After": "2"})

    mesh.answer(UPLOAD, status, times=2)
    mesh.faults[-1].act = taken_and_refused
    result = client.participate_in_round("boltz-core", data)
    assert len(mesh.rounds[1].updates) == 1
    assert result.receipt.body_sha256 == mesh.the_update().body_sha256
    sent = [request for request in mesh.seen if request.method == "PUT"]
    assert len({(request.url.path, request.content) for request in sent}) == 1
    assert len(set(nonces(mesh, UPLOAD))) == len(sent) == 3


def test_a_wait_of_nothing_is_the_sdks_own_pause(mesh, client):
    mesh.answer("GET .*/models$", 503, times=4, headers={"Retry-After": "0"})
    client.models()
    for slept, longest in zip(mesh.clock.slept, [0.2, 0.4, 0.8, 1.6], strict=True):
        assert longest / 2 <= slept <= longest


@pytest.mark.parametrize(("asked", "slept"), [("30", [30]), ("31", [])])
def test_patience_ends_where_the_document_says(mesh, client, asked, slept):
    mesh.answer("GET .*/models$", 429, times=1, headers={"Retry-After": asked})
    if slept:
        client.models()
    else:
        with pytest.raises(MeshBusyError, match="in 31 seconds"):
            client.models()
    assert mesh.clock.slept == slept


@pytest.mark.parametrize(("pattern", "policy"), [("GET .*/rounds/", RetryPolicy()), (UPLOAD, FOR_UPLOADS)])
def test_a_mesh_that_always_says_later_costs_a_bounded_time(mesh, client, data, pattern, policy):
    mesh.answer(pattern, 429, times=1000, headers={"Retry-After": "30"})
    with pytest.raises(MeshBusyError):
        client.participate_in_round("boltz-core", data)
    assert mesh.clock.slept == [30] * (policy.attempts - 1)


@given(header=st.text(), now=st.floats(-1e12, 1e12))
def test_whatever_a_proxy_writes_there_is_no_wait_below_nothing_and_no_crash(header, now):
    assert (retry_after_seconds(header, now=now) or 0) >= 0
