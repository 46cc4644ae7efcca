import hashlib
import json
from datetime import UTC, datetime

import pytest
from django.db import DatabaseError, transaction

from apps.audit import selectors
from apps.audit import services as audit
from apps.audit.models import LogDetail, LogEntry
from boltz_protocol import codec
from boltz_protocol.errors import ServerFaultError
from boltz_protocol.leaves import LogLeaf


def leaf_of(entry):
    return codec.decode(bytes(LogEntry.objects.get(pk=entry.pk).leaf), LogLeaf)


def test_a_leaf_is_canonical_and_says_who_did_what_to_whom_when(db):
    subject = audit.new_subject("client")
    entry = audit.append("update.received", actor="system", subject=subject, round="boltz-core/7", detail={"bytes": 5})
    leaf = leaf_of(entry)
    assert (leaf.id, leaf.type, leaf.actor, leaf.subject, leaf.round) == (
        entry.pk,
        "update.received",
        "system",
        subject,
        "boltz-core/7",
    )
    assert leaf.t == entry.created_at
    assert str(entry) == f"update.received {entry.pk}"


def test_a_leaf_commits_to_its_detail_under_a_salt(db):
    entry = audit.append("model.created", actor="system", detail={"model": "boltz-core"})
    content = bytes(LogDetail.objects.get(entry=entry).content)
    assert hashlib.sha256(content).hexdigest() == leaf_of(entry).detail
    assert content[32:] == b'{"model":"boltz-core"}'
    again = audit.append("model.created", actor="system", detail={"model": "boltz-core"})
    assert leaf_of(again).detail != leaf_of(entry).detail


def test_floats_and_times_are_written_as_strings(db):
    when = datetime(2026, 1, 2, tzinfo=UTC)
    entry = audit.append(
        "run.finished", actor="system", detail={"norms": [0.1, 2.0], "at": {"t": when}, "n": 3, "none": None}
    )
    assert audit.read_detail(entry) == {
        "norms": ["0.1", "2.0"],
        "at": {"t": "2026-01-02T00:00:00+00:00"},
        "n": 3,
        "none": None,
    }


def test_a_subjects_detail_lies_sealed_and_can_be_read(db):
    subject = audit.new_subject("client")
    entry = audit.append("client.enrolled", actor=subject, subject=subject, detail={"name": "Ada Lovelace"})
    row = LogDetail.objects.get(entry=entry)
    assert b"Ada" not in bytes(row.content) + bytes(entry.leaf)
    assert row.kid is not None
    assert audit.read_detail(entry) == {"name": "Ada Lovelace"}
    assert str(row) == f"detail of {entry.pk}"


def test_a_sealed_detail_does_not_open_beside_another_entry(db):
    subject = audit.new_subject("client")
    first, second = (audit.append("x.y", actor=subject, subject=subject, detail={"n": n}) for n in (1, 2))
    stolen = LogDetail.objects.get(entry=first)
    LogDetail.objects.filter(entry=second).update(content=stolen.content)
    with pytest.raises(ServerFaultError):
        audit.read_detail(second)


def test_a_detail_that_was_edited_is_noticed(db):
    entry = audit.append("model.created", actor="system", detail={"model": "boltz-core"})
    row = LogDetail.objects.get(entry=entry)
    LogDetail.objects.filter(entry=entry).update(content=bytes(row.content).replace(b"core", b"fake"))
    with pytest.raises(ServerFaultError) as caught:
        audit.read_detail(entry)
    assert caught.value.code == "log_detail_damaged"


@pytest.mark.parametrize("change", ["UPDATE audit_logentry SET leaf = 'x'", "DELETE FROM audit_logentry"])
def test_postgres_refuses_to_change_the_log(db, change):
    entry = audit.append("model.created", actor="system", detail={})
    LogDetail.objects.all().delete()
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
        LogEntry.objects.raw(f"{change} RETURNING id")[0]
    assert LogEntry.objects.filter(pk=entry.pk).exists()


def test_an_entry_goes_with_the_transaction_that_it_is_part_of(db):
    with transaction.atomic():
        audit.append("model.created", actor="system", detail={})
        transaction.set_rollback(True)
    assert not LogEntry.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_an_entry_about_a_refusal_is_not_put_into_a_transaction_that_could_take_it_back():
    with pytest.raises(RuntimeError), transaction.atomic():
        audit.append_once("source", "x.refused", actor="system", detail={})
    assert audit.append_once("source", "x.refused", actor="system", detail={}).type == "x.refused"
    assert LogEntry.objects.count() == 1


def test_entries_are_found_by_subject_round_and_type(db):
    subject = audit.new_subject("client")
    before = datetime.now(UTC)
    first = audit.append("a.b", actor="system", subject=subject, detail={})
    second = audit.append("c.d", actor="system", round="boltz-core/1", detail={})
    assert list(selectors.entries_about(subject)) == [first]
    assert list(selectors.entries_of_round("boltz-core/1")) == [second]
    assert list(selectors.entries_of_type("c.d")) == [second]
    assert list(selectors.entries_of_type("c.d", since=before)) == [second]
    assert list(selectors.entries_of_type("c.d", since=datetime.now(UTC))) == []
    assert list(LogEntry.objects.all()) == [second, first]


def test_an_operator_keeps_one_pseudonym_that_tells_nothing(db, django_user_model):
    ada, bob = (django_user_model.objects.create_user(name) for name in ("ada", "bob"))
    assert audit.actor_of(ada) == audit.actor_of(ada) != audit.actor_of(bob)
    assert "ada" not in audit.actor_of(ada)
    assert str(ada.operator) == audit.actor_of(ada)


def test_entries_carry_no_number_to_follow_them_by(db):
    entries = [audit.append("a.b", actor="system", detail={}) for _ in range(3)]
    assert not any(str(entry.pk).isdigit() for entry in entries)
    assert json.loads(bytes(entries[0].leaf)).keys() == {"v", "id", "t", "type", "actor", "subject", "round", "detail"}
