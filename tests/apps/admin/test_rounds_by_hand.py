"""Seal, aggregate, run again, abandon: what an operator decides about rounds; and the rotation of the mesh's keys."""

import pytest

from apps.aggregation import services as aggregation
from apps.aggregation.services import beginning, endings
from apps.audit import services as audit
from apps.audit.models import LogEntry
from apps.keys.models import MeshKey
from apps.rounds.models import Round, Update
from tests.apps.admin.pages import decision_page, errors_of, row_page, text_of
from tests.apps.mesh import MODEL, data


@pytest.fixture
def open_round(mesh):
    """Round 1 is open, two updates are staged."""
    mesh.make_model(target=10, quorum=2)
    for number in range(2):
        mesh.client(f"client-{number}").participate_in_round(MODEL, data(number), round_number=1)
    mesh.work()
    return mesh.round()


def offered(browser, row):
    return [decision.name for decision in browser.get(row_page(row)).context["decisions"]]


def test_a_round_is_sealed_by_hand(browser, operator, open_round, mesh):
    assert offered(browser, open_round) == ["seal", "aggregate", "abandon"]
    page = browser.post(decision_page(open_round, "seal"), follow=True)
    assert "boltz-core round 1: sealed" in text_of(page)
    assert mesh.round().state == "sealed"
    assert LogEntry.objects.get(type="round.sealed").actor == audit.actor_of(operator)
    refused = browser.post(decision_page(open_round, "seal"))
    assert "is sealed, not open" in errors_of(refused)["__all__"][0]


def test_aggregating_now_seals_and_freezes_and_the_workers_publish(browser, operator, open_round, mesh):
    assert browser.post(decision_page(open_round, "aggregate")).status_code == 302
    assert mesh.round().state == "frozen"
    assert LogEntry.objects.get(type="round.sealed").actor == audit.actor_of(operator)
    mesh.work()
    assert mesh.round().state == "published"
    assert offered(browser, mesh.round()) == []
    refused = browser.post(decision_page(open_round, "aggregate"))
    assert "there is nothing to aggregate" in errors_of(refused)["__all__"][0]


def test_aggregating_below_the_quorum_is_refused_as_the_page_says_and_the_round_stays_open(browser, mesh):
    mesh.make_model(target=10, quorum=2)
    said = text_of(browser.get(decision_page(mesh.round(), "aggregate")))
    assert "while it has fewer updates than its quorum that is refused, and it stays open" in said
    refused = browser.post(decision_page(mesh.round(), "aggregate"))
    assert "it stays open" in errors_of(refused)["__all__"][0]
    assert mesh.round().state == "open"


def test_a_round_that_has_failed_is_run_again(browser, operator, open_round, mesh):
    browser.post(decision_page(open_round, "aggregate"))
    assert beginning.begin_run(open_round.pk)
    endings.fail_round(mesh.round(), "the disk was full")
    failed = mesh.round()
    page = text_of(browser.get(row_page(failed)))
    assert "the disk was full" in page
    assert offered(browser, failed) == ["run-again", "abandon"]

    assert browser.post(decision_page(failed, "run-again")).status_code == 302

    assert LogEntry.objects.get(type="round.run_again").actor == audit.actor_of(operator)
    mesh.work()
    aggregation.aggregate_now(mesh.round(), actor="test")
    assert mesh.round().state == "published"


def test_a_stalled_update_is_tried_again_until_its_round_is_frozen(browser, operator, open_round, mesh):
    update = Update.objects.first()
    assert offered(browser, update) == []
    Update.objects.filter(pk=update.pk).update(state="stalled", code="server_fault", failures=5)
    assert offered(browser, update) == ["try-again"]

    assert browser.post(decision_page(update, "try-again")).status_code == 302

    assert LogEntry.objects.get(type="update.tried_again").actor == audit.actor_of(operator)
    mesh.work()
    update.refresh_from_db()
    assert (update.state, update.code, update.failures) == ("staged", "", 0)
    refused = browser.post(decision_page(update, "try-again"))
    assert "is not stalled" in errors_of(refused)["__all__"][0]

    Update.objects.filter(pk=update.pk).update(state="stalled")
    Round.objects.update(state="frozen")
    assert offered(browser, update) == []


def test_a_round_is_abandoned_with_a_reason(browser, operator, open_round, mesh):
    assert errors_of(browser.post(decision_page(open_round, "abandon"), {})) == {"reason": ["This field is required."]}
    assert mesh.round().state == "open"

    assert browser.post(decision_page(open_round, "abandon"), {"reason": "wrong policy"}).status_code == 302

    assert (mesh.round().state, mesh.round().reason) == ("abandoned", "wrong policy")
    assert set(Update.objects.values_list("state", flat=True)) == {"expired"}
    entry = LogEntry.objects.get(type="round.abandoned")
    assert entry.actor == audit.actor_of(operator)
    assert audit.read_detail(entry) == {"reason": "wrong policy"}
    refused = browser.post(decision_page(open_round, "abandon"), {"reason": "again"})
    assert "can no longer be abandoned" in errors_of(refused)["__all__"][0]


def test_the_encryption_key_is_rotated_into_open_rounds(browser, operator, open_round):
    old = MeshKey.objects.get(use="enc")
    assert offered(browser, old) == ["rotate"]
    page = browser.post(decision_page(old, "rotate"), follow=True)
    assert "a new key has taken its place" in text_of(page)
    new = MeshKey.objects.get(use="enc", state="current")
    assert new != old
    assert Round.objects.get().read_descriptor().encryption_key.kid == new.kid
    assert LogEntry.objects.get(type="key.rotated").actor == audit.actor_of(operator)
    old.refresh_from_db()
    assert offered(browser, old) == []
    assert "another key is in its place already" in errors_of(browser.post(decision_page(old, "rotate")))["__all__"][0]
    assert MeshKey.objects.filter(use="enc").count() == 2


def test_the_signing_key_is_rotated_and_names_its_successor(browser, operator, mesh):
    old = MeshKey.objects.get(use="sig")
    assert offered(browser, old) == ["rotate-signing"]
    browser.post(decision_page(old, "rotate-signing"))
    new = MeshKey.objects.get(use="sig", state="current")
    assert new.succession["kid"] == old.kid
    assert "It signs nothing new" in text_of(browser.get(row_page(old)))
    assert LogEntry.objects.get(type="key.rotated").actor == audit.actor_of(operator)
