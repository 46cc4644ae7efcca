"""`GET .../versions/{n}/artifact`: the weights, with ETag and Range."""

import re
from typing import Any

from django.http import HttpResponse, StreamingHttpResponse
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.request import Request
from rest_framework.views import APIView

from apps.rounds import selectors, versions
from apps.wire.openapi import TO_INACTIVE_CLIENTS, describe, header
from boltz_protocol.errors import SenderError

RANGE = re.compile(r"bytes=(\d{1,15})-(\d{0,15})")


class AnyAccept(BaseContentNegotiation):
    """The artifact has one form, whatever the client says it accepts; errors are problem+json."""

    def select_parser(self, request: Request, parsers: Any) -> Any:
        """There is no body."""
        return parsers[0]

    def select_renderer(self, request: Request, renderers: Any, format_suffix: str | None = None) -> Any:
        """For errors only."""
        return renderers[0], renderers[0].media_type


class ArtifactView(APIView):
    """The weights of a version as a safetensors file."""

    content_negotiation_class = AnyAccept

    @describe(
        summary="The weights of a version (safetensors); ETag is their SHA-256",
        response=bytes,
        media_type="application/octet-stream",
        statuses=(200, 206),
        statuses_without_content={304: "The one that `If-None-Match` names"},
        parameters=[
            header("If-None-Match", "An ETag: 304 when the weights are these"),
            header("Range", "One range, such as `bytes=100-199` or `bytes=100-`: 206 with it"),
        ],
        errors=(*TO_INACTIVE_CLIENTS, "unknown_model", "unknown_version", "range_not_satisfiable"),
        tags=["models"],
    )
    def get(self, request: Request, name: str, number: str) -> HttpResponse | StreamingHttpResponse:
        """The whole file, or the one range that is asked for."""
        version = selectors.find_version(name, number)
        etag = f'"{version.weights_sha256}"'
        headers = {"ETag": etag, "Accept-Ranges": "bytes", "Cache-Control": "private, no-cache"}
        if request.headers.get("If-None-Match") == etag:
            return HttpResponse(status=304, headers=headers)
        versions.verify(version)
        start, stop = asked_range(request.headers.get("Range"), version.weights_bytes)
        response = StreamingHttpResponse(
            versions.byte_range(version, start, stop), content_type="application/octet-stream", headers=headers
        )
        response["Content-Length"] = str(stop - start)
        if stop - start != version.weights_bytes:
            response.status_code = 206
            response["Content-Range"] = f"bytes {start}-{stop - 1}/{version.weights_bytes}"
        return response


def asked_range(header: str | None, size: int) -> tuple[int, int]:
    """The bytes [start, stop) that a Range header asks for; one range, counted from the front.

    Raises:
        SenderError: `range_not_satisfiable`.
    """
    if header is None:
        return 0, size
    match = RANGE.fullmatch(header)
    start = int(match[1]) if match else size
    stop = min(int(match[2]) + 1, size) if match and match[2] else size
    if start >= stop:
        raise SenderError(f"Range must be one of bytes 0 to {size - 1}", code="range_not_satisfiable")
    return start, stop
