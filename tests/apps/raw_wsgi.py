"""Requests to the mesh whose body is a stream that does something while it is read."""

import io
from collections.abc import Callable
from typing import Any

import httpx
from django.core.handlers.wsgi import WSGIHandler

from tests.apps.signed_requests import AUTHORITY


class Unreadable:
    """A body of which nobody may read a byte."""

    def read(self, size: int = -1) -> bytes:
        raise AssertionError(f"{size} bytes of a body were asked for that should have been refused unread")

    readline = read


class Interrupted:
    """A body during which something happens, once, after its first block."""

    def __init__(self, body: bytes, happens: Callable[[], Any], *, first: int = 1024) -> None:
        self._stream = io.BytesIO(body)
        self._happens = happens
        self._first = first

    def read(self, size: int = -1) -> bytes:
        position = self._stream.tell()
        if position == 0:
            return self._stream.read(self._first)
        if position == self._first:
            self._happens()
        return self._stream.read(size)

    readline = read


def call(
    application: WSGIHandler, method: str, path: str, headers: dict[str, str], body: Any, *, length: int
) -> httpx.Response:
    """One request through the WSGI interface, as a web server makes it."""
    answer: dict[str, Any] = {}

    def start_response(status: str, answer_headers: list[tuple[str, str]], _error: Any = None) -> None:
        answer.update(status=int(status.split(maxsplit=1)[0]), headers=answer_headers)

    environ = {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "SERVER_NAME": AUTHORITY,
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": AUTHORITY,
        "REMOTE_ADDR": "127.0.0.1",
        "CONTENT_LENGTH": str(length),
        "CONTENT_TYPE": headers.get("Content-Type", ""),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": body,
        "wsgi.errors": None,
        "wsgi.multithread": False,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    environ |= {
        f"HTTP_{name.upper().replace('-', '_')}": value for name, value in headers.items() if name != "Content-Type"
    }
    response = application(environ, start_response)
    try:
        content = b"".join(response)
    finally:
        response.close()
    return httpx.Response(answer["status"], headers=answer["headers"], content=content)
