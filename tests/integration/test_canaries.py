"""The search that test_data_minimisation.py relies on: it finds what it looks for, however that is written down."""

import base64
import io
import json
import struct

import numpy as np
import pandas as pd
import pytest

from tests.integration.canaries import Search

NUMBERS = [0.33661283654271, -0.69314718055994, 1.20205690315959, -48_271.30957264513, 0.00054881163609403]
INTEGERS = [70_368_745_123_457, 8_134_072_951_623]
STRINGS = ["acct-QX7391-Kestrel", "Zürich/Heron\t5520", "ISIN:XS1742098836"]

SPELLED = {
    "numpy": lambda numbers: np.array(numbers).tobytes(),
    "numpy of the network": lambda numbers: np.array(numbers).astype(">f8").tobytes(),
    "float32": lambda numbers: np.array(numbers, np.float32).tobytes(),
    "float32 of the network": lambda numbers: np.array(numbers).astype(">f4").tobytes(),
    "float32 in base64": lambda numbers: base64.b64encode(b"?" + np.array(numbers, np.float32).tobytes()),
    "float32 in hex": lambda numbers: np.array(numbers, np.float32).tobytes().hex().encode(),
    "float64 in base64": lambda numbers: base64.urlsafe_b64encode(b"??" + np.array(numbers).tobytes()),
    "json": lambda numbers: json.dumps(numbers).encode(),
    "json in base64": lambda numbers: base64.b64encode(json.dumps(numbers).encode()),
    "json in hex": lambda numbers: json.dumps(numbers).encode().hex().encode(),
    "print": lambda numbers: str(numbers).encode(),
    "print of numpy": lambda numbers: str(np.array(numbers)).encode(),
    "print of float32": lambda numbers: str(np.array(numbers, np.float32).tolist()).encode(),
    "print of pandas": lambda numbers: pd.Series(numbers).to_string().encode(),
    "six digits": lambda numbers: " ".join(f"{number:.6g}" for number in numbers).encode(),
    "seven digits": lambda numbers: " ".join(f"{number:.7g}" for number in numbers).encode(),
    "nine decimals": lambda numbers: " ".join(f"{number:.9f}" for number in numbers).encode(),
    "scientific": lambda numbers: " ".join(f"{number:.6e}" for number in numbers).encode(),
    "hexadecimal": lambda numbers: " ".join(float(number).hex() for number in numbers).encode(),
    "utf-16": lambda numbers: str(numbers).encode("utf-16"),
    "csv": lambda numbers: pd.DataFrame([numbers]).to_csv().encode(),
    "structs": lambda numbers: b"".join(struct.pack("<Bd", 1, number) for number in numbers),
}


@pytest.mark.parametrize("spelling", SPELLED)
def test_a_number_is_found_however_it_is_spelled(spelling):
    search = Search(NUMBERS)
    noise = np.random.default_rng(5).bytes(100_000)
    found = {needle.canary for needle in search.find(noise + SPELLED[spelling](NUMBERS) + noise)}
    if "print of numpy" in spelling or "pandas" in spelling:
        # these show too few digits of the smallest number
        found |= {number for number in NUMBERS if abs(number) < 0.01}
    assert found == set(NUMBERS)


@pytest.mark.parametrize("canary", [*INTEGERS, *STRINGS])
def test_integers_and_strings_are_found_however_they_are_spelled(canary):
    search = Search([canary])
    spelled = [json.dumps(canary), json.dumps(canary, ensure_ascii=False), f"x{canary}", [canary]]
    raw = [str(text).encode() for text in spelled]
    if isinstance(canary, int):
        raw += [
            np.array([canary]).tobytes(),
            np.array([canary], float).tobytes(),
            np.array([canary]).astype(">i8").tobytes(),
        ]
        raw += [f"{canary:,}".encode(), hex(canary).encode(), repr(float(canary)).encode()]
    for content in [*raw, *(base64.b64encode(b"ab" + content) for content in raw)]:
        assert search.find(content), content


def test_every_needle_is_found_and_none_in_noise():
    search = Search([*NUMBERS, *INTEGERS, *STRINGS])
    noise = np.random.default_rng(6).bytes(1 << 22)
    assert search.find(noise) == set()
    haystack = io.BytesIO()
    for raw in search.needles:
        haystack.write(bytes(range(200, 220)) + raw)
    assert search.find(haystack.getvalue()) == set(search.needles.values())


def test_a_few_bytes_alone_are_chance():
    search = Search(NUMBERS)
    one, other = (struct.pack("<f", number) for number in NUMBERS[:2])
    assert search.find(bytes(50) + one + bytes(50)) == set()
    assert {needle.canary for needle in search.find(one + bytes(50) + other)} == set(NUMBERS[:2])
