import pytest

from apps.audit import services as audit
from apps.audit.models import LogDetail, LogEntry, Subject
from apps.keys import services as keys
from boltz_protocol.errors import NotNowError
from tests.apps.faults import can_be_destroyed_again, cannot_be_destroyed
from tests.apps.together import together


@pytest.fixture
def subject(db):
    pseudonym = audit.new_subject("client")
    audit.append("client.enrolled", actor=pseudonym, subject=pseudonym, detail={"name": "Ada"})
    return pseudonym


def types():
    return [entry.type for entry in LogEntry.objects.order_by("created_at")]


def test_a_forgotten_subjects_details_cannot_be_read_and_its_leaves_stay(subject):
    entry = LogEntry.objects.get()
    leaf = bytes(entry.leaf)
    assert audit.begin_forgetting(subject, actor="system") is True
    assert audit.forget_subject(subject) is True
    assert audit.read_detail(entry) is None
    assert bytes(LogEntry.objects.get(pk=entry.pk).leaf) == leaf
    assert not keys.key_store().exists(Subject.objects.get().kid)


def test_intent_and_deed_are_logged_once_each(subject):
    assert [audit.begin_forgetting(subject, actor="system") for _ in range(2)] == [True, False]
    assert [audit.forget_subject(subject) for _ in range(2)] == [True, False]
    assert types() == ["client.enrolled", "subject.forgetting_begun", "subject.forgotten"]
    assert str(Subject.objects.get()) == subject


def test_nothing_is_destroyed_that_nobody_asked_for(subject):
    with pytest.raises(NotNowError):
        audit.forget_subject(subject)
    assert audit.read_detail(LogEntry.objects.get()) == {"name": "Ada"}


def test_a_crash_after_the_intent_is_mended_by_the_tick(subject):
    audit.begin_forgetting(subject, actor="system")
    assert audit.finish_forgetting() == 1
    assert audit.finish_forgetting() == 0
    assert types()[-1] == "subject.forgotten"


def test_a_crash_between_deed_and_entry_is_mended_by_the_tick(subject):
    audit.begin_forgetting(subject, actor="system")
    keys.key_store().destroy(Subject.objects.get().kid)
    assert audit.finish_forgetting() == 1
    assert types()[-1] == "subject.forgotten"


def test_a_subject_whose_key_cannot_be_destroyed_does_not_keep_the_others(subject, caplog):
    other = audit.new_subject("client")
    for pseudonym in (subject, other):
        audit.begin_forgetting(pseudonym, actor="system")
    files = [keys.key_store()._path(kid) for kid in Subject.objects.order_by("pk").values_list("kid", flat=True)]
    cannot_be_destroyed(files[0])
    assert audit.finish_forgetting() == 1
    assert "IsADirectoryError" in caplog.text
    assert not files[1].exists()
    assert Subject.objects.filter(forgotten_at__isnull=True).count() == 1
    can_be_destroyed_again(files[0])
    assert audit.finish_forgetting() == 1


def test_work_under_way_for_a_forgotten_subject_is_logged_without_its_detail(subject):
    audit.begin_forgetting(subject, actor="system")
    audit.forget_subject(subject)
    entry = audit.append("update.rejected", actor="system", subject=subject, detail={"code": "not_finite"})
    assert audit.read_detail(entry) is None
    assert not LogDetail.objects.filter(entry=entry).exists()


@pytest.mark.django_db(transaction=True)
def test_two_processes_that_forget_at_once_log_it_once():
    pseudonym = audit.new_subject("client")
    audit.begin_forgetting(pseudonym, actor="system")
    outcomes = together(*[lambda: audit.forget_subject(pseudonym)] * 3)
    assert sorted(outcomes) == [False, False, True]
    assert types().count("subject.forgotten") == 1
