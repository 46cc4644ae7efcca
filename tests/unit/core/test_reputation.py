import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boltz_core.trust.errors import TrustError
from boltz_core.trust.reputation import Reputation, label, trust_score

evidence = st.floats(min_value=0, max_value=1e6)


def test_a_newcomer_has_the_lower_bound_of_the_prior():
    assert trust_score(Reputation()) == pytest.approx(0.25 - math.sqrt(0.1875 / 5))


@pytest.mark.parametrize(
    ("credit", "debt", "expected"),
    [
        (16.0, 0.0, 0.85 - math.sqrt(0.1275 / 21)),
        (5.0, 1.0, 0.6 - math.sqrt(0.24 / 11)),
        (0.0, 16.0, 0.05 - math.sqrt(0.0475 / 21)),
    ],
)
def test_the_score_follows_the_formula(credit, debt, expected):
    assert trust_score(Reputation(credit, debt)) == pytest.approx(expected)


@given(credit=evidence, debt=evidence)
def test_trust_lies_in_zero_to_one_without_one(credit, debt):
    assert 0 <= trust_score(Reputation(credit, debt)) < 1


@given(credit=evidence, debt=evidence, more=st.floats(min_value=1e-3, max_value=1e3))
def test_more_credit_never_lowers_trust_and_more_debt_never_raises_it(credit, debt, more):
    score = trust_score(Reputation(credit, debt))
    assert trust_score(Reputation(credit + more, debt)) >= score - 1e-12
    assert trust_score(Reputation(credit, debt + more)) <= score + 1e-12


@pytest.mark.parametrize("bad", [-1e-9, math.nan, math.inf])
def test_a_reputation_that_no_evidence_gives_is_refused(bad):
    for reputation in (Reputation(credit=bad), Reputation(debt=bad)):
        with pytest.raises(TrustError, match="finite and not negative"):
            trust_score(reputation)


@pytest.mark.parametrize(
    ("reputation", "word"),
    [
        (Reputation(), "new"),
        (Reputation(rounds=3), "new"),
        (Reputation(debt=10), "low"),
        (Reputation(credit=4), "building"),
        (Reputation(credit=40), "trusted"),
    ],
)
def test_the_label_reads_as_a_person_would_say_it(reputation, word):
    assert label(reputation) == word
