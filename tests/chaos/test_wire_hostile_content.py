"""Envelopes that are taken, since from outside they look right, and turn out to be hostile when a worker opens them.

Each is refused with its own code, by a real worker whose memory stays flat; nothing of it is staged, and the honest
three of the same round get their version.
"""

import json

import numpy as np
import pytest

from boltz_protocol import codec, envelope
from tests.apps.hostile_envelopes import CLAIMS, claims_with, plain, raw, seal, seal_plain
from tests.apps.signed_requests import refusal
from tests.chaos import hostile_rounds
from tests.chaos.invariants import ROUND, check_invariants
from tests.chaos.senders import one_hot_senders, random_senders, send_all
from tests.chaos.wire_faults import at_once, flat_memory
from tests.chaos.withheld import withhold

pytestmark = [pytest.mark.processes, pytest.mark.long]

layout, run_round = hostile_rounds.layout, hostile_rounds.run_round


@pytest.fixture
def ones(parameters):
    return np.ones(parameters, np.float32)


def header_of(layout, **changes):
    """A safetensors header with other words."""
    content = json.loads(layout.header[8:])
    content["w"] |= changes
    return json.dumps(content).encode()


def test_bombs_are_refused_and_memory_stays_flat(mesh, run_round, layout):
    def with_plain(**parts):
        return lambda place: seal_plain(place, plain(layout=place.layout, **parts))

    cases = {
        # what a header announces and what a shape multiplies to is never allocated
        "a header of 2^64 bytes": (with_plain(tensors_header_length=2**64 - 1), "malformed_envelope"),
        "a header of 2^40 bytes": (with_plain(tensors_header_length=2**40), "malformed_envelope"),
        "a header of a megabyte and a byte": (with_plain(tensors_header_length=(1 << 20) + 1), "malformed_envelope"),
        "claims of 4 GB": (with_plain(claims_length=2**32 - 1), "malformed_envelope"),
        "claims that nest": (with_plain(claims=b"[" * 16000), "malformed_claims"),
        "a header that nests": (with_plain(tensors_header=b"[" * 600_000), "malformed_tensors"),
        "a product that overflows": (
            with_plain(tensors_header=header_of(layout, shape=[2**32, 2**32])),
            "malformed_tensors",
        ),
        "a product that comes back to the right one": (
            with_plain(tensors_header=header_of(layout, shape=[layout.parameters, 2**62, 4])),
            "malformed_tensors",
        ),
        "a tensor of 4 TB": (
            with_plain(tensors_header=header_of(layout, shape=[2**40], data_offsets=[0, 2**42])),
            "wrong_layout",
        ),
        "an offset beyond the file": (
            with_plain(tensors_header=header_of(layout, data_offsets=[2**40, 2**40 + 4 * layout.parameters])),
            "malformed_tensors",
        ),
        "a plain length of 2^53": (
            lambda place: seal_plain(place, plain(layout=place.layout), plain_length=2**53 - 1),
            "malformed_envelope",
        ),
    }
    with flat_memory(mesh, "web", "worker"):
        codes = run_round({name: make for name, (make, _) in cases.items()})
    assert codes == {name: code for name, (_, code) in cases.items()}


def test_numbers_that_poison_a_mean_are_refused(mesh, run_round, layout, parameters):
    def with_data(value, position):
        def make(place):
            vector = np.ones(place.layout.parameters, np.float32)
            vector[position] = value
            return seal(place, vector)

        return make

    places = (0, parameters // 2, parameters - 1)
    numbers = {"nan": np.nan, "inf": np.inf, "-inf": -np.inf}
    poison = {f"{name} at {at}": with_data(value, at) for name, value in numbers.items() for at in places}
    signalling = b"\x01\x00\xa0\x7f" + bytes(layout.data_bytes - 4)
    poison["a signalling nan"] = lambda place: seal_plain(place, plain(layout=place.layout, data=signalling))
    huge = {"3e38": with_data(3e38, 5), "everything 1e30": lambda p: seal(p, np.full(parameters, 1e30, np.float32))}
    codes = run_round(poison | huge, senders=random_senders(parameters, seed=47)[:3])
    assert codes == dict.fromkeys(poison, "not_finite") | dict.fromkeys(huge, "norm_too_large")


def test_other_shapes_and_types_are_refused(run_round, layout, parameters, ones):
    half = parameters // 2

    def with_header(data=None, **changes):
        return lambda place: seal_plain(
            place, plain(layout=place.layout, tensors_header=header_of(layout, **changes), data=data)
        )

    def with_numbers(count):
        return lambda place: seal_plain(place, plain(layout=place.layout, data=raw(np.ones(count))))

    cases = {
        "float64": (with_header(dtype="F64"), "wrong_dtype"),
        "float16": (with_header(dtype="F16"), "wrong_dtype"),
        "integers": (with_header(dtype="I32"), "wrong_dtype"),
        "a column": (with_header(shape=[parameters, 1]), "wrong_layout"),
        "no shape": (with_header(shape=[]), "malformed_tensors"),
        "a negative shape": (with_header(shape=[-parameters]), "malformed_tensors"),
        "half of it": (
            with_header(data=raw(ones[:half]), shape=[half], data_offsets=[0, 4 * half]),
            "malformed_envelope",
        ),
        "one number less": (with_numbers(parameters - 1), "malformed_envelope"),
        "one number more": (with_numbers(parameters + 1), "malformed_envelope"),
        "another tensor": (
            lambda place: seal_plain(
                place,
                plain(
                    layout=place.layout, tensors_header=json.dumps({"x": json.loads(layout.header[8:])["w"]}).encode()
                ),
            ),
            "wrong_layout",
        ),
        "a pickle": (
            lambda place: seal_plain(place, plain(layout=place.layout, tensors_header=b"\x80\x04K\x01.")),
            "malformed_tensors",
        ),
    }
    codes = run_round({name: make for name, (make, _) in cases.items()})
    assert codes == {name: code for name, (_, code) in cases.items()}


def test_counts_that_nobody_can_have_are_refused(run_round):
    def with_claims(claims):
        return lambda place: seal_plain(place, plain(layout=place.layout, claims=claims))

    right = codec.encode(CLAIMS)
    cases = {
        "negative": claims_with(examples=-1),
        "nothing": claims_with(examples=0),
        "a fraction": claims_with(examples=1.5),
        "true": claims_with(examples=True),
        "2^53": right.replace(b'"examples":60', b'"examples":%d' % 2**53),
        "2^64": right.replace(b'"examples":60', b'"examples":%d' % 2**64),
        "a thousand digits": right.replace(b'"examples":60', b'"examples":' + b"9" * 1000),
        "nan": right.replace(b'"examples":60', b'"examples":NaN'),
        "infinity": right.replace(b'"examples":60', b'"examples":1e999'),
        "twice": right.replace(b'"examples":60', b'"examples":60,"examples":61'),
        "coverage above 1": claims_with(feature_coverage=1.5),
        "a share below 0": claims_with(invalid_share=-0.1),
    }
    codes = run_round({name: with_claims(claims) for name, claims in cases.items()})
    assert codes == dict.fromkeys(cases, "malformed_claims")


def test_a_huge_count_weighs_no_more_than_the_cap(mesh, wire, model, parameters):
    senders = random_senders(parameters, seed=53)
    boaster = withhold(mesh, wire, senders[0], model)
    huge = claims_with(examples=2**53 - 1)
    data = raw(senders[0].vector)
    body = seal_plain(boaster.place(), plain(layout=boaster.layout, claims=huge, data=data))
    assert boaster.send(body).status_code == 202
    send_all(mesh, model, senders[1:])
    mesh.until(lambda: mesh.round_state(model) == "published", "the round is published")
    decision = mesh.value(
        "SELECT decision FROM aggregation_run WHERE round_id = %s AND state = 'published'", mesh.value(ROUND, model)
    )
    weights = {member["update_id"]: member["weight"] for member in decision["members"]}
    # one of the others claims more than the cap, honestly
    capped = senders[2].upload_ids[0]
    assert weights[boaster.upload_id] == weights[capped] == max(weights.values())


def test_an_envelope_longer_than_the_model_allows_is_refused_at_the_door(mesh, wire, model, parameters, layout):
    senders = one_hot_senders(parameters)
    upload = withhold(mesh, wire, senders[0], model)
    longest = envelope.max_envelope_bytes(layout)
    grown = upload.body + bytes(longest + 1 - len(upload.body))
    assert refusal(upload.send(grown)) == (413, "body_too_large")
    answers = at_once([lambda: upload.client.request("GET", "/api/v1/models").status_code] * 4)
    assert answers == [200] * 4
    send_all(mesh, model, senders)
    check_invariants(mesh, model, senders)
