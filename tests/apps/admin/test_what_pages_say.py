"""What an operator reads: trust that reads as new, scores beside the round's, decoded documents, decisions of runs, the log."""

import hashlib
import json
from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from apps.aggregation.models import Run
from apps.audit import services as audit
from apps.audit.models import LogDetail, LogEntry
from apps.clients import services as clients
from apps.clients.models import Client
from apps.rounds import services, versions
from apps.rounds.models import ModelVersion, Round, Update
from tests.apps.admin.pages import list_page, row_page, text_of
from tests.browser.filled_mesh import fill


@pytest.fixture
def full_mesh(mesh, settings):
    fill(mesh, settings)
    return mesh


def test_a_newcomer_reads_as_new_and_not_as_bad(browser, full_mesh):
    newcomer, bad = Client.objects.get(name="anna-laptop"), Client.objects.get(name="bo-desktop")
    page = browser.get(row_page(newcomer)).content.decode()
    assert '<span class="op-badge op-plain" title="">new</span>' in page
    assert 'class="earned new" y="2" width="0"' in page
    assert "No evidence yet. Everybody begins at 0.06" in page
    assert '<span class="op-badge op-warning" title="">low</span>' in browser.get(row_page(bad)).content.decode()
    trusted = browser.get(row_page(Client.objects.get(name="lakeside-edge"))).content.decode()
    assert "0.90 of 1" in trusted
    assert "op-success" in trusted


def test_a_client_s_page_has_its_keys_its_updates_and_its_entries_in_the_log(browser, full_mesh):
    client = Client.objects.get(name="lakeside-edge")
    response = browser.get(row_page(client))
    text = text_of(response)
    assert client.keys.get().kid in text
    for label in ("boltz-core/1", "boltz-core/2", "boltz-core/3"):
        assert label in text
    log = browser.get(list_page(LogEntry), {"q": client.pseudonym})
    assert log.context["cl"].result_count == LogEntry.objects.filter(subject=client.pseudonym).count() > 3
    assert row_page(client) in browser.get(list_page(Client), {"q": client.pseudonym}).content.decode()


def test_clients_are_listed_with_the_rounds_that_they_took_part_in(browser, full_mesh):
    rows = {client.name: client.joined for client in browser.get(list_page(Client)).context["cl"].result_list}
    assert (rows["harbor-broker-1"], rows["quay-partner"], rows["carla-phone"]) == (4, 2, 0)


def test_an_update_stands_beside_the_others_of_its_round(browser, full_mesh):
    members = Update.objects.filter(round__number=2, state="aggregated").order_by("norm")
    text = text_of(browser.get(row_page(members[2])))
    assert "mean of 5" in text
    assert f"{members[2].norm:.4g}" in text
    # the third of five is the median
    assert f"norm (L2) {members[2].norm:.4g} {sum(m.norm for m in members) / 5:.4g} {members[2].norm:.4g}" in text
    assert f'"examples": {members[2].examples}' in text
    assert members[2].body_sha256 in text


def test_a_refused_update_says_why(browser, full_mesh):
    refused = Update.objects.get(code="norm_too_large")
    text = text_of(browser.get(row_page(refused)))
    assert "the norm is 23.71" in text
    assert "It broke a rule; the code says which." in text
    assert "sealed in the envelope until it has been opened" in text


def test_an_update_in_work_says_until_when_it_is_leased(browser, full_mesh):
    assert "leased until" in text_of(browser.get(row_page(Update.objects.get(state="processing"))))


def test_updates_are_filtered_by_state_model_round_and_code(browser, full_mesh):
    def found(**query):
        return set(browser.get(list_page(Update), query).context["cl"].result_list)

    assert found(state__exact="rejected") == set(Update.objects.filter(state="rejected"))
    assert found(round__model__id__exact=str(Round.objects.get(number=3).model_id)) == set(
        Update.objects.filter(round__model__name="boltz-core")
    )
    assert found(round="boltz-core/2") == set(Update.objects.filter(round__number=2))
    assert found(round="boltz-core/2", code="not_finite") == {Update.objects.get(code="not_finite")}
    for nonsense in ("boltz-core/x", "boltz-core/99999999999", "/1", "nowhere/1"):
        assert found(round=nonsense) == set(), nonsense


def test_a_round_shows_its_counts_its_members_and_its_descriptor(browser, full_mesh):
    round_ = full_mesh.round(2)
    text = text_of(browser.get(row_page(round_)))
    assert "joined accepted target staged quorum rejected 8 8 20 5 3 3" in text
    for code in ("not_finite", "norm_too_large", "undecryptable"):
        assert f"{code} 1" in text
    assert "32.0 %" in text
    assert f'"base_sha256": "{round_.base.weights_sha256}"' in text
    assert "run 1" in text
    listed = {(row.model.name, row.number): row for row in browser.get(list_page(Round)).context["cl"].result_list}
    assert (listed["boltz-core", 2].staged, listed["boltz-core", 2].rejected) == (5, 3)


def test_a_round_counts_down_to_its_deadline(browser, full_mesh):
    round_ = full_mesh.round(3)
    assert "closes in 5 hours, 59 minutes" in text_of(browser.get(list_page(Round)))
    Round.objects.filter(pk=round_.pk).update(closes_at=timezone.now() - timedelta(minutes=5))
    assert "was due 5 minutes ago" in text_of(browser.get(list_page(Round)))


def test_a_round_that_is_scheduled_says_when_it_opens(browser, mesh):
    model = mesh.make_model(opened=False)
    round_ = services.open_round(model, opens_at=timezone.now() + timedelta(hours=3, seconds=30))
    assert "opens in 3 hours" in text_of(browser.get(list_page(Round)))
    assert "It is signed when the round opens." in text_of(browser.get(row_page(round_)))


def test_the_weights_of_a_version_are_downloaded_as_they_were_published(browser_of, full_mesh):
    version = ModelVersion.objects.get(model__name="boltz-core", number=2)
    address = reverse("admin:rounds_modelversion_weights", args=[version.pk])
    looking = browser_of("rounds.view_modelversion")
    response = looking.get(address)
    body = response.getvalue()
    assert hashlib.sha256(body).hexdigest() == version.weights_sha256
    assert response["Content-Disposition"] == 'attachment; filename="boltz-core-v2.safetensors"'
    assert int(response["Content-Length"]) == len(body)
    assert looking.post(address).status_code == 405
    assert looking.get(reverse("admin:rounds_modelversion_weights", args=[999_999])).status_code == 404


def test_weights_that_were_altered_on_disk_are_not_given_out(browser, full_mesh):
    version = ModelVersion.objects.get(model__name="boltz-core", number=2)
    path = versions.storage().path(version.storage_name())
    with open(path, "r+b") as file:  # noqa: PTH123 - in place
        file.seek(-1, 2)
        file.write(b"\x7f")
    page = browser.get(reverse("admin:rounds_modelversion_weights", args=[version.pk]), follow=True)
    assert "cannot be given out" in text_of(page)
    assert page.redirect_chain[0][0] == row_page(version)


def test_a_version_shows_its_manifest_decoded(browser, full_mesh):
    version = ModelVersion.objects.get(model__name="boltz-core", number=1)
    text = text_of(browser.get(row_page(version)))
    assert f'"weights_sha256": "{version.weights_sha256}"' in text
    assert '"scale": [0.4, 0.2, 0.4, 0.25, 0.25, 0.6, 0.6, 0.3, 0.4]' in text


def test_a_run_shows_who_was_in_it_with_which_weight(browser, full_mesh):
    run = Run.objects.get(round__number=2, round__model__name="boltz-core")
    text = text_of(browser.get(row_page(run)))
    assert "weighted_mean, norms up to 0.5, at most 252 examples count" in text
    for update in Update.objects.filter(round=run.round, state="aggregated"):
        assert update.pk in text
    assert "1 of 1" in text


def test_a_record_that_contradicts_itself_is_shown_as_such(browser, full_mesh):
    run = Run.objects.get(round__number=1, round__model__name="boltz-core")
    run.decision["members"][0]["weight"] += 1
    run.save()
    assert "contradicts itself" in text_of(browser.get(row_page(run)))


def test_a_log_entry_shows_its_leaf_and_its_detail(browser, full_mesh):
    entry = LogEntry.objects.get(type="client.suspended")
    text = text_of(browser.get(row_page(entry)))
    assert "sends far more than its share" in text
    assert json.loads(bytes(entry.leaf))["detail"] in text


def test_a_detail_that_can_no_longer_be_read_is_not_shown(browser, full_mesh, django_capture_on_commit_callbacks):
    client = Client.objects.get(name="bo-desktop")
    entry = LogEntry.objects.get(type="client.suspended")
    with django_capture_on_commit_callbacks(execute=True):
        clients.erase(client, actor="test")
    text = text_of(browser.get(row_page(entry)))
    assert "Its subject has been forgotten" in text
    assert "sends far more" not in text


def test_a_detail_that_is_not_the_one_of_the_leaf_is_not_believed(browser, db):
    entry = audit.append("test.happened", actor="test", detail={"n": 1})
    other = audit.append("test.happened", actor="test", detail={"n": 2})
    LogDetail.objects.filter(entry=entry).update(content=other.detail.content)
    assert "It cannot be shown" in text_of(browser.get(row_page(entry)))


def test_an_entry_without_detail_says_so(browser, db):
    entry = audit.append("test.happened", actor="test", detail={})
    assert "There is none beyond the leaf." in text_of(browser.get(row_page(entry)))
