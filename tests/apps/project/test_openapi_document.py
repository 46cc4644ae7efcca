"""docs/openapi.yaml is what the code generates."""

import pytest
import yaml
from django.core.management import call_command

from boltz_federated.problems import PROBLEMS
from tests.apps.project.processes import ROOT

DOCUMENT = ROOT / "docs" / "openapi.yaml"
COMMAND = "./dev manage spectacular --file docs/openapi.yaml"


@pytest.fixture(scope="module")
def generated(tmp_path_factory):
    path = tmp_path_factory.mktemp("openapi") / "openapi.yaml"
    call_command("spectacular", file=str(path), validate=True, fail_on_warn=True)
    return path.read_text()


def test_the_committed_document_is_the_one_that_the_code_generates(generated):
    assert DOCUMENT.read_text() == generated, f"run {COMMAND}"


def test_the_document_has_every_endpoint_of_the_protocol(generated):
    prefix = "/api/v1"
    assert set(yaml.safe_load(generated)["paths"]) == {
        f"{prefix}{path}"
        for path in (
            "/keys",
            "/clients",
            "/clients/me",
            "/clients/me/keys",
            "/models",
            "/models/{name}",
            "/models/{name}/versions/{number}",
            "/models/{name}/versions/{number}/artifact",
            "/models/{name}/rounds",
            "/models/{name}/rounds/{number}",
            "/models/{name}/rounds/{number}/participation",
            "/models/{name}/rounds/{number}/updates/{upload_id}",
        )
    }


def test_an_upload_is_documented_with_every_answer_it_can_get(generated):
    paths = yaml.safe_load(generated)["paths"]
    upload = paths["/api/v1/models/{name}/rounds/{number}/updates/{upload_id}"]["put"]
    assert set(upload["requestBody"]["content"]) == {"application/vnd.boltz.envelope"}
    described = " ".join(answer["description"] for answer in upload["responses"].values())
    for code in ("round_sealed", "wrong_base_version", "upload_conflict", "already_submitted", "body_too_large"):
        assert f"`{code}`" in described
    assert {"202", "401", "403", "404", "409", "411", "413", "415", "422", "503"} <= set(upload["responses"])
    assert {str(kind.status) for kind in PROBLEMS.values()} >= set(upload["responses"]) - {"202"}
