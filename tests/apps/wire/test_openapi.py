import re
from io import StringIO

import pytest
from django.core.management import call_command
from django.urls import path
from drf_spectacular.generators import SchemaGenerator
from rest_framework.views import APIView

from apps.wire.openapi import describe, schemas_of
from boltz_federated import openapi
from boltz_protocol import messages

ENROL = ("/api/v1/clients", "post")


@pytest.fixture(scope="module")
def document():
    return SchemaGenerator().get_schema(request=None, public=True)


def operation(document, path, method):
    return document["paths"][path][method]


def reference(content):
    return content["schema"]["$ref"].rsplit("/", 1)[1]


def references(value):
    if isinstance(value, dict):
        own = [value["$ref"]] if "$ref" in value else []
        return own + [found for item in value.values() for found in references(item)]
    return [found for item in value for found in references(item)] if isinstance(value, list) else []


def test_a_view_is_described_by_the_messages_that_it_takes_and_gives(document):
    enrol = operation(document, *ENROL)
    assert reference(enrol["requestBody"]["content"]["application/json"]) == "EnrolmentRequest"
    for status in ("201", "200"):
        assert reference(enrol["responses"][status]["content"]["application/json"]) == "ClientRecord"
    assert document["components"]["schemas"]["ClientRecord"]["properties"]["trust"] == {
        "$ref": "#/components/schemas/TrustView"
    }


def test_every_reference_leads_somewhere(document):
    schemas = document["components"]["schemas"]
    assert {found.rsplit("/", 1)[1] for found in references(document)} <= schemas.keys()
    assert {"KeySet", "Jwk", "SignedDocument", "KeyRotationRequest", "Problem"} <= schemas.keys()


def test_raw_bytes_are_described_as_such():
    class RawView(APIView):
        authentication_classes = permission_classes = ()

        @describe(
            summary="x",
            request={"application/octet-stream": bytes},
            response=bytes,
            media_type="application/octet-stream",
        )
        def put(self, request):
            """Take bytes, give bytes."""

    patterns = [path("x", RawView.as_view())]
    found = operation(SchemaGenerator(patterns=patterns).get_schema(request=None, public=True), "/x", "put")
    binary = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
    assert found["requestBody"]["content"] == found["responses"]["200"]["content"] == binary
    assert found["operationId"] == "putRaw"


def test_errors_are_listed_by_status_with_their_codes(document):
    responses = operation(document, *ENROL)["responses"]
    assert "`name_taken`" in responses["409"]["description"]
    assert "`token_refused`" in responses["403"]["description"]
    assert reference(responses["409"]["content"]["application/problem+json"]) == "Problem"
    assert "Retry-After" in responses["503"]["headers"]
    assert "headers" not in responses["409"]


def test_what_every_signed_request_and_every_body_can_get_is_added(document):
    me = operation(document, "/api/v1/clients/me", "get")["responses"]
    assert {"400", "401", "411", "413", "415", "503"} <= me.keys()
    assert "422" not in me
    keys = operation(document, "/api/v1/keys", "get")["responses"]
    assert not {"401", "413"} & keys.keys()
    assert {"411", "413", "415", "422"} <= operation(document, *ENROL)["responses"].keys()


def test_only_an_answer_with_one_form_can_be_refused_for_it(document):
    path = "/api/v1/models/{name}/versions/{number}"
    assert "406" in operation(document, path, "get")["responses"]
    assert "406" not in operation(document, f"{path}/artifact", "get")["responses"]


def test_answers_without_content_are_described(document):
    unchanged = operation(document, "/api/v1/models/{name}/versions/{number}", "get")["responses"]["304"]
    assert "content" not in unchanged


def test_the_query_and_the_headers_that_a_view_understands_are_described(document):
    (limit,) = (
        parameter
        for parameter in operation(document, "/api/v1/models/{name}/rounds", "get")["parameters"]
        if parameter["in"] == "query"
    )
    assert limit["schema"] == {"type": "integer", "minimum": 1, "maximum": 200, "default": 20}
    artifact = operation(document, "/api/v1/models/{name}/versions/{number}/artifact", "get")
    headers = {parameter["name"] for parameter in artifact["parameters"] if parameter["in"] == "header"}
    assert headers == {"If-None-Match", "Range"}


def test_no_helper_field_is_left_in_the_document(document):
    assert "x-problem-codes" not in repr(document)


def test_signatures_are_named_as_the_way_in(document):
    assert operation(document, "/api/v1/clients/me", "get")["security"] == [{"requestSignature": []}]
    assert operation(document, *ENROL)["security"] == [{"enrolmentSignature": []}]
    assert document["components"]["securitySchemes"]["requestSignature"]["scheme"] == "signature"


def test_a_code_that_is_not_in_the_table_is_noticed():
    operation_ = {"x-problem-codes": ["never_heard_of"], "responses": {}}
    with pytest.raises(KeyError):
        openapi.add_problem_responses({"paths": {"/x": {"get": operation_}}})


def test_patterns_are_written_as_json_schema_has_them():
    pattern = schemas_of(messages.TensorSpec)["TensorSpec"]["properties"]["name"]["pattern"]
    assert pattern == "^[A-Za-z0-9_][A-Za-z0-9_./-]{0,127}$"
    assert re.search(pattern, "weight")


def test_the_document_is_made_without_a_warning():
    out = StringIO()
    call_command("spectacular", "--validate", "--fail-on-warn", stdout=out)
    assert "openapi: 3.1" in out.getvalue()


def test_the_document_is_served(mesh_http):
    response = mesh_http.get("/api/schema/")
    assert response.status_code == 200
    assert "EnrolmentRequest" in response.text
