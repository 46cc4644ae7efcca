"""Promote, roll back, judge again: what an operator sees and decides about versions."""

import pytest

from apps.audit import services as audit
from apps.audit.models import LogEntry
from apps.rounds import services
from apps.rounds.models import FederatedModel, ModelVersion, Verdict
from tests.apps.admin.pages import decision_page, errors_of, list_page, row_page, text_of
from tests.apps.rounds.trained import BAD, gated, holdout, trained

__all__ = ["gated", "holdout", "trained"]


def offered(browser, row):
    return [decision.name for decision in browser.get(row_page(row)).context["decisions"]]


@pytest.fixture
def refused(gated):
    """Version 1 is a candidate that has failed."""
    services.judge_candidate(gated.train(BAD).pk)
    return gated


def test_the_numbers_of_the_gate_stand_on_the_page_of_a_version(browser, refused):
    verdict = Verdict.objects.get()
    said = text_of(browser.get(row_page(refused.version(1))))
    assert f"failed mse {verdict.candidate_score:.4g} {verdict.current_score:.4g} (v0) 0" in said
    assert "on the hold-out its mse is worse by more than 0" in said
    assert "clients do not get it as the latest version" in said
    assert "It became current without a verdict" in text_of(browser.get(row_page(refused.version(0))))


def test_states_and_verdicts_stand_in_the_list_and_filter_it(browser, refused):
    page = browser.get(list_page(ModelVersion)).content.decode()
    for badge in ("op-info", "op-success", "op-danger"):
        assert badge in page
    found = browser.get(list_page(ModelVersion), {"verdict__state__exact": "failed"}).context["cl"].result_list
    assert list(found) == [refused.version(1)]


def test_a_candidate_is_promoted_with_a_reason(browser, operator, refused):
    candidate = refused.version(1)
    assert offered(browser, candidate) == ["promote", "judge-again"]
    assert offered(browser, refused.version(0)) == []
    assert errors_of(browser.post(decision_page(candidate, "promote"), {})) == {"reason": ["This field is required."]}
    assert refused.states() == ["current", "candidate"]

    page = browser.post(decision_page(candidate, "promote"), {"reason": "we know better"}, follow=True)

    assert "boltz-core v1: it is the current version" in text_of(page)
    assert refused.states() == ["superseded", "current"]
    entry = LogEntry.objects.get(type="version.promoted")
    assert (entry.actor, audit.read_detail(entry)["reason"]) == (audit.actor_of(operator), "we know better")
    assert offered(browser, candidate) == []
    again = browser.post(decision_page(candidate, "promote"), {"reason": "again"})
    assert "it cannot be promoted" in errors_of(again)["__all__"][0]


def test_a_model_is_rolled_back_on_the_page_of_an_earlier_version(browser, operator, trained):
    trained.train()
    earlier = trained.version(0)
    assert offered(browser, earlier) == ["roll-back"]
    said = text_of(browser.get(decision_page(earlier, "roll-back")))
    assert "If the live round is on top of one of them it is abandoned" in said

    browser.post(decision_page(earlier, "roll-back"), {"reason": "the forecasts are off"})

    assert trained.states() == ["current", "rolled_back"]
    assert LogEntry.objects.get(type="version.rolled_back").actor == audit.actor_of(operator)
    assert offered(browser, trained.version(1)) == ["promote"]
    assert "An operator went back" in text_of(browser.get(row_page(trained.version(1))))


def test_a_candidate_is_judged_again(browser, operator, refused):
    page = browser.post(decision_page(refused.version(1), "judge-again"), follow=True)
    assert "it waits for its verdict" in text_of(page)
    assert Verdict.objects.get().state == "waiting"
    assert LogEntry.objects.get(type="version.judged_again").actor == audit.actor_of(operator)
    assert offered(browser, refused.version(1)) == ["promote"]


def test_who_may_only_look_decides_nothing(browser_of, refused):
    victor = browser_of("rounds.view_modelversion")
    assert offered(victor, refused.version(1)) == []
    assert victor.post(decision_page(refused.version(1), "promote"), {"reason": "me"}).status_code == 403
    assert refused.states() == ["current", "candidate"]


def test_a_model_says_what_its_gate_is(browser, refused):
    model = FederatedModel.objects.get()
    said = text_of(browser.get(row_page(model)))
    assert "mse on 300 rows of the hold-out may be worse by 0, and no more" in said
    assert model.version_gate().holdout_sha256 in said
    services.remove_gate(model, actor="test", reason="too strict")
    assert "every version is released" in text_of(browser.get(row_page(model)))
