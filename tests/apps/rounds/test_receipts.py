"""202 means durable: the receipt, what stands behind it, and what a failure on the way leaves behind (nothing)."""

import errno
import hashlib
import os
import resource
import time

import pytest
from django.db import IntegrityError, OperationalError, connection

from apps.audit.models import LogEntry
from apps.clients.models import Client, ClientKey
from apps.keys import services as keys
from apps.rounds import stores
from apps.rounds.models import Round, Update
from apps.rounds.services import inbox, uploads
from boltz_protocol import leaves, signing
from boltz_protocol.encoding import from_base64url
from boltz_protocol.messages import Receipt, SignedDocument, UpdateStatus
from boltz_protocol.signing import Purpose
from tests.apps.hostile_envelopes import seal, send
from tests.apps.places import submit, vector_of
from tests.apps.signed_requests import problem, read, refusal
from tests.apps.unchanged import files, nothing_changes

DAY = 24 * 3600


@pytest.fixture
def body(place):
    return seal(place, vector_of(place.layout))


def mesh_keys():
    return {key.kid: signing.ed25519_from_jwk(key) for key in keys.key_set().keys if key.use == "sig"}


def receipt_in(document):
    return signing.verify_document(document, Receipt, purpose=Purpose.RECEIPT, keys=mesh_keys())


def inbox_files():
    return [name for name in files() if name.startswith("inbox")]


def age(path, seconds):
    moment = time.time() - seconds
    os.utime(path, (moment, moment))


# --- the receipt ------------------------------------------------------------------------------------------------------------


def test_a_receipt_names_what_was_taken_under_the_meshs_signature(place, body):
    receipt = receipt_in(read(send(place, body), SignedDocument))
    assert (receipt.upload_id, receipt.client_id) == (place.upload_id, place.client.record.id)
    assert (receipt.model, receipt.round) == ("boltz-core", 1)
    assert (receipt.body_sha256, receipt.body_bytes) == (hashlib.sha256(body).hexdigest(), len(body))
    assert (receipt.log_by - receipt.received_at).total_seconds() == DAY


def test_the_leaf_in_a_receipt_is_the_one_in_the_log(place, body):
    receipt = receipt_in(read(send(place, body), SignedDocument))
    entry = LogEntry.objects.get(type="update.received")
    assert from_base64url(receipt.leaf) == bytes(entry.leaf)
    assert leaves.leaf_hash(from_base64url(receipt.leaf)) == leaves.leaf_hash(bytes(entry.leaf))


def test_a_receipt_is_not_valid_for_another_purpose(place, body):
    document = read(send(place, body), SignedDocument)
    with pytest.raises(signing.BadSignatureError):
        signing.verify_document(document, Receipt, purpose=Purpose.MANIFEST, keys=mesh_keys())


def test_the_status_of_an_update_carries_its_receipt(place, body):
    document = read(send(place, body), SignedDocument)
    assert read(place.client.get(place.path), UpdateStatus).receipt == document


def test_the_row_keeps_who_signed_which_bytes(place, body):
    send(place, body)
    update = Update.objects.get()
    signing.verify_signature(bytes(update.public_key), bytes(update.signature), bytes(update.signature_base))
    assert f'"@path": {place.path}'.encode() in bytes(update.signature_base)
    assert update.client_kid == signing.thumbprint(bytes(update.public_key))


def test_an_envelope_that_is_gone_is_not_intact(mesh):
    assert not stores.envelope_is_intact("00" * 32)


def test_a_conflict_with_a_row_that_is_not_there_any_more_is_no_receipt(place, body, monkeypatch):
    """The database refused the row, and the row that it refused it for is not this upload's."""

    def conflict(*_):
        raise IntegrityError

    monkeypatch.setattr(uploads, "insert_update", conflict)
    with nothing_changes():
        assert refusal(send(place, body)) == (409, "already_submitted")


def test_the_bytes_on_disk_are_the_ones_that_were_sent(place, body):
    update = submit(place)
    assert stores.envelope_is_intact(update.body_sha256)
    assert inbox_files() == [f"inbox/{update.body_sha256[:2]}/{update.body_sha256}"]


def test_an_upload_takes_a_bounded_number_of_statements(place, body, django_assert_max_num_queries):
    with django_assert_max_num_queries(18):
        assert send(place, body).status_code == 202


# --- failures on the way ----------------------------------------------------------------------------------------------------


@pytest.fixture
def broken(monkeypatch):
    """Let a function of a module fail from now on."""

    def fail(module, name, error):
        def raising(*_, **__):
            raise error

        monkeypatch.setattr(module, name, raising)

    return fail


@pytest.mark.parametrize("step", ["hold_active", "make_receipt", "check_key"])
def test_a_crash_inside_the_transaction_leaves_no_row_and_no_file(place, body, monkeypatch, step):
    with monkeypatch.context() as crash:
        count = iter(range(9))
        real = getattr(uploads, step)

        def crashing(*arguments):
            # the header's key is checked once before the transaction
            if step == "check_key" and next(count) == 0:
                return real(*arguments)
            raise ZeroDivisionError

        crash.setattr(uploads, step, crashing)
        with nothing_changes():
            assert refusal(send(place, body)) == (500, "server_fault")
    assert send(place, body).status_code == 202


def test_a_crash_between_the_name_and_the_commit_leaves_no_row_and_no_file(place, body, monkeypatch):
    real = stores.publish_file

    def publish_and_crash(file, target):
        real(file, target)
        assert target.exists()
        raise ZeroDivisionError

    with monkeypatch.context() as crash:
        crash.setattr(stores, "publish_file", publish_and_crash)
        with nothing_changes():
            assert refusal(send(place, body)) == (500, "server_fault")
    assert send(place, body).status_code == 202


def test_a_database_that_goes_away_is_told_with_the_time_to_come_back(place, body, broken):
    broken(uploads, "make_receipt", OperationalError("server closed the connection unexpectedly"))
    with nothing_changes():
        answer = send(place, body)
        assert refusal(answer) == (503, "database_unavailable")
    assert answer.headers["retry-after"] == "5"
    assert "server closed" not in answer.text


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO])
@pytest.mark.parametrize("where", ["partial_file", "publish_file"])
def test_a_full_or_broken_disk_is_told_and_nothing_is_lost(place, joined, body, broken, number, where):
    earlier = submit(joined("beta"))
    broken(stores, where, OSError(number, os.strerror(number)))
    with nothing_changes():
        answer = send(place, body)
        assert refusal(answer) == (503, "storage_unavailable")
    assert answer.headers["retry-after"] == "30"
    assert os.strerror(number) not in answer.text
    assert stores.envelope_is_intact(earlier.body_sha256)


def test_a_disk_that_takes_a_part_of_a_block_only_is_noticed(tmp_path):
    """A raw file writes what fits and tells in its return value; the rest would be missing under a receipt."""
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    block = bytes(3000)

    def write():
        with stores.partial_file(tmp_path) as file:
            file.write(block)
            file.write(block)
            stores.publish_file(file, tmp_path / "whole")

    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, limit[1]))
        with pytest.raises(OSError, match="File too large"):
            write()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert list(tmp_path.iterdir()) == []


def test_a_refusal_is_answered_also_when_the_body_can_no_longer_be_read(place, body):
    class Gone:
        def read(self, _size):
            raise uploads.UnreadablePostError("gone")

    Round.objects.update(state="sealed")
    upload = uploads.Upload(
        model="boltz-core",
        round=1,
        upload_id=place.upload_id,
        client=Client.objects.get(),
        key=ClientKey.objects.get(),
        signature=None,
        body_sha256=hashlib.sha256(body).digest(),
        length=len(body),
    )
    with pytest.raises(uploads.NotNowError) as refused:
        uploads.accept_update(upload, Gone())
    assert refused.value.code == "round_sealed"


# --- what a killed process leaves -------------------------------------------------------------------------------------------


def test_the_sweep_removes_an_old_envelope_that_no_update_has(place):
    kept = submit(place)
    orphan = stores.envelope_path("00" * 32)
    orphan.parent.mkdir(parents=True, exist_ok=True)
    orphan.write_bytes(b"sealed")
    for path in (orphan, stores.envelope_path(kept.body_sha256)):
        age(path, DAY)
    assert inbox.sweep_directory(orphan.parent) == 1
    assert inbox.sweep_directory(stores.envelope_path(kept.body_sha256).parent) == 0
    assert inbox_files() == [f"inbox/{kept.body_sha256[:2]}/{kept.body_sha256}"]


def test_the_sweep_leaves_an_envelope_alone_that_has_just_come(mesh):
    young = stores.envelope_path("00" * 32)
    young.parent.mkdir(parents=True)
    young.write_bytes(b"sealed")
    assert inbox.sweep_directory(young.parent) == 0
    assert young.exists()


def test_the_sweep_looks_at_the_rows_again_once_it_is_alone(place, monkeypatch):
    """Its first look may be older than the commit of an upload."""
    update = submit(place)
    path = stores.envelope_path(update.body_sha256)
    age(path, DAY)
    looks = iter([[path]])
    real = inbox.unclaimed
    monkeypatch.setattr(inbox, "unclaimed", lambda paths: next(looks, None) or real(paths))
    assert inbox.sweep_directory(path.parent) == 0
    assert path.exists()


def test_the_sweep_visits_one_directory_at_a_time(mesh, monkeypatch):
    seen = []
    monkeypatch.setattr(inbox, "sweep_directory", lambda directory: seen.append(directory.name) or 0)
    monkeypatch.setattr(inbox.secrets, "randbelow", lambda most: most - 1)
    inbox.sweep_inbox()
    assert seen == ["ff"]


def test_a_file_that_vanishes_during_the_sweep_is_no_matter(tmp_path):
    assert inbox.modified_at(tmp_path / "gone") == pytest.approx(time.time(), abs=5)


def test_the_names_of_new_directories_are_made_durable_up_to_the_first_old_one(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(stores.durable_files, "sync_directory", synced.append)
    stores.make_directory(tmp_path / "staged" / "7")
    assert synced == [tmp_path, tmp_path / "staged"]


def test_an_upload_holds_the_inbox_until_its_commit(place, body, monkeypatch):
    held = []
    real = stores.publish_file

    def look(file, target):
        with connection.cursor() as cursor:
            cursor.execute("SELECT mode FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()")
            held.extend(row[0] for row in cursor.fetchall())
        real(file, target)

    monkeypatch.setattr(stores, "publish_file", look)
    assert send(place, body).status_code == 202
    assert "ShareLock" in held


def test_a_problem_with_storage_names_no_file(place, body, broken):
    broken(stores, "partial_file", OSError(errno.ENOSPC, "No space left on device", "/secret/place"))
    assert "secret" not in problem(send(place, body)).detail
