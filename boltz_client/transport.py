"""HTTP to one mesh: signed requests, bounded answers, retries.

What comes back is bytes and a status; what it means is for others. Each attempt is signed anew, with a nonce of its
own. Content codings are neither asked for nor accepted, so an answer cannot unfold into more than its length.
"""

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import httpx

from boltz_client import refusals, retries
from boltz_client.clock import Clock
from boltz_client.errors import LocalError, MeshAnswerError, MeshBusyError, ServerUnreachableError
from boltz_client.progress import Progress
from boltz_client.retries import RetryPolicy, TransientError
from boltz_protocol import codec, http_signature
from boltz_protocol.errors import MalformedMessageError

API = "/api/v1"
JSON = "application/json"
ENVELOPE = "application/vnd.boltz.envelope"
MAX_ANSWER_BYTES = 4 << 20
BLOCK_BYTES = 256 * 1024
TIMEOUT = httpx.Timeout(60.0, connect=10.0)

_BUSY = frozenset({429, 502, 503, 504})
_OK = range(200, 300)
_REFUSED = range(400, 600)

T = TypeVar("T")
A = TypeVar("A")


class Signer(Protocol):
    """Whoever signs a request: an `Identity`."""

    @property
    def kid(self) -> str:
        """Thumbprint of the key."""
        ...

    def sign(self, message: bytes) -> bytes:
        """Sign with Ed25519."""
        ...


@dataclass(frozen=True)
class Call:
    """One request. `path` is below /api/v1. `body` and `content_type` come together; `body_sha256` saves a hash."""

    method: str
    path: str
    params: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | memoryview | None = None
    content_type: str | None = None
    body_sha256: bytes | None = None
    progress: str = ""


@dataclass(frozen=True)
class Answer:
    """A successful answer."""

    status: int
    body: bytes

    def read(self, kind: type[T]) -> T:
        """Decode the body as one message.

        Raises:
            MeshAnswerError: it is not one.
        """
        try:
            return codec.decode(self.body, kind, max_bytes=MAX_ANSWER_BYTES)
        except MalformedMessageError as error:
            raise MeshAnswerError(f"the mesh's answer is not of the protocol: {error.message}") from error


class Transport:
    """Requests to the mesh at `base_url`."""

    def __init__(
        self, base_url: str, *, clock: Clock, http: httpx.BaseTransport | None = None, policy: RetryPolicy | None = None
    ) -> None:
        self.base_url = _checked(base_url)
        self.clock = clock
        self._policy = policy or RetryPolicy()
        self._http = httpx.Client(transport=http, timeout=TIMEOUT, headers={"User-Agent": "boltz-client"})

    @property
    def authority(self) -> str:
        """Host and port as both ends sign them: lower case, no default port."""
        return self.base_url.netloc.decode("ascii").lower()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def call(self, call: Call, *, signer: Signer | None, policy: RetryPolicy | None = None) -> Answer:
        """Send a request, again if need be, and return its successful answer.

        Raises:
            ServerUnreachableError: no answer at all.
            MeshBusyError: 429, 502, 503 or 504 to the end.
            RefusedError, LaterError, ClockSkewError: the mesh said no (refusals.py).
            MeshAnswerError: an answer that is not of the protocol.
        """
        return self.retrying(lambda: self._once(call, signer), policy=policy)

    def retrying(self, attempt: Callable[[], A], *, policy: RetryPolicy | None = None) -> A:
        """Run `attempt` (which opens `stream`) under the retry policy."""
        return retries.retrying(attempt, policy=policy or self._policy, clock=self.clock)

    @contextlib.contextmanager
    def stream(self, call: Call, *, signer: Signer | None) -> Iterator[httpx.Response]:
        """One attempt: yields the successful answer with its body unread.

        Raises:
            TransientError: worth another attempt.
            FederatedClientError: as for `call`.
        """
        request = self._request(call, signer)
        try:
            response = self._http.send(request, stream=True)
            try:
                self._check(response)
                yield response
            finally:
                response.close()
        except httpx.TransportError as error:
            raise TransientError(self._unreachable(error)) from error

    def _once(self, call: Call, signer: Signer | None) -> Answer:
        with self.stream(call, signer=signer) as response:
            return Answer(response.status_code, _read_bounded(response))

    def _request(self, call: Call, signer: Signer | None) -> httpx.Request:
        url = self.base_url.copy_with(path=self.base_url.path.rstrip("/") + API + call.path, params=call.params or None)
        headers = {"Accept-Encoding": "identity", **call.headers}
        digest = None
        if call.body is not None and call.content_type is not None:
            digest = http_signature.content_digest(call.body_sha256 or hashlib.sha256(call.body).digest())
            headers |= {
                "Content-Type": call.content_type,
                "Content-Digest": digest,
                "Content-Length": str(len(call.body)),
            }
        if signer is not None:
            headers |= self._signature(call, url, digest, signer)
        content = None if call.body is None else _blocks(call.body, Progress(call.progress, len(call.body)))
        return self._http.build_request(call.method, url, headers=headers, content=content)

    def _signature(self, call: Call, url: httpx.URL, digest: str | None, signer: Signer) -> dict[str, str]:
        path, _, query = url.raw_path.decode("ascii").partition("?")
        parts = http_signature.RequestParts(
            method=call.method,
            authority=self.authority,
            path=path,
            query=query,
            content_type=call.content_type,
            content_digest=digest,
        )
        return http_signature.make_signature(
            parts,
            kid=signer.kid,
            sign=signer.sign,
            nonce=self.clock.random_bytes(http_signature.NONCE_BYTES),
            created=int(self.clock.now()),
        )

    def _check(self, response: httpx.Response) -> None:
        """Sort an answer by its status before its body is touched."""
        status = response.status_code
        if status in _OK or status == httpx.codes.NOT_MODIFIED:
            if response.headers.get("Content-Encoding", "identity") != "identity":
                raise MeshAnswerError("the mesh's answer has a content coding, which nobody asked for")
            return
        if status not in _REFUSED:
            raise MeshAnswerError(f"{self.base_url} answered {status}, which is not of the protocol; check base_url")
        problem = refusals.read_problem(status, _read_bounded(response))
        if status in _BUSY:
            seconds = retries.retry_after_seconds(response.headers.get("Retry-After"), now=self.clock.now())
            when = "in a minute" if seconds is None else f"in {seconds:.0f} seconds"
            said = refusals.sentence_of(problem)
            raise TransientError(
                MeshBusyError(f"{self.base_url} is busy or starting ({said}); try again {when}"),
                retry_after_seconds=seconds,
            )
        raise refusals.error_for(problem, base_url=str(self.base_url), now=self.clock.now())

    def _unreachable(self, error: httpx.TransportError) -> ServerUnreachableError:
        reason = str(error) or type(error).__name__
        return ServerUnreachableError(
            f"no answer from {self.base_url} ({reason}). Is the mesh running there, and is base_url right?"
        )


def _checked(base_url: str) -> httpx.URL:
    try:
        url = httpx.URL(base_url.rstrip("/"))
    except httpx.InvalidURL as error:
        raise LocalError(f"base_url {base_url!r} is not a URL: {error}", code="bad_base_url") from error
    if url.scheme not in {"http", "https"} or not url.host or url.userinfo or url.query or url.fragment:
        raise LocalError(
            f"base_url {base_url!r} must look like https://mesh.example.com or http://localhost:8010",
            code="bad_base_url",
        )
    return url


def _blocks(body: bytes | memoryview, progress: Progress) -> Iterator[bytes]:
    view = memoryview(body)
    for start in range(0, len(view), BLOCK_BYTES):
        yield bytes(view[start : start + BLOCK_BYTES])
        progress.at(min(start + BLOCK_BYTES, len(view)))


def _read_bounded(response: httpx.Response) -> bytes:
    body = bytearray()
    for block in response.iter_bytes():
        body += block
        if len(body) > MAX_ANSWER_BYTES:
            raise MeshAnswerError(f"the mesh's answer is longer than {MAX_ANSWER_BYTES} bytes")
    return bytes(body)
