"""The page of a run: what was decided by which rule, and who was out before."""

import numpy as np

from apps.aggregation import services
from tests.apps.admin.pages import row_page, text_of
from tests.apps.aggregation.conftest import messages, several_shards, wide
from tests.apps.aggregation.test_rules_in_rounds import KRUM, make_vectors
from tests.apps.aggregation.wide_rounds import members_of, run_of

__all__ = ["messages", "several_shards", "wide"]


def test_the_page_of_a_run_says_what_was_decided_and_who_was_left_out(wide, browser):
    vectors = [vector * np.float32(0.1) for vector in wide.vectors(8)]
    vectors.append(vectors[0] * np.float32(9))
    round_ = wide.freeze(vectors, rule="median", before=["nnm"], byzantine=1, quorum=3)
    services.aggregate_round(round_.pk)
    text = text_of(browser.get(row_page(run_of(round_))))
    assert "median after nnm, f = 1, norms up to" in text
    gated = next(member for member in members_of(round_) if member.state == "expired")
    assert f"{gated.pk} {gated.reason}" in text


def test_the_page_of_a_run_that_is_not_decided_yet_says_so(wide, several_shards, browser):
    round_ = wide.freeze(make_vectors(wide), **KRUM)
    services.aggregate_round(round_.pk)
    assert "is being measured" in text_of(browser.get(row_page(run_of(round_))))
