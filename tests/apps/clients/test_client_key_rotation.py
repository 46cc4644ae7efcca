from dataclasses import replace

import msgspec
import pytest

from apps.audit import selectors as log
from apps.audit import services as audit
from apps.clients import services as clients
from apps.clients.models import Client, ClientKey
from apps.clients.services.key_rotation import KeyRotation
from boltz_protocol import signing
from boltz_protocol.encoding import base64url
from boltz_protocol.errors import NotNowError
from boltz_protocol.messages import ClientRecord, KeyRotationRequest, KeyRotationStatement
from tests.apps.signed_requests import AUTHORITY, ME, SignedClient, Signer, enrolled, read, refusal
from tests.apps.together import together

KEYS = "/api/v1/clients/me/keys"
ROTATION = signing.Purpose.KEY_ROTATION


@pytest.fixture
def alpha(mesh_http):
    return enrolled(mesh_http, "alpha")


def statement(client, new, **changes):
    fields = {
        "client_id": client.record.id,
        "old_kid": client.signer.kid,
        "new_kid": new.kid,
        "new_public_key": base64url(new.public_key),
        "authority": AUTHORITY,
        **changes,
    }
    return KeyRotationStatement(v=1, **fields)


def signed(message, signer, *, purpose=ROTATION, kid=None):
    return signing.sign_document(message, purpose=purpose, kid=kid or signer.kid, sign=signer.private_key.sign)


def rotation(client, new, **changes):
    said = statement(client, new, **changes)
    return KeyRotationRequest(v=1, by_new=signed(said, new), by_old=signed(said, client.signer))


def test_the_new_key_signs_from_now_on_and_the_old_one_never_again(alpha):
    new = Signer()
    response = alpha.post(KEYS, rotation(alpha, new))
    assert response.status_code == 200
    assert read(response, ClientRecord) == replace_kid(alpha.record, new.kid)
    assert refusal(alpha.get(ME)) == (401, "authentication_failed")
    assert SignedClient(alpha.http, new).get(ME).status_code == 200


def replace_kid(record, kid):
    return msgspec.structs.replace(record, kid=kid)


def test_the_old_key_stays_known_so_that_its_signatures_can_be_checked(alpha):
    alpha.post(KEYS, rotation(alpha, Signer()))
    old = ClientKey.objects.get(kid=alpha.signer.kid)
    assert (old.state, bytes(old.public_key)) == ("retired", alpha.signer.public_key)
    assert old.retired_at is not None
    assert str(old) == alpha.signer.kid


def test_a_rotation_is_in_the_log(alpha):
    new = Signer()
    alpha.post(KEYS, rotation(alpha, new))
    entry = log.entries_of_type("client.key_rotated").get()
    assert audit.read_detail(entry) == {"client": alpha.record.id, "old_kid": alpha.signer.kid, "new_kid": new.kid}


@pytest.mark.parametrize(
    "changes",
    [{"client_id": "c_another"}, {"old_kid": "x" * 43}, {"new_kid": "x" * 43}, {"authority": "another.example"}],
    ids=lambda changes: next(iter(changes)),
)
def test_a_statement_about_something_else_is_refused(alpha, changes):
    assert refusal(alpha.post(KEYS, rotation(alpha, Signer(), **changes))) == (422, "rotation_refused")
    assert alpha.get(ME).status_code == 200


def test_nobody_gives_a_client_a_key_without_the_old_one(alpha):
    new, thief = Signer(), Signer()
    said = statement(alpha, new)
    request = KeyRotationRequest(v=1, by_new=signed(said, new), by_old=signed(said, thief, kid=alpha.signer.kid))
    assert refusal(alpha.post(KEYS, request)) == (422, "bad_signature")


def test_nobody_claims_a_key_that_is_not_his(alpha):
    new = Signer()
    said = statement(alpha, new)
    by_old = signed(said, alpha.signer)
    for by_new in (signed(said, alpha.signer, kid=new.kid), by_old):
        request = KeyRotationRequest(v=1, by_new=by_new, by_old=by_old)
        assert refusal(alpha.post(KEYS, request)) == (422, "bad_signature")


def test_a_statement_signed_for_another_purpose_is_refused(alpha):
    new = Signer()
    said = statement(alpha, new)
    request = KeyRotationRequest(
        v=1, by_new=signed(said, new), by_old=signed(said, alpha.signer, purpose=signing.Purpose.RECEIPT)
    )
    assert refusal(alpha.post(KEYS, request)) == (422, "bad_signature")


def test_both_keys_must_say_the_same(alpha):
    new = Signer()
    request = KeyRotationRequest(
        v=1,
        by_new=signed(statement(alpha, new, authority="another.example"), new),
        by_old=signed(statement(alpha, new), alpha.signer),
    )
    assert refusal(alpha.post(KEYS, request)) == (422, "rotation_refused")


@pytest.mark.parametrize("whose", ["own", "another client's", "own and retired"])
def test_a_key_that_was_used_before_is_refused(alpha, whose):
    if whose == "own":
        new = alpha.signer
    elif whose == "another client's":
        new = enrolled(alpha.http, "beta").signer
    else:
        new, alpha.signer = alpha.signer, (next_signer := Signer())
        assert (
            SignedClient(alpha.http, new).post(KEYS, rotation(replace(alpha, signer=new), next_signer)).status_code
            == 200
        )
    assert refusal(alpha.post(KEYS, rotation(alpha, new))) == (409, "key_in_use")
    assert alpha.get(ME).status_code == 200


@pytest.mark.django_db(transaction=True)
def test_of_two_rotations_at_once_one_counts(mesh_http):
    alpha = enrolled(mesh_http, "alpha")
    client, old_key = Client.objects.get(), ClientKey.objects.get()
    rotations = [
        KeyRotation(client=client, old_key=old_key, authority=AUTHORITY, request=rotation(alpha, Signer()))
        for _ in range(2)
    ]
    outcomes = together(*[lambda one=one: clients.rotate_key(one) for one in rotations])
    errors = [outcome for outcome in outcomes if isinstance(outcome, NotNowError)]
    assert [error.code for error in errors] == ["key_retired"]
    assert ClientKey.objects.filter(state="active").count() == 1
