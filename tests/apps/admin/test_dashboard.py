"""The dashboard: useful on first start, and red where an operator has to look."""

from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from apps.aggregation import services as aggregation
from apps.aggregation.models import Heartbeat
from apps.aggregation.selectors import liveness
from apps.rounds.models import Update
from boltz_federated import dashboard, navigation
from tests.apps.admin.pages import text_of
from tests.browser.filled_mesh import fill


def look(browser):
    return browser.get(reverse("admin:index"))


def warnings(response):
    return [(item.text, item.urgent) for item in response.context["attention"]]


def test_a_new_mesh_shows_what_to_do_first(browser):
    text = text_of(look(browser))
    assert "There is no model yet." in text
    assert "create_model --starter boltz-core" in text
    assert "No client has enrolled yet." in text
    assert 'FederatedClient("my-client", "http://testserver")' in text
    assert "No update has been received yet." in text


def test_a_full_mesh_shows_models_rounds_and_participation(browser, mesh, settings):
    fill(mesh, settings)
    response = look(browser)
    text = text_of(response)
    assert "boltz-core v2 round 3 open closes in 5 hours, 59 minutes 6 6 of 20 4 (quorum 3) 0" in text
    assert "overnight-gap v0 none yet" in text
    assert "spread-forecast v0 round 1 failed" in text
    for code in ("norm_too_large 1", "not_finite 1", "undecryptable 1"):
        assert code in text
    assert "aggregated 9 staged 6 rejected 3" in text
    assert "No client has enrolled yet." not in text
    assert [figure.number for figure in response.context["figures"]] == [3, 1, 8, 2]
    assert len(response.context["entries"]) == 10


def test_it_names_what_waits_for_an_operator_the_urgent_first(browser, mesh, settings):
    fill(mesh, settings)
    found = warnings(look(browser))
    assert [text for text, urgent in found if urgent] == [
        "the aggregate-worker was last seen 11 minutes ago",
        "round 1 of spread-forecast has failed: 5 runs were lost",
    ]
    assert ("2 clients wait for approval", False) in found
    assert [urgent for _, urgent in found] == sorted((urgent for _, urgent in found), reverse=True)


def test_updates_that_wait_or_stall_are_named(browser, mesh, settings):
    fill(mesh, settings)
    waiting = Update.objects.get(state="received")
    Update.objects.filter(pk=waiting.pk).update(received_at=timezone.now() - timedelta(minutes=3))
    Update.objects.filter(pk=Update.objects.filter(round__number=3, state="staged").first().pk).update(state="stalled")
    texts = [text for text, _ in warnings(look(browser))]
    assert "updates undecided for more than two minutes: 1" in texts
    assert "updates stalled by faults of ours: 1" in texts


@pytest.mark.parametrize(
    ("kind", "silent_for", "state"),
    [
        ("ingest-worker", timedelta(seconds=50), "alive"),
        ("ingest-worker", timedelta(seconds=70), "old"),
        ("aggregate-worker", timedelta(seconds=70), "old"),
        ("tick", timedelta(seconds=60), "alive"),
        ("tick", timedelta(minutes=3), "old"),
        ("reconciler", timedelta(seconds=20), "alive"),
        ("reconciler", timedelta(minutes=1), "old"),
        ("beat", timedelta(seconds=50), "alive"),
        ("beat", timedelta(seconds=70), "old"),
        ("limits", timedelta(seconds=50), "alive"),
        ("limits", timedelta(seconds=70), "old"),
    ],
)
def test_a_process_is_missed_after_its_own_time(kind, silent_for, state):
    assert liveness.state_of(kind, timezone.now() - silent_for) == state


def test_processes_that_were_never_seen_are_named_too(db):
    assert {(life.kind, life.state) for life in liveness.lives()} == {
        ("ingest-worker", "never"),
        ("aggregate-worker", "never"),
        ("control-worker", "never"),
        ("beat", "never"),
        ("reconciler", "never"),
        ("limits", "never"),
        ("tick", "never"),
    }


def test_a_heartbeat_makes_a_process_alive(db):
    aggregation.beat_heart("ingest-worker")
    Heartbeat.objects.create(kind="aggregate-worker", at=timezone.now() - timedelta(hours=1))
    states = {life.kind: life.state for life in liveness.lives()}
    assert (states["ingest-worker"], states["aggregate-worker"], states["beat"]) == ("alive", "old", "never")


def test_a_dead_aggregate_worker_is_told_to_the_operator(browser, mesh):
    Heartbeat.objects.create(kind="aggregate-worker", at=timezone.now() - timedelta(hours=1))
    assert any(text.startswith("the aggregate-worker was last seen") for text, _ in warnings(look(browser)))


def test_the_environment_is_named_on_each_page(settings):
    assert dashboard.environment_label(None) == ["Development", "warning"]
    settings.BOLTZ_DEV_MODE = False
    assert dashboard.environment_label(None) == ["Production", "info"]


def test_open_enrolment_is_warned_of(browser, settings):
    assert any("everyone on this machine may enrol" in text for text, _ in warnings(look(browser)))
    settings.BOLTZ_ENROLMENT = "token"
    assert not any("may enrol" in text for text, _ in warnings(look(browser)))


def test_the_sidebar_holds_what_a_user_may_see(browser_of, mesh):
    looking = browser_of("clients.view_client", "audit.view_logentry")
    groups = navigation.sidebar(look(looking).wsgi_request)
    titles = {group["title"]: [item["title"] for item in group["items"]] for group in groups}
    assert titles == {"": ["Dashboard"], "Participants": ["Clients"], "Mesh": ["Log"]}


def test_the_sidebar_counts_what_waits(browser, mesh, settings):
    fill(mesh, settings)
    items = {
        item["title"]: item.get("badge")
        for group in navigation.sidebar(look(browser).wsgi_request)
        for item in group["items"]
    }
    assert (items["Clients"], items["Rounds"], items["Updates"]) == (2, 1, None)
