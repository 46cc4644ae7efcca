"""Development mode admits everyone and has no TLS, so it answers nobody but its own machine."""

import httpx
import pytest
from django.core.management import CommandError, call_command

from boltz_federated import middleware

# what a stranger may claim
HEADERS = {"host": "localhost", "x-forwarded-for": "127.0.0.1", "x-real-ip": "127.0.0.1"}


@pytest.fixture
def request_from(wsgi_application):
    """The answer to a request that comes from an address."""

    def ask(address, method="GET", path="/healthz"):
        transport = httpx.WSGITransport(app=wsgi_application, remote_addr=address)
        with httpx.Client(transport=transport, base_url="http://localhost") as http:
            return http.request(method, path, headers=HEADERS)

    return ask


@pytest.mark.parametrize("stranger", ["10.1.2.3", "2001:db8::1", "::ffff:10.1.2.3", ""])
@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/healthz"), ("GET", "/admin/login/"), ("GET", "/static/x.css"), ("POST", "/api/v1/clients")],
)
def test_a_stranger_is_refused_though_he_names_this_machine(request_from, stranger, method, path):
    answer = request_from(stranger, method, path)
    assert answer.status_code == 403
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "permission_denied"
    assert "It answers requests from its own machine only." in answer.json()["detail"]


@pytest.mark.parametrize("neighbour", ["127.0.0.1", "::1", "::ffff:127.0.0.1"])
def test_this_machine_is_answered(request_from, neighbour):
    assert request_from(neighbour).text == "ok\n"


def test_it_is_loud(caplog):
    middleware.only_this_machine(lambda request: request)
    assert "BOLTZ_DEV_MODE is on: everyone on this machine may enrol" in caplog.text


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.1.2.3", "mesh.example"])  # noqa: S104 - refused
def test_it_listens_nowhere_else(host):
    with pytest.raises(CommandError, match=r"BOLTZ_DEV_MODE may listen on this machine only \(127.0.0.1\), not on"):
        call_command("serve", host=host)
