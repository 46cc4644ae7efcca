"""Requests drawn from the API's own description, with right parts mixed in, so that they get past its first refusals.

A request is drawn in full before it is sent; who signs it is decided by whoever sends it.
"""

from dataclasses import dataclass, field

import schemathesis
from hypothesis import strategies as st
from schemathesis import GenerationMode

from boltz_protocol import codec
from boltz_protocol.errors import MalformedMessageError
from tests.apps.hostile_envelopes import ENVELOPE_TYPE
from tests.fuzz.damage import damaged

HEADERS = (
    "Accept",
    "Accept-Encoding",
    "Accept-Language",
    "Authorization",
    "Content-Encoding",
    "Content-Type",
    "Cookie",
    "If-Match",
    "If-Modified-Since",
    "If-None-Match",
    "If-Range",
    "Origin",
    "Range",
    "X-CSRFToken",
    "X-Forwarded-For",
    "X-HTTP-Method-Override",
)
VALUES = (
    "*/*",
    "application/json",
    "application/problem+json;q=0.1",
    "text/html, application/xml;q=0.9",
    "application/json; charset=utf-16; indent=9",
    "multipart/form-data; boundary=x",
    "gzip",
    "identity",
    "bytes=0-0",
    "bytes=5-",
    "bytes=-5",
    "bytes=9-3",
    "bytes=0-1,3-4",
    "*",
    'W/"x"',
    "127.0.0.1, ::1",
    "DELETE",
    ",,;;==",
)


@schemathesis.serializer(ENVELOPE_TYPE)
def envelope_as_bytes(_context, value):
    """Whatever was drawn for an envelope, as bytes."""
    return {"data": value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")}


@dataclass(frozen=True)
class RightParts:
    """What a right request for one operation has: parts of its path, and its body."""

    path: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    # values that some fields of a body must have for the rest of it to be looked at
    fields: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Drawn:
    """A request as it was drawn; `body` replaces the case's own."""

    case: schemathesis.Case
    body: bytes | None
    headers: dict[str, str]


@st.composite
def requests_of(draw, operation, right):
    """Requests for one operation; `right` must stay the same as long as requests are drawn."""
    mode = draw(st.sampled_from(modes_of(operation)))
    case = draw(operation.as_strategy(generation_mode=mode))
    for name, value in right.path.items():
        if draw(st.sampled_from((True,) * 7 + (False,))):
            case.path_parameters[name] = value
    body = draw(bodies(case.body, right)) if operation.body else None
    return Drawn(case, body, content_type_of(operation) | draw(headers()))


def right_request(operation, right):
    """The request that is right in all its parts."""
    return Drawn(operation.Case(path_parameters=dict(right.path)), right.body, content_type_of(operation))


def modes_of(operation):
    """Only an operation that takes something can be given something wrong."""
    takes = bool(operation.body) or any(True for _ in operation.iter_parameters())
    return list(GenerationMode) if takes else [GenerationMode.POSITIVE]


def content_type_of(operation):
    """The header that says of what kind a body is; none where there is no body."""
    media_types = [body.media_type for body in operation.body]
    return {"Content-Type": media_types[0]} if media_types else {}


def bodies(drawn, right):
    """What was drawn, as it is (None) and in its canonical spelling; the right one; both of them damaged."""
    strategies = [st.none(), damaged(right.body)]
    for value in (drawn, drawn | right.fields if isinstance(drawn, dict) else drawn):
        try:
            raw = codec.encode(value)
        except MalformedMessageError:
            continue
        strategies += [st.just(raw), damaged(raw)]
    return st.one_of(strategies)


def headers():
    """None, as a rule, or some that mean something to somebody."""
    texts = st.text(st.characters(min_codepoint=0x21, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=20)
    values = (st.sampled_from(VALUES) | texts).map(lambda text: text.encode("latin-1"))
    return st.just({}) | st.dictionaries(st.sampled_from(HEADERS), values, max_size=3)
