import pytest
from rest_framework.test import APIRequestFactory
from rest_framework.views import APIView

from apps.wire.canonical_json import CanonicalJSONParser, CanonicalJSONRenderer, read_message
from boltz_protocol import codec
from boltz_protocol.errors import MalformedMessageError
from boltz_protocol.messages import TensorSpec

SPEC = TensorSpec(name="weight", shape=(3,))


def request(body, content_type="application/json"):
    class View(APIView):
        parser_classes = (CanonicalJSONParser,)
        authentication_classes = ()

    return View().initialize_request(APIRequestFactory().post("/x", body, content_type=content_type))


def test_a_message_goes_in_and_out_in_its_one_spelling():
    raw = CanonicalJSONRenderer().render(SPEC)
    assert raw == b'{"name":"weight","shape":[3]}'
    assert read_message(request(raw), TensorSpec) == SPEC


def test_plain_values_are_written_too_and_nothing_as_nothing():
    assert CanonicalJSONRenderer().render({"b": 1, "a": None}) == b'{"a":null,"b":1}'
    assert CanonicalJSONRenderer().render(None) == b""


@pytest.mark.parametrize(
    "raw",
    [b"", b'{"shape":[3],"name":"weight"}', b'{"name": "weight","shape":[3]}', b'{"name":"weight"}', b"[]", b"\xff"],
    ids=["empty", "other order", "white space", "field missing", "another type", "not text"],
)
def test_another_spelling_is_refused(raw):
    with pytest.raises(MalformedMessageError):
        read_message(request(raw), TensorSpec)


def test_no_more_than_the_limit_and_a_byte_is_ever_read():
    parsed = request(b"x" * (codec.MAX_MESSAGE_BYTES + 1000)).data
    assert len(parsed) == codec.MAX_MESSAGE_BYTES + 1
