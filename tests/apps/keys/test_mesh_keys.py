import msgspec
import pytest
from django.db import IntegrityError, transaction

from apps.keys import services as keys
from apps.keys.models import KeyState, MeshKey
from boltz_protocol import signing
from boltz_protocol.errors import NotNowError
from boltz_protocol.messages import KeySet, KeySuccession, SignedDocument
from tests.apps.signed_requests import read
from tests.apps.together import together


def public_keys():
    return {key.kid: signing.ed25519_from_jwk(key.jwk()) for key in MeshKey.objects.filter(use="sig")}


def test_the_first_start_makes_one_key_of_each_use_and_the_second_none(db):
    assert [key.use for key in keys.ensure_mesh_keys()] == ["sig", "enc"]
    assert keys.ensure_mesh_keys() == []
    assert MeshKey.objects.count() == 2


@pytest.mark.django_db(transaction=True)
def test_processes_that_start_at_once_make_one_key_of_each_use():
    made = together(keys.ensure_mesh_keys, keys.ensure_mesh_keys, keys.ensure_mesh_keys)
    assert sorted(map(len, made)) == [0, 0, 2]
    assert MeshKey.objects.count() == 2


def test_a_key_directory_that_was_not_restored_is_noticed_at_start(db, settings, tmp_path):
    keys.ensure_mesh_keys()
    settings.BOLTZ_KEY_DIR = tmp_path / "empty"
    with pytest.raises(keys.KeyMissingError, match="restore"):
        keys.ensure_mesh_keys()
    assert MeshKey.objects.count() == 2


def test_a_mesh_without_keys_says_so(db):
    with pytest.raises(keys.KeyMissingError):
        keys.signing_key()


def test_published_keys_are_what_clients_accept(db, mesh_http):
    keys.ensure_mesh_keys()
    response = mesh_http.get("/api/v1/keys")
    assert (response.status_code, response.headers["content-type"]) == (200, "application/json")
    key_set = read(response, KeySet)
    signing_jwk, encryption_jwk = key_set.keys
    assert signing.ed25519_from_jwk(signing_jwk)
    assert signing.rsa_from_jwk(encryption_jwk).key_size == 3072
    assert [jwk.state for jwk in key_set.keys] == ["current", "current"]
    assert key_set.successions == ()


def test_the_mesh_signs_as_its_current_key(db):
    keys.ensure_mesh_keys()
    message = KeySuccession(
        v=1, old_kid="x" * 43, new=keys.signing_key().jwk(), created_at=keys.signing_key().not_before
    )
    document = keys.sign_document(message, signing.Purpose.KEY_SUCCESSION)
    assert document.kid == keys.signing_key().kid
    assert (
        signing.verify_document(document, KeySuccession, purpose=signing.Purpose.KEY_SUCCESSION, keys=public_keys())
        == message
    )


def test_a_new_signing_key_is_signed_for_by_the_old_one(db):
    keys.ensure_mesh_keys()
    old = keys.signing_key()
    new = keys.rotate_signing_key()
    newer = keys.rotate_signing_key()
    assert keys.signing_key() == newer
    first, second = keys.key_set().successions
    trusted = {old.kid: public_keys()[old.kid]}
    succession = signing.verify_document(first, KeySuccession, purpose=signing.Purpose.KEY_SUCCESSION, keys=trusted)
    assert (succession.old_kid, succession.new.kid) == (old.kid, new.kid)
    # and so on from there, without any other trust
    trusted = {succession.new.kid: signing.ed25519_from_jwk(succession.new)}
    assert (
        signing.verify_document(second, KeySuccession, purpose=signing.Purpose.KEY_SUCCESSION, keys=trusted).new.kid
        == newer.kid
    )
    assert msgspec.convert(new.succession, SignedDocument) == first


def test_a_retired_key_stays_published_with_the_time_it_ended(db):
    keys.ensure_mesh_keys()
    old = keys.signing_key()
    new = keys.rotate_signing_key()
    published = {jwk.kid: jwk for jwk in keys.key_set().keys}
    assert published[old.kid].state == "retired"
    assert published[old.kid].not_after <= published[new.kid].not_before


def test_a_retired_encryption_key_opens_until_it_is_destroyed(db):
    keys.ensure_mesh_keys()
    old = keys.encryption_key()
    new = keys.rotate_encryption_key()
    assert (keys.encryption_key(), new.succession) == (new, None)
    assert keys.key_store().exists(old.kid)
    assert keys.destroy_retired_key(old.kid) is True
    assert not keys.key_store().exists(old.kid)
    assert old.kid not in {jwk.kid for jwk in keys.key_set().keys}
    assert MeshKey.objects.get(kid=old.kid).state == KeyState.DESTROYED


def test_destroying_a_key_again_changes_nothing(db):
    keys.ensure_mesh_keys()
    old = keys.encryption_key()
    keys.rotate_encryption_key()
    assert [keys.destroy_retired_key(old.kid) for _ in range(2)] == [True, False]


def test_a_crash_between_file_and_row_is_mended_by_destroying_again(db):
    keys.ensure_mesh_keys()
    old = keys.encryption_key()
    keys.rotate_encryption_key()
    keys.key_store().destroy(old.kid)
    assert keys.destroy_retired_key(old.kid) is True


def test_the_current_key_is_not_destroyed(db):
    keys.ensure_mesh_keys()
    with pytest.raises(NotNowError) as caught:
        keys.destroy_retired_key(keys.encryption_key().kid)
    assert caught.value.code == "key_not_retired"
    assert keys.key_store().exists(keys.encryption_key().kid)


def test_uploads_may_use_a_retired_key_for_the_first_half_of_the_grace_time(db, settings):
    keys.ensure_mesh_keys()
    old = keys.encryption_key()
    new = keys.rotate_encryption_key()
    assert keys.is_usable(new.kid)
    assert keys.is_usable(old.kid)
    settings.BOLTZ_KEY_GRACE_SECONDS = 0
    assert keys.is_usable(new.kid)
    assert not keys.is_usable(old.kid)
    assert not keys.is_usable(keys.signing_key().kid)


def test_postgres_keeps_one_current_key_a_use(db):
    keys.ensure_mesh_keys()
    key = keys.signing_key()
    with pytest.raises(IntegrityError), transaction.atomic():
        MeshKey.objects.create(kid="x" * 43, use="sig", alg=key.alg, public=key.public, not_before=key.not_before)


def test_a_key_names_itself_without_telling_much(db):
    keys.ensure_mesh_keys()
    assert str(keys.signing_key()) == f"signing key {keys.signing_key().kid[:8]}"


def test_a_passphrase_opens_the_key_store_too(db, settings):
    settings.BOLTZ_KEY_ENCRYPTION_KEY = None
    settings.BOLTZ_KEY_PASSPHRASE = "correct horse battery staple"
    kid = keys.new_symmetric_key("subject")
    assert keys.key_store().open_sealed(kid, keys.key_store().seal(kid, b"plain", b""), b"") == b"plain"
