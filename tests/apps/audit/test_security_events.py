import pytest
from django.utils import timezone

from apps.audit import services as audit
from apps.audit.models import LogEntry
from apps.audit.services import entries, security_events
from tests.apps.together import together

ADDRESS = "203.0.113.7"


@pytest.fixture
def at(monkeypatch):
    """Set the clock of security events."""
    noon = timezone.now().replace(hour=12, minute=0, second=0, microsecond=0)

    def set_clock(seconds):
        monkeypatch.setattr(security_events.timezone, "now", lambda: noon + timezone.timedelta(seconds=seconds))

    set_clock(0)
    return set_clock


def fail(address=ADDRESS, reason="unknown_key"):
    return audit.record_failed_authentication(address=address, reason=reason)


def test_failures_of_one_source_within_a_minute_are_one_entry(db, at):
    assert fail() is not None
    assert [fail(reason=reason) for reason in ("bad_signature", "unknown_key", "replayed")] == [None, None, None]
    assert LogEntry.objects.count() == 1
    assert audit.read_detail(LogEntry.objects.get()) == {"reason": "unknown_key"}


def test_the_next_minute_and_another_source_have_entries_of_their_own(db, at):
    fail()
    fail("203.0.113.8")
    at(60)
    fail()
    assert LogEntry.objects.count() == 3
    assert len({entry.actor for entry in LogEntry.objects.all()}) == 2


def test_no_address_is_stored(db, at):
    entry = fail()
    assert ADDRESS.encode() not in bytes(entry.leaf) + bytes(entry.detail.content)
    assert entry.actor.startswith("source_")


def test_a_thousand_addresses_cannot_fill_the_log(db, at):
    for number in range(200):
        fail(f"203.0.{number}.7")
    assert LogEntry.objects.count() == security_events.MAX_SOURCES_A_MINUTE + 1
    assert LogEntry.objects.filter(actor="source_many").count() == 1
    fail("203.0.0.7")  # one that is known goes on under its own name
    assert LogEntry.objects.count() == security_events.MAX_SOURCES_A_MINUTE + 1


@pytest.mark.django_db(transaction=True)
def test_failures_at_the_same_instant_are_one_entry():
    outcomes = together(*[lambda: audit.append_once("the same", "x.y", actor="system", detail={})] * 4)
    assert [outcome is not None for outcome in outcomes].count(True) == 1
    assert LogEntry.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_one_that_looked_too_early_is_folded_all_the_same(monkeypatch):
    audit.append_once("the same", "x.y", actor="system", detail={})
    monkeypatch.setattr(entries.LogEntry.objects, "filter", lambda **_: LogEntry.objects.none())
    assert audit.append_once("the same", "x.y", actor="system", detail={}) is None
