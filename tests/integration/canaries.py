"""Values that no training data holds by chance, every spelling of them that a leak could have, and a search for all of them.

Not found by it: what was compressed or encrypted on the way, and numbers rounded to fewer than six digits, which is
less than a record of trades needs and more than a metric of training should tell.
"""

import base64
import hashlib
import itertools
import json
import struct
from collections import defaultdict
from dataclasses import dataclass
from decimal import Decimal
from urllib.parse import quote

import numpy as np

DIGITS = 7
FEWER_DIGITS = 6
BLOCK_BYTES = 1 << 23
NEIGHBOURHOOD_BYTES = 4096
TABLE = 1 << 16
KEY_BYTES = 4


@dataclass(frozen=True)
class Needle:
    """One spelling of one canary. A weak one is so short that it occurs by chance; it counts beside another one."""

    canary: object
    spelling: str
    weak: bool = False


def needles(canary):
    """Every spelling of a canary (a float, an integer or a string), by its bytes."""
    if isinstance(canary, str):
        strong, weak = spellings_of_string(canary), {}
    elif isinstance(canary, int):
        strong, weak = spellings_of_integer(canary), {}
    else:
        strong, weak = spellings_of_float(canary)
    found = {}
    for spellings, is_weak in ((weak, True), (strong, False)):
        for name, raw in spellings.items():
            for how, wrapped in {"": raw, **wrappings(raw)}.items():
                # a short piece of base64 is weak, whatever is in it
                found[wrapped] = Needle(canary, f"{name}{how}", weak=is_weak or len(wrapped) < DIGITS)
    return {raw: needle for raw, needle in found.items() if len(raw) >= KEY_BYTES}


def spellings_of_string(text):
    """UTF-8, UTF-16, escaped, reversed, and a digest that stands for it."""
    raw = text.encode()
    digests = {name: hashlib.new(name, raw).digest() for name in ("md5", "sha1", "sha256")}
    escaped = {"json": json.dumps(text)[1:-1].encode(), "repr": repr(text)[1:-1].encode(), "url": quote(text).encode()}
    return {"utf-8": raw, "utf-16-le": text.encode("utf-16-le"), "reversed": raw[::-1], **escaped, **digests}


def spellings_of_integer(number):
    """Eight bytes, decimal and hexadecimal digits, and the float that it becomes in an array of floats."""
    floats, _ = spellings_of_float(float(number))
    exact = {
        "int64-le": struct.pack("<q", number),
        "int64-be": struct.pack(">q", number),
        "decimal": str(number).encode(),
        "grouped": f"{number:,}".encode(),
        "hexadecimal": f"{number:x}".encode(),
    }
    return floats | exact


def spellings_of_float(value):
    """(strong, weak) spellings. Seven digits are in every decimal text of seven digits or more."""
    strong = {"float64-le": struct.pack("<d", value), "float64-be": struct.pack(">d", value)}
    weak = {"float32-le": struct.pack("<f", value), "float32-be": struct.pack(">f", value)}
    strong["c99"] = value.hex().lstrip("-").encode()
    for digits, spellings in ((DIGITS, strong), (FEWER_DIGITS, weak)):
        for rounding in ("ROUND_DOWN", "ROUND_HALF_EVEN"):
            plain, scientific = decimal_digits(value, digits, rounding)
            spellings[f"decimal {digits} {rounding}"] = plain.encode()
            spellings[f"scientific {digits} {rounding}"] = scientific.encode()
            spellings[f"decimal utf-16 {digits} {rounding}"] = plain.encode("utf-16-le")
    return strong, weak


def decimal_digits(value, digits, rounding):
    """So many significant digits with the point where it belongs, without leading zeros; and after the first digit."""
    exact = abs(Decimal(value))
    exponent = exact.adjusted()
    rounded = exact.quantize(Decimal(1).scaleb(exponent - digits + 1), rounding=rounding)
    figures = "".join(map(str, rounded.as_tuple().digits))
    whole = exponent + 1
    plain = figures if whole <= 0 or whole >= len(figures) else f"{figures[:whole]}.{figures[whole:]}"
    return plain, f"{figures[0]}.{figures[1:]}"


def wrappings(raw):
    """Hexadecimal, and base64 of both alphabets at its three alignments: the characters that `raw` alone decides."""
    found = {" in hex": raw.hex().encode(), " in HEX": raw.hex().upper().encode()}
    for shift, encode in itertools.product(range(3), (base64.b64encode, base64.urlsafe_b64encode)):
        first, last = -(-shift * 8 // 6), (shift + len(raw)) * 8 // 6
        found[f" in {encode.__name__} +{shift}"] = encode(bytes(shift) + raw)[first:last]
    return found


class Search:
    """Looks for all spellings of all canaries at once.

    Of each spelling four bytes are its key. Two tables say which pairs of bytes a key is made of; where a place passes
    both, the spelling is compared in full.
    """

    def __init__(self, canaries):
        self.needles = {raw: needle for canary in canaries for raw, needle in needles(canary).items()}
        self._by_key = defaultdict(list)
        self._first, self._second = np.zeros((2, TABLE), dtype=bool)
        for raw in self.needles:
            offset = most_telling(raw)
            first, second = struct.unpack_from("<HH", raw, offset)
            self._first[first] = self._second[second] = True
            self._by_key[raw[offset : offset + KEY_BYTES]].append((offset, raw))
        self._longest = max(map(len, self.needles))

    def find(self, raw):
        """The needles that are in `raw`; of the weak ones those that are near another one."""
        hits = [hit for start in range(0, len(raw), BLOCK_BYTES) for hit in self._hits(raw, start)]
        weak = sorted({position for position, needle in hits if needle.weak})
        return {needle for position, needle in hits if not needle.weak or has_neighbour(position, weak)}

    def _hits(self, raw, start):
        # a spelling that begins in this block may end in the next
        block = bytes(raw[start : start + BLOCK_BYTES + self._longest])
        values = np.frombuffer(block, dtype=np.uint8).astype(np.uint16)
        pairs = values[:-1] | values[1:] << 8
        for place in np.flatnonzero(self._first[pairs[:-2]] & self._second[pairs[2:]]).tolist():
            for offset, needle in self._by_key.get(block[place : place + KEY_BYTES], ()):
                if place >= offset and block.startswith(needle, place - offset):
                    yield start + place - offset, self.needles[needle]


def most_telling(raw):
    """Where the four bytes are that differ most: a key of zeros would be everywhere."""
    return max(range(len(raw) - KEY_BYTES + 1), key=lambda offset: len(set(raw[offset : offset + KEY_BYTES]) - {0}))


def has_neighbour(position, others):
    """Whether another spelling is near, but not the same place spelled twice."""
    return any(FEWER_DIGITS < abs(position - other) < NEIGHBOURHOOD_BYTES for other in others)
