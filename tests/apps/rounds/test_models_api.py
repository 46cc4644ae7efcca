"""What clients read: models, versions, rounds and artifacts."""

import hashlib

import numpy as np
import pytest
import safetensors.numpy
from django.conf import settings
from django.utils import timezone

from apps.keys import services as keys
from apps.rounds import selectors, services, stores, versions
from apps.rounds.models import FederatedModel, ModelVersion, Round
from boltz_protocol import signing, tensors
from boltz_protocol.messages import ModelList, ModelView, RoundList, RoundView, SignedDocument, VersionManifest
from boltz_protocol.signing import Purpose
from tests.apps.places import submit, vector_of
from tests.apps.signed_requests import enrolled, problem, read, refusal
from tests.apps.unchanged import nothing_changes

MODELS = "/api/v1/models"
MODEL = f"{MODELS}/boltz-core"
ARTIFACT = f"{MODEL}/versions/0/artifact"


@pytest.fixture(autouse=True)
def forget_verified():
    """What this process has verified is remembered by name; each test has files of its own."""
    versions._verified.clear()


@pytest.fixture
def published(mesh, place):
    """Round 1 published as version 1."""
    submit(place)
    return mesh.finish_round()


def weights(response):
    return safetensors.numpy.load(response.content)


# --- models -----------------------------------------------------------------------------------------------------------------


def test_all_models_are_listed_by_name(mesh, alpha):
    mesh.make_model("aaa", opened=False)
    listed = read(alpha.get(MODELS), ModelList).models
    assert [(view.name, view.current_round) for view in listed] == [("aaa", None), ("boltz-core", 1)]


@pytest.mark.parametrize("count", [1, 10])
def test_a_list_of_models_takes_the_same_statements_however_long_it_is(mesh, alpha, count, django_assert_num_queries):
    for number in range(count):
        mesh.make_model(f"model-{number}", opened=False)
    with django_assert_num_queries(5):
        assert len(read(alpha.get(MODELS), ModelList).models) == count + 1


def test_a_model_shows_task_policy_version_and_round(alpha, model, published):
    view = read(alpha.get(MODEL), ModelView)
    assert (view.name, view.mode, view.parameters) == ("boltz-core", "robust", 10)
    assert (view.current_version, view.current_round) == (1, None)
    assert (view.task, view.policy, view.layout_digest) == (
        model.task_spec(),
        model.round_policy(),
        model.layout_digest,
    )


@pytest.mark.parametrize(
    ("path", "code"),
    [
        (f"{MODELS}/other", "unknown_model"),
        (f"{MODELS}/BOLTZ-CORE", "unknown_model"),
        (f"{MODELS}/a%00b", "unknown_model"),
        (f"{MODELS}/{'x' * 65}", "unknown_model"),
        (f"{MODEL}/versions/7", "unknown_version"),
        (f"{MODEL}/versions/-1", "unknown_version"),
        (f"{MODEL}/versions/00", "unknown_version"),
        (f"{MODEL}/versions/newest", "unknown_version"),
        (f"{MODEL}/versions/{'0' * 5000}", "unknown_version"),
        (f"{MODEL}/versions/{'9' * 5000}/artifact", "unknown_version"),
        (f"{MODEL}/versions/2147483648", "unknown_version"),
        (f"{MODEL}/rounds/7", "unknown_round"),
        (f"{MODEL}/rounds/01", "unknown_round"),
        (f"{MODEL}/rounds/1%00", "unknown_round"),
        (f"{MODELS}/other/rounds", "unknown_model"),
    ],
)
def test_what_is_not_there_is_not_found(alpha, path, code):
    with nothing_changes():
        assert refusal(alpha.get(path)) == (404, code)


@pytest.mark.parametrize(
    "path", [MODELS, MODEL, f"{MODEL}/rounds", f"{MODEL}/rounds/1", f"{MODEL}/versions/0", ARTIFACT]
)
def test_a_stranger_reads_nothing(mesh_http, model, path):
    assert refusal(mesh_http.get(path)) == (401, "authentication_failed")


@pytest.mark.parametrize("method", ["POST", "DELETE", "PATCH"])
def test_models_can_not_be_changed_through_the_api(alpha, method):
    with nothing_changes():
        answer = alpha.request(method, MODEL, {} if method != "DELETE" else None)
        assert refusal(answer) == (405, "method_not_allowed")


# --- versions ---------------------------------------------------------------------------------------------------------------


def mesh_keys():
    return {key.kid: signing.ed25519_from_jwk(key) for key in keys.key_set().keys if key.use == "sig"}


def test_a_manifest_is_signed_and_names_the_weights(alpha, published):
    documents = [read(alpha.get(f"{MODEL}/versions/{number}"), SignedDocument) for number in ("0", "1", "latest")]
    first, second, latest = (
        signing.verify_document(document, VersionManifest, purpose=Purpose.MANIFEST, keys=mesh_keys())
        for document in documents
    )
    assert latest == second
    assert (first.number, first.base_sha256, first.round, first.members) == (0, None, None, 0)
    assert (second.number, second.base_sha256, second.round, second.members) == (1, first.weights_sha256, 1, 1)
    content = alpha.get(f"{MODEL}/versions/1/artifact").content
    assert (hashlib.sha256(content).hexdigest(), len(content)) == (second.weights_sha256, second.weights_bytes)


def test_the_artifact_of_version_0_is_the_seed(alpha, model):
    response = alpha.get(ARTIFACT)
    assert response.headers["content-type"] == "application/octet-stream"
    assert {name: array.shape for name, array in weights(response).items()} == {"bias": (1,), "weight": (9,)}
    assert not np.concatenate([array.ravel() for array in weights(response).values()]).any()


def test_the_artifact_of_version_1_is_the_seed_and_the_step(alpha, published, layout):
    vector = tensors.decode_safetensors(alpha.get(f"{MODEL}/versions/latest/artifact").content, layout)
    assert vector == pytest.approx(vector_of(layout), rel=1e-6)


def test_an_artifact_that_is_current_is_not_sent_again(alpha, model):
    etag = alpha.get(ARTIFACT).headers["etag"]
    assert etag == f'"{ModelVersion.objects.get().weights_sha256}"'
    again = conditional(alpha, **{"If-None-Match": etag})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
    other = conditional(alpha, **{"If-None-Match": '"other"'})
    assert other.status_code == 200


def conditional(client, path=ARTIFACT, **headers):
    return client.http.get(path, headers=client.signer.headers("GET", path) | headers)


@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [("bytes=0-0", 0, 1), ("bytes=8-15", 8, 16), ("bytes=100-", 100, 168), ("bytes=0-9999", 0, 168)],
)
def test_a_range_of_an_artifact_is_that_range(alpha, model, asked, start, stop):
    whole = alpha.get(ARTIFACT).content
    part = conditional(alpha, Range=asked)
    assert part.content == whole[start:stop]
    if stop - start == len(whole):
        assert part.status_code == 200
    else:
        assert (part.status_code, part.headers["content-range"]) == (206, f"bytes {start}-{stop - 1}/{len(whole)}")


@pytest.mark.parametrize(
    "asked",
    ["bytes=168-", "bytes=9-8", "bytes=-5", "bytes=0-1,3-4", "lines=0-1", "bytes=", "bytes=a-b", f"bytes={'9' * 400}-"],
)
def test_a_range_that_can_not_be_satisfied_says_what_there_is(alpha, model, asked):
    with nothing_changes():
        answer = conditional(alpha, Range=asked)
        assert refusal(answer) == (416, "range_not_satisfiable")
    assert "0 to 167" in problem(answer).detail


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-1] + b"\1"),
        lambda path: path.write_bytes(path.read_bytes()[:-4]),
        lambda path: path.unlink(),
    ],
    ids=["changed", "cut", "gone"],
)
def test_damaged_weights_are_a_fault_of_ours_and_never_sent(alpha, model, damage):
    assert alpha.get(ARTIFACT).status_code == 200
    damage(settings.BOLTZ_DATA_DIR / "versions" / ModelVersion.objects.get().storage_name())
    answer = alpha.get(ARTIFACT)
    assert refusal(answer) == (500, "server_fault")
    assert "changed on disk" not in answer.text
    assert refusal(conditional(alpha, Range="bytes=0-7")) == (500, "server_fault")


def test_weights_that_are_cut_while_they_are_sent_are_noticed(mesh, model):
    version = ModelVersion.objects.get()
    blocks = versions.byte_range(version, 0, version.weights_bytes + 1)
    with pytest.raises(versions.DamagedVersionError):
        list(blocks)


def test_weights_are_verified_once_while_the_file_stays_the_same(alpha, model, monkeypatch):
    assert alpha.get(ARTIFACT).status_code == 200
    monkeypatch.setattr(versions.hashlib, "file_digest", None)
    assert alpha.get(ARTIFACT).status_code == 200


def test_writing_the_same_weights_again_mends_a_damaged_file(alpha, model, layout):
    version = ModelVersion.objects.get()
    path = settings.BOLTZ_DATA_DIR / "versions" / version.storage_name()
    path.write_bytes(b"damaged")
    sha256, size = versions.write_tensors(layout, [memoryview(bytes(layout.data_bytes))])
    assert (sha256, size) == (version.weights_sha256, version.weights_bytes)
    assert alpha.get(ARTIFACT).status_code == 200
    assert len(list(path.parent.iterdir())) == 1


def test_a_version_is_written_whole_or_not_at_all(mesh, model, layout, monkeypatch):
    before = mesh.files()

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(stores, "publish_file", fail)
    with pytest.raises(OSError, match="No space"):
        versions.write_tensors(layout, [memoryview(np.ones(layout.parameters, "<f4")).cast("B")])
    assert mesh.files() == before


def test_any_accept_header_gets_the_artifact(alpha, model):
    assert conditional(alpha, Accept="text/html").status_code == 200


# --- rounds -----------------------------------------------------------------------------------------------------------------


def test_rounds_are_listed_newest_first(mesh, alpha, published):
    services.open_round(FederatedModel.objects.get())
    rounds = read(alpha.get(f"{MODEL}/rounds"), RoundList).rounds
    assert [(view.round, view.state, view.version) for view in rounds] == [(2, "open", None), (1, "published", 1)]
    assert rounds[1].step_norm == pytest.approx(0.1, rel=1e-6)
    assert (rounds[1].joined, rounds[1].accepted, rounds[1].staged, rounds[1].rejected) == (1, 1, 1, {})


def test_the_current_round_is_the_live_one_else_the_last(alpha, mesh, published):
    assert read(alpha.get(f"{MODEL}/rounds/current"), RoundView).round == 1
    services.open_round(FederatedModel.objects.get())
    assert read(alpha.get(f"{MODEL}/rounds/current"), RoundView).round == 2


def many_rounds(model, count):
    now = timezone.now()
    Round.objects.bulk_create(
        Round(model=model, number=number, policy=model.policy, state="abandoned", opens_at=now, closes_at=now)
        for number in range(2, count + 2)
    )


@pytest.mark.parametrize(("query", "count"), [("", 20), ("?limit=1", 1), ("?limit=200", 200)])
def test_a_listing_of_rounds_is_bounded(alpha, model, query, count):
    many_rounds(model, 205)
    assert len(read(alpha.get(f"{MODEL}/rounds{query}"), RoundList).rounds) == count


@pytest.mark.parametrize("limit", ["0", "201", "-1", "x", "1e1", "0000020000", "0001999999", "9" * 5000, "", "%D9%A1"])
def test_a_limit_that_is_no_number_from_1_to_200_is_refused(alpha, model, limit):
    assert refusal(alpha.get(f"{MODEL}/rounds?limit={limit}")) == (400, "bad_request")


@pytest.mark.parametrize("count", [1, 60])
def test_a_list_of_rounds_takes_the_same_statements_however_long_it_is(alpha, model, count, django_assert_num_queries):
    many_rounds(model, count)
    alpha.get(f"{MODEL}/rounds?limit=100")
    with django_assert_num_queries(3):
        alpha.get(f"{MODEL}/rounds?limit=100")


# --- lookups ----------------------------------------------------------------------------------------------------------------


def test_a_model_without_any_round_has_no_current_one(mesh, mesh_http):
    mesh.make_model("idle", opened=False)
    assert refusal(enrolled(mesh_http).get(f"{MODELS}/idle/rounds/current")) == (404, "unknown_round")


def test_a_reader_gives_ranges_of_the_vector(mesh, published, layout):
    reader = versions.WeightsReader(selectors.find_version("boltz-core", "1"), layout)
    try:
        assert reader.read(2, 7) == pytest.approx(vector_of(layout)[2:7], rel=1e-6)
    finally:
        reader.close()


def test_weights_are_readable_with_the_safetensors_library(alpha, published):
    assert weights(alpha.get(f"{MODEL}/versions/1/artifact"))["weight"].dtype == np.float32
