"""What the fuzzing of the API finds: servers that answer wrongly, each in its own way."""

import contextlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from local_stack.mesh import ROOT
from local_stack.ports import free_port
from tests.fuzz.api import NOBODY, Fuzzing, name_of
from tests.fuzz.hostile_requests import RightParts

PROBLEM = b'{"code":"%s","detail":"","server_time":null,"status":%d,"title":"","type":"urn:x"}'
PROBLEM_TYPE = "application/problem+json"


@contextlib.contextmanager
def server(status, content_type, body):
    """A server that describes the mesh's API, and answers everything else in one way."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            described = self.path.startswith("/api/schema/")
            self.answer(
                *((200, "application/vnd.oai.openapi", DOCUMENT) if described else (status, content_type, body))
            )

        def answer(self, status, content_type, body):
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            """Nobody reads it."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{listening.server_port}"
        listening.shutdown()


DOCUMENT = (ROOT / "docs" / "openapi.yaml").read_bytes()


def findings(*answer):
    """What is found about `GET /clients/me` of such a server, asked by nobody."""
    with server(*answer) as url, contextlib.closing(Fuzzing(url, participants=None)) as fuzzing:
        (operation,) = (one for one in fuzzing.operations if name_of(one) == "getMe")
        fuzzing.fuzz_others(operation, NOBODY, RightParts(), seed=1, examples=3)
        assert fuzzing.counts["getMe", NOBODY, answer[0]] > 0
        return sorted(title for _, _, title in fuzzing.findings)


def test_a_refusal_as_the_document_has_it_is_no_finding():
    assert findings(401, PROBLEM_TYPE, PROBLEM % (b"authentication_failed", 401)) == []


@pytest.mark.parametrize("status", [500, 503])
def test_a_fault_of_the_server_is_found(status):
    assert f"status {status}" in findings(status, PROBLEM_TYPE, PROBLEM % (b"database_unavailable", status))


def test_an_answer_to_nobody_is_found():
    assert "200 without a signature" in findings(200, "application/json", b"{}")


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ((418, PROBLEM_TYPE, PROBLEM % (b"teapot", 418)), "Undocumented status code 418"),
        ((401, "text/html", b"<p>"), "Undocumented Content-Type 401"),
        ((401, PROBLEM_TYPE, b'{"code":"authentication_failed"}'), "Response violates schema 401"),
    ],
    ids=["status", "content type", "content"],
)
def test_an_answer_that_the_document_does_not_have_is_found(answer, found):
    assert found in findings(*answer)


def test_a_server_that_does_not_answer_is_found():
    with server(401, PROBLEM_TYPE, b"") as url, contextlib.closing(Fuzzing(url, participants=None)) as fuzzing:
        (operation,) = (one for one in fuzzing.operations if name_of(one) == "getMe")
        fuzzing.url = f"http://127.0.0.1:{free_port()}"
        fuzzing.fuzz_others(operation, NOBODY, RightParts(), seed=1, examples=2)
        assert [title for _, _, title in fuzzing.findings] == ["ConnectionError"]
