"""What is wrong inside an envelope shows after the 202: the update is rejected with a code and a reason for its own client."""

import json
import tracemalloc

import numpy as np
import pytest

from apps.audit import selectors as log
from apps.audit import services as audit
from apps.rounds import services
from apps.rounds.models import Round, Update
from boltz_protocol import codec, envelope
from boltz_protocol.messages import MAX_SAFE_INTEGER, Claims, UpdateStatus
from tests.apps.hostile_envelopes import CLAIMS, claims_with, flipped, plain, raw, seal, seal_plain, send
from tests.apps.places import submit, vector_of
from tests.apps.signed_requests import read, refusal
from tests.apps.unchanged import files, world

PLAIN = len(codec.encode(CLAIMS)) + 4 + 128 + 40  # of an update of the starter model
STREAM = envelope._stream_length(PLAIN)
EDGE = 2**-126 * 0.5  # a subnormal float32


@pytest.fixture
def decide(place):
    """Send an envelope, have it decided, and tell what its client reads of it."""

    def run(body):
        assert send(place, body).status_code == 202
        services.process_update(place.upload_id)
        return read(place.client.get(place.path), UpdateStatus)

    return run


def rejected(status, code):
    """A rejection leaves the envelope, the decision in the log, and nothing else: no segment, no score, no second try."""
    update = Update.objects.get()
    assert (status.state, status.code) == ("rejected", code)
    assert status.reason
    assert (update.claims, update.norm, update.staged_key, update.lost_leases, update.failures) == (
        None,
        None,
        None,
        0,
        0,
    )
    assert update.lease_token is None
    assert not [name for name in files() if name.startswith("staged")]
    assert not [name for name in files() if name.endswith(".part")]
    decision = log.entries_of_type("update.decided").get()
    assert audit.read_detail(decision) == {"upload_id": update.pk, "outcome": "rejected", "code": code}
    return True


def header_of(layout, **changes):
    """A safetensors header with other words."""
    content = json.loads(layout.header[8:])
    content["weight"] |= changes
    return json.dumps(content).encode()


# --- the seal ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", [1, 16, 17, 200, STREAM - 1, STREAM])
def test_a_truncated_envelope_is_rejected(place, decide, missing):
    assert rejected(decide(seal(place, vector_of(place.layout))[:-missing]), "undecryptable")


@pytest.mark.parametrize("position", [-1, -20, -STREAM, 56 - STREAM, -STREAM - 1, -STREAM - 384])
def test_a_flipped_bit_behind_the_clear_header_is_rejected(place, decide, position):
    body = seal(place, vector_of(place.layout))
    assert rejected(decide(flipped(body, position)), "undecryptable")


def test_an_envelope_with_bytes_after_its_end_is_rejected(place, decide):
    assert rejected(decide(seal(place, vector_of(place.layout)) + b"\0"), "undecryptable")


def test_a_stream_of_another_envelope_is_rejected(place, joined, decide):
    """The header is bound to the stream: a head moved to another client's stream opens nothing."""
    mine, theirs = (seal(owner, vector_of(owner.layout)) for owner in (place, joined("beta")))
    assert rejected(decide(mine[:-STREAM] + theirs[-STREAM:]), "undecryptable")


def test_a_wrapped_key_and_stream_of_another_envelope_are_rejected(place, joined, decide):
    mine, theirs = (seal(owner, vector_of(owner.layout)) for owner in (place, joined("beta")))
    moved = STREAM + 384
    assert rejected(decide(mine[:-moved] + theirs[-moved:]), "undecryptable")


@pytest.mark.parametrize("length", [1, 100, MAX_SAFE_INTEGER])
def test_a_plain_length_that_lies_is_rejected(place, decide, length):
    body = seal_plain(place, plain(layout=place.layout), plain_length=length)
    status = decide(body)
    assert status.code in {"undecryptable", "malformed_envelope"}
    assert rejected(status, status.code)


# --- the claims -------------------------------------------------------------------------------------------------------------


def test_claims_of_one_megabyte_are_rejected_without_being_read(place, decide):
    claims = claims_with(metrics={"a": 0.5}).replace(b'"a"', b'"%s"' % (b"a" * 10**6))
    assert rejected(decide(seal_plain(place, plain(layout=place.layout, claims=claims))), "malformed_envelope")


@pytest.mark.parametrize("length", [2**32 - 1, 16385, 10**6])
def test_claims_that_announce_more_than_there_is_are_rejected(place, decide, length):
    assert rejected(decide(seal_plain(place, plain(layout=place.layout, claims_length=length))), "malformed_envelope")


@pytest.mark.parametrize(
    "claims",
    [
        claims_with(examples=-1),
        claims_with(examples=0),
        claims_with(examples=1.5),
        claims_with(examples=True),
        claims_with(examples="60"),
        claims_with(examples=None),
        codec.encode(CLAIMS).replace(b'"examples":60', b'"examples":%d' % 2**63),
        codec.encode(CLAIMS).replace(b'"examples":60', b'"examples":%d' % 2**53),
        codec.encode(CLAIMS).replace(b'"examples":60', b'"examples":1e2'),
        codec.encode(CLAIMS).replace(b'"examples":60', b'"examples":NaN'),
        claims_with(feature_coverage=1.5),
        claims_with(invalid_share=-0.1),
        claims_with(local_noise=-1.0),
        claims_with(v=2),
        claims_with(trust=1.0),
        claims_with(metrics={f"m{n}": 0.5 for n in range(17)}),
        claims_with(metrics={"loss": "low"}),
        claims_with(metrics={"a\nb": 1.0}),
        codec.encode(CLAIMS).replace(b'"metrics":{}', b'"metrics":{"loss":1e999}'),
        codec.encode(CLAIMS) + b" ",
        codec.encode(CLAIMS).replace(b'"v":1', b'"v":1,"v":1'),
        b"{}",
        b"",
        b"[" * 16000,
        b"\xff" * 100,
    ],
    ids=lambda claims: claims[:48].decode("latin-1"),
)
def test_claims_that_are_not_claims_are_rejected(place, decide, claims):
    assert rejected(decide(seal_plain(place, plain(layout=place.layout, claims=claims))), "malformed_claims")


def test_claims_with_a_nul_in_a_name_are_rejected_and_not_taken_for_a_fault_of_ours(place, decide):
    """No row of the database can hold NUL, and the reason quotes the name."""
    claims = codec.encode(CLAIMS).replace(b'{"examples"', b'{"ev\\u0000il":1,"examples"')
    status = decide(seal_plain(place, plain(layout=place.layout, claims=claims)))
    assert rejected(status, "malformed_claims")
    assert "ev\N{REPLACEMENT CHARACTER}il" in status.reason


def test_claims_of_many_examples_are_only_claims(place, decide):
    claims = Claims(
        v=1, examples=MAX_SAFE_INTEGER, feature_coverage=0.0, invalid_share=1.0, metrics={}, local_noise=0.0
    )
    assert decide(seal(place, vector_of(place.layout), claims=claims)).state == "staged"
    assert Update.objects.get().examples == MAX_SAFE_INTEGER


# --- the tensors ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"shape": [2**31, 2**31]}, "malformed_tensors"),
        ({"shape": [9] * 9}, "malformed_tensors"),
        ({"shape": [-9]}, "malformed_tensors"),
        ({"shape": [9.0]}, "malformed_tensors"),
        ({"shape": [True]}, "malformed_tensors"),
        ({"shape": []}, "malformed_tensors"),
        ({"data_offsets": [4, 2**53 - 1]}, "malformed_tensors"),
        ({"data_offsets": [0, 36]}, "malformed_tensors"),
        ({"data_offsets": [8, 44]}, "malformed_tensors"),
        ({"data_offsets": [40, 4]}, "malformed_tensors"),
        ({"data_offsets": [4]}, "malformed_tensors"),
        ({"shape": [3, 3]}, "wrong_layout"),
        ({"shape": [10], "data_offsets": [4, 44]}, "wrong_layout"),
        ({"shape": [2**40], "data_offsets": [4, 4 + 2**42]}, "wrong_layout"),
        ({"dtype": "F64"}, "wrong_dtype"),
        ({"dtype": "I32"}, "wrong_dtype"),
        ({"dtype": "BF16"}, "wrong_dtype"),
    ],
    ids=str,
)
def test_a_safetensors_header_that_lies_is_rejected(place, decide, changes, code):
    header = header_of(place.layout, **changes)
    assert rejected(decide(seal_plain(place, plain(layout=place.layout, tensors_header=header))), code)


@pytest.mark.parametrize(
    "header",
    [
        b"{}",
        b'{"weight":{"data_offsets":[0,36],"dtype":"F32","shape":[9]}}',
        b'{"bias":{"data_offsets":[0,4],"dtype":"F32","shape":[1]},"wait":{"data_offsets":[4,40],"dtype":"F32","shape":[9]}}',
        b'{"bias":{"data_offsets":[36,40],"dtype":"F32","shape":[1]},"weight":{"data_offsets":[0,36],"dtype":"F32","shape":[9]}}',
    ],
)
def test_another_layout_is_rejected(place, decide, header):
    assert rejected(decide(seal_plain(place, plain(layout=place.layout, tensors_header=header))), "wrong_layout")


@pytest.mark.parametrize("header", [b"[]", b"{", b'{"bias":1}', b"\x80\x04K\x01.", b'{"__metadata__":[]}'])
def test_a_header_that_is_none_is_rejected(place, decide, header):
    assert rejected(decide(seal_plain(place, plain(layout=place.layout, tensors_header=header))), "malformed_tensors")


@pytest.mark.parametrize("length", [2**64 - 1, 2**63, 2**40, (1 << 20) + 1, 10**6])
def test_a_header_length_that_lies_is_rejected_and_allocates_nothing(place, length):
    body = seal_plain(place, plain(layout=place.layout, tensors_header_length=length))
    assert send(place, body).status_code == 202
    tracemalloc.start()
    try:
        services.process_update(place.upload_id)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert rejected(read(place.client.get(place.path), UpdateStatus), "malformed_envelope")
    assert peak < 8 << 20


def test_a_shape_that_lies_allocates_nothing(place):
    header = header_of(place.layout, shape=[2**31, 2**20], data_offsets=[4, 4 + 2**53])
    assert send(place, seal_plain(place, plain(layout=place.layout, tensors_header=header))).status_code == 202
    tracemalloc.start()
    try:
        services.process_update(place.upload_id)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert rejected(read(place.client.get(place.path), UpdateStatus), "wrong_layout")
    assert peak < 8 << 20


@pytest.mark.parametrize("difference", [-4, -1, 1, 4])
def test_more_or_fewer_numbers_than_the_layout_has_are_rejected(place, decide, difference):
    data = bytes(place.layout.data_bytes + difference)
    assert rejected(decide(seal_plain(place, plain(layout=place.layout, data=data))), "malformed_envelope")


# --- the numbers ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("position", [0, 9])
def test_numbers_that_are_not_finite_are_rejected(place, decide, number, position):
    vector = vector_of(place.layout)
    vector[position] = number
    assert rejected(decide(seal(place, vector)), "not_finite")


def test_a_signalling_nan_is_rejected(place, decide):
    data = b"\x01\x00\xa0\x7f" + bytes(place.layout.data_bytes - 4)
    assert rejected(decide(seal_plain(place, plain(layout=place.layout, data=data))), "not_finite")


@pytest.mark.parametrize("factor", [1.001, 10, 3e38])
def test_a_norm_above_the_bound_is_rejected(place, decide, factor):
    bound = place.descriptor.policy.max_norm
    vector = np.zeros(place.layout.parameters, np.float32)
    vector[3] = min(bound * factor, 3e38)
    status = decide(seal(place, vector))
    assert rejected(status, "norm_too_large")
    assert "0.5 is allowed" in status.reason


def test_a_norm_at_the_bound_is_staged(place, decide):
    vector = np.zeros(place.layout.parameters, np.float32)
    vector[3] = place.descriptor.policy.max_norm
    assert decide(seal(place, vector)).norm == pytest.approx(place.descriptor.policy.max_norm)


@pytest.mark.parametrize("number", [0.0, -0.0, EDGE])
def test_an_update_of_hardly_anything_is_staged(place, decide, number):
    status = decide(seal(place, np.full(place.layout.parameters, number, np.float32)))
    assert (status.state, status.norm) == ("staged", pytest.approx(0, abs=1e-30))


# --- who may know -----------------------------------------------------------------------------------------------------------


def test_what_became_of_an_update_is_told_to_its_own_client_only(place, joined, decide):
    beta = joined("beta")
    assert decide(seal(place, np.full(place.layout.parameters, np.nan, np.float32))).code == "not_finite"
    assert refusal(beta.client.get(place.path)) == (404, "unknown_update")
    assert refusal(beta.client.get(beta.path)) == (404, "unknown_update")
    assert refusal(place.client.get(place.path.replace(place.upload_id, "%00"))) == (404, "unknown_update")


def test_a_rejection_is_counted_in_the_round_by_its_code(place, decide):
    decide(seal(place, np.full(place.layout.parameters, np.nan, np.float32)))
    answer = place.client.get(place.path.rpartition("/updates/")[0])
    assert '"rejected":{"not_finite":1}' in answer.text
    assert '"accepted":1' in answer.text
    assert '"staged":0' in answer.text


def test_a_rejected_client_can_not_send_another_update_in_the_round(place, decide):
    decide(seal(place, np.full(place.layout.parameters, np.nan, np.float32)))
    before = world()
    assert refusal(send(place, seal(place, vector_of(place.layout)))) == (409, "upload_conflict")
    assert world() == before


def test_one_rejected_update_does_not_touch_the_others(place, joined, decide):
    beta = joined("beta")
    submit(beta)
    services.process_update(beta.upload_id)
    kept = Update.objects.filter(pk=beta.upload_id).values().get()
    assert decide(seal_plain(place, plain(layout=place.layout, data=raw(np.full(10, np.inf))))).state == "rejected"
    assert Update.objects.filter(pk=beta.upload_id).values().get() == kept
    assert Round.objects.get().state == "open"
