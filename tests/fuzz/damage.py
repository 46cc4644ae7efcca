"""Bytes that were right once: flipped, cut, grown, doubled, with other lengths and other words in them."""

from hypothesis import strategies as st

MOST_INSERTED = 64
MOST_DAMAGES = 4
LENGTH_SIZES = (2, 4, 8)
ORDERS = ("big", "little")
# what readers of JSON and of lengths stumble over
WORDS = (
    b"",
    b"\0",
    b"\xff",
    b"\xed\xa0\x80",
    b"null",
    b"true",
    b"-1",
    b"-0",
    b"1.0",
    b"1e400",
    b"NaN",
    b"9007199254740993",
    b"9" * 400,
    b'"\\ud800"',
    b'"\\u0000"',
    b"{}",
    b"[" * 1000,
    b'{"a":' * 1000,
    b" ",
    b"\n",
    b",",
    b'"',
)


@st.composite
def damaged(draw, raw):
    """The bytes with up to some damages, one after the other; with none they are the ones that were given."""
    for _ in range(draw(st.integers(0, MOST_DAMAGES))):
        raw = draw(st.sampled_from(DAMAGES))(draw, raw)
    return raw


def flip_a_bit(draw, raw):
    place = draw(_places(raw))
    return raw[:place] + bytes([raw[place] ^ 1 << draw(st.integers(0, 7))]) + raw[place + 1 :] if raw else raw


def cut_off(draw, raw):
    return raw[: draw(_places(raw))]


def cut_out(draw, raw):
    start, stop = draw(_parts(raw))
    return raw[:start] + raw[stop:]


def double_a_part(draw, raw):
    start, stop = draw(_parts(raw))
    return raw[:stop] + raw[start:]


def move_a_part(draw, raw):
    start, stop = draw(_parts(raw))
    rest = raw[:start] + raw[stop:]
    place = draw(_places(rest))
    return rest[:place] + raw[start:stop] + rest[place:]


def insert(draw, raw):
    place = draw(_places(raw))
    return raw[:place] + draw(st.binary(max_size=MOST_INSERTED)) + raw[place:]


def write_a_length(draw, raw):
    """Another number where a length may be: mostly one at an edge."""
    size, order = draw(st.sampled_from(LENGTH_SIZES)), draw(st.sampled_from(ORDERS))
    most = (1 << 8 * size) - 1
    number = draw(st.sampled_from((0, 1, len(raw), most, most >> 1, (most >> 1) + 1)) | st.integers(0, most))
    # lengths stand in front, as a rule
    place = draw(st.integers(0, min(len(raw), 16)) | _places(raw))
    return raw[:place] + (number & most).to_bytes(size, order) + raw[place + size :]


def write_a_word(draw, raw):
    start, stop = draw(_parts(raw))
    return raw[:start] + draw(st.sampled_from(WORDS)) + raw[stop:]


DAMAGES = (flip_a_bit, cut_off, cut_out, double_a_part, move_a_part, insert, write_a_length, write_a_word)


def _places(raw):
    return st.integers(0, max(len(raw) - 1, 0))


def _parts(raw):
    """Start and stop of a part, a short one as a rule."""
    short = st.tuples(_places(raw), st.integers(0, 16)).map(lambda part: (part[0], part[0] + part[1]))
    return short | st.tuples(_places(raw), _places(raw)).map(lambda part: tuple(sorted(part)))
