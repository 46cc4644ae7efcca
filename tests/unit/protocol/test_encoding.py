import pytest
from hypothesis import given
from hypothesis import strategies as st

from boltz_protocol.encoding import base64url, from_base64url
from boltz_protocol.errors import MalformedMessageError


@given(st.binary(max_size=200))
def test_what_was_encoded_is_decoded_again(data):
    assert from_base64url(base64url(data)) == data


@given(st.text(alphabet=st.characters(max_codepoint=0x17F), max_size=12))
def test_whatever_is_decoded_has_one_spelling(text):
    try:
        data = from_base64url(text)
    except MalformedMessageError:
        return
    assert base64url(data) == text


def test_the_alphabet_is_the_url_safe_one():
    assert base64url(b"\xfb\xff\xfe") == "-__-"


@pytest.mark.parametrize(
    "text",
    ["QQ==", "QQ=", "+/8A", "Q", "QQQQQ", "QR", "QUJ", " QQ", "QQ\n", "Q Q", "QQ.", "é", "\uff31\uff31"],
    ids=[
        "padding", "half the padding", "the other alphabet", "one character", "an impossible length", "stray bits",
        "two stray bits", "a leading space", "a line break", "a space inside", "a dot", "an accent", "wide letters",
    ],
)  # fmt: skip
def test_another_spelling_is_refused(text):
    with pytest.raises(MalformedMessageError):
        from_base64url(text)
