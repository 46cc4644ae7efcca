import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boltz_core.trust.errors import TrustError
from boltz_core.trust.quality import data_quality
from boltz_protocol.messages import Claims

FULL = Claims(v=1, examples=400, feature_coverage=1.0, invalid_share=0.0, metrics={}, local_noise=None)


def claims(**changes):
    return msgspec.structs.replace(FULL, **changes)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, 1.0),
        ({"examples": 100}, 0.5),
        ({"examples": 10**15}, 1.0),
        ({"feature_coverage": 0.25}, 0.25),
        ({"invalid_share": 0.25}, 0.75),
        ({"examples": 100, "feature_coverage": 0.5, "invalid_share": 0.5}, 0.125),
        ({"feature_coverage": 0.0}, 0.0),
    ],
)
def test_quality_follows_the_formula(changes, expected):
    assert data_quality(claims(**changes), example_cap=400).value == pytest.approx(expected)


@given(st.integers(1, 10**9), st.floats(0, 1), st.floats(0, 1), st.integers(1, 10**6))
def test_no_claim_makes_a_quality_above_one(examples, coverage, invalid, cap):
    found = data_quality(claims(examples=examples, feature_coverage=coverage, invalid_share=invalid), example_cap=cap)
    assert 0 <= found.value <= 1


@given(st.integers(1, 10**6), st.integers(0, 10**6))
def test_more_examples_never_lower_the_quality(examples, more):
    qualities = [data_quality(claims(examples=n), example_cap=1000).value for n in (examples, examples + more)]
    assert qualities[0] <= qualities[1]


@pytest.mark.parametrize(
    ("changes", "cap"),
    [({"examples": 0}, 400), ({}, 0), ({"feature_coverage": 1.5}, 400), ({"invalid_share": -0.5}, 400)],
)
def test_claims_that_the_codec_would_refuse_are_refused(changes, cap):
    with pytest.raises(TrustError, match="must be"):
        data_quality(claims(**changes), example_cap=cap)
