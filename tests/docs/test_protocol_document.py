"""docs/protocol.md against the code: tables, worked examples, and a client that was written from it."""

import ast
import json
import re
from typing import get_args

import httpx
import numpy as np
import pytest
from cryptography.cobblestone import Cobblestone256Decryptor
from django.urls import URLPattern, URLResolver, get_resolver

from apps.clients import authentication
from apps.rounds.models import Update
from boltz_federated.problems import PROBLEMS
from boltz_protocol import envelope, http_signature, messages, signing
from boltz_protocol.encoding import from_base64url
from boltz_protocol.http_signature import RequestParts
from boltz_protocol.messages import (
    Claims,
    EnrolmentRequest,
    EnvelopeHeader,
    KeyRotationStatement,
    Receipt,
    SignedDocument,
)
from boltz_protocol.signing import Purpose
from tests.docs import documents, second_client, signature_example
from tests.docs.second_client import SecondClient

TEXT = documents.read("docs/protocol.md")
METHODS = ("get", "post", "put", "patch", "delete")


def table_after(heading, header):
    """The first table of a section that begins with this header."""
    _, found, section = TEXT.partition(f"\n{heading}\n")
    assert found, f"no section {heading!r}"
    return documents.tables_with(section, header)[0]


def names(cells):
    """Each name in cells such as `v`, `suite`."""
    return [documents.plain(part.strip()) for cell in cells for part in cell.split(",")]


# --- tables -----------------------------------------------------------------------------------------------------------


def test_every_problem_stands_in_the_table_with_its_status_and_pause_and_no_other():
    table = table_after("## Problems", "code")
    written = {
        documents.plain(code): (int(status), int(pause) if pause else None) for code, status, pause, _ in table.rows
    }
    assert written == {code: (kind.status, kind.retry_after_seconds) for code, kind in PROBLEMS.items()}
    assert len(written) == len(table.rows)


def test_every_endpoint_stands_in_the_table_and_no_other():
    table = table_after("## Endpoints", "method")
    written = {(method, documents.plain(path)) for method, path, *_ in table.rows}
    assert written == set(endpoints(get_resolver(), ""))


def endpoints(resolver, prefix):
    for pattern in resolver.url_patterns:
        path = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from endpoints(pattern, path)
        elif isinstance(pattern, URLPattern) and path.startswith("api/v1/"):
            view = pattern.callback.cls
            for method in METHODS:
                if hasattr(view, method):
                    yield method.upper(), "/" + readable(path.removeprefix("api/v1/"))


def readable(path):
    """`models/<str:name>` -> `models/{name}`."""
    return path.replace("<str:", "{").replace("<int:", "{").replace(">", "}")


def test_the_messages_that_endpoints_take_and_give_exist():
    table = table_after("## Endpoints", "method")
    written = {word for row in table.rows for word in re.findall(r"`([A-Z]\w+)`", " ".join(row))}
    assert written >= {"EnrolmentRequest", "UpdateStatus", "Receipt"}
    assert [word for word in written if not hasattr(messages, word)] == []


@pytest.mark.parametrize(
    ("heading", "message"), [("### Header", EnvelopeHeader), ("### Claims", Claims), ("## Receipts", Receipt)]
)
def test_the_fields_of_a_message_are_the_ones_in_its_table(heading, message):
    table = table_after(heading, "field")
    assert sorted(names(table.column("field"))) == sorted(message.__struct_fields__)


def test_the_purposes_of_signatures_are_the_ones_in_the_table():
    table = table_after("## Signed documents", "purpose")
    assert names(table.column("purpose")) == [purpose.value for purpose in Purpose]
    assert all(hasattr(messages, name) for name in names(table.column("payload")))


@pytest.mark.parametrize(
    ("row", "states"),
    [
        ("client", get_args(messages.ClientRecord.__annotations__["status"])),
        ("round", get_args(messages.RoundState)),
        ("update", get_args(messages.UpdateState)),
    ],
)
def test_the_states_are_the_ones_that_messages_carry(row, states):
    table = table_after("## States", "of")
    written = dict(table.rows)
    assert names([written[row]]) == list(states)


def test_every_code_of_a_rejection_stands_in_its_table_and_no_other():
    table = table_after("### Why an update is rejected", "code")
    sources = ("boltz_protocol/envelope.py", "boltz_protocol/tensors.py", "boltz_core/ingest/staging.py")
    found = {code for name in sources for code in codes_in(ast.parse(documents.read(name)))}
    # the base's own code: it is always raised with another one
    assert set(names(table.column("code"))) == found - {"rejected"}


def codes_in(tree):
    """Codes that are given where an error is raised, and the defaults of error classes."""
    for node in ast.walk(tree):
        match node:
            case ast.keyword(arg="code", value=ast.Constant(value=str(code))):
                yield code
            case ast.Assign(targets=[ast.Name(id="default_code")], value=ast.Constant(value=str(code))):
                yield code


@pytest.mark.parametrize(
    "sentence",
    [
        f"length of the header, at most {envelope.MAX_HEADER_BYTES}",
        f"wrapped key, {envelope.MIN_WRAPPED_KEY_BYTES} to {envelope.MAX_WRAPPED_KEY_BYTES}",
        f"length of the claims, big-endian, at most {envelope.MAX_CLAIMS_BYTES}",
        f"little-endian, at most {envelope.MAX_SAFETENSORS_HEADER_BYTES}",
        f"RSA, {signing.MIN_RSA_BITS} to {signing.MAX_RSA_BITS} bits, exponent {signing.RSA_EXPONENT}",
        f"1 to {http_signature.MAX_LIFETIME_SECONDS} seconds after `created`",
        f"at most {http_signature.MAX_CLOCK_SKEW_SECONDS} seconds ahead",
        f"{http_signature.NONCE_BYTES} random bytes",
    ],
)
def test_the_numbers_are_those_of_the_code(sentence):
    assert sentence in " ".join(TEXT.split())


# --- worked examples --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [signature_example.request, signature_example.statement])
def test_a_worked_example_stands_in_the_document_as_it_is_made(make):
    assert signature_example.render(make()) in TEXT


def test_the_worked_signature_verifies():
    made = written_in(TEXT, "Private key", "Signature")
    public_key = from_base64url(made["Public key"])
    parsed = http_signature.parse_signature(
        parts_of(made), signature_input=made["Signature-Input"], signature=made["Signature"]
    )
    assert parsed.base.decode() == made["Signature base"]
    assert parsed.kid == made["Key id"] == signing.thumbprint(public_key)
    http_signature.verify_request(parsed, public_key=public_key, now=signature_example.CREATED)


def test_the_worked_request_enrols_a_client(mesh_http, few_rsa_keys, settings, monkeypatch):
    settings.ALLOWED_HOSTS = [signature_example.AUTHORITY]
    monkeypatch.setattr(authentication.time, "time", lambda: signature_example.CREATED + 1)
    made = written_in(TEXT, "Private key", "Signature")
    headers = {name: made[name] for name in ("Content-Digest", "Signature-Input", "Signature")}
    headers |= {"Host": signature_example.AUTHORITY, "Content-Type": "application/json"}
    response = mesh_http.post(signature_example.PATH, content=made["Body"].encode(), headers=headers)
    assert response.status_code == 201, response.text
    assert response.json()["name"] == json.loads(made["Body"])["name"]


def test_the_worked_statement_verifies():
    made = written_in(TEXT, "Payload", "Document")
    document = json.loads(made["Document"])
    key = from_base64url(written_in(TEXT, "Private key", "Signature")["Public key"])
    statement = signing.verify_document(
        SignedDocument(**document), KeyRotationStatement, purpose=Purpose.KEY_ROTATION, keys={document["kid"]: key}
    )
    assert from_base64url(document["payload"]).decode() == made["Payload, before base64url"]
    assert statement.authority == signature_example.AUTHORITY


def parts_of(made):
    return RequestParts(
        method="POST",
        authority=signature_example.AUTHORITY,
        path=signature_example.PATH,
        query="",
        content_type="application/json",
        content_digest=made["Content-Digest"],
    )


def written_in(text, first, last):
    """The example's values as a reader takes them from the page: name, then block."""
    block = next(
        part.partition(signature_example.END)[0]
        for part in text.split(signature_example.BEGIN)[1:]
        if part.lstrip().startswith(first)
    )
    pieces = block.split("```")
    found = {
        name.strip().rstrip(":"): signature_example.unfolded(content.removeprefix("text\n").rstrip("\n"))
        for name, content in zip(pieces[::2], pieces[1::2], strict=False)
    }
    assert last in found
    return found


# --- a client from the document alone ---------------------------------------------------------------------------------


def test_a_client_written_from_the_document_takes_part(mesh, mesh_http):
    mesh.make_model()
    client = SecondClient(mesh_http, authority="testserver")
    client.enrol("second-client")
    update = [0.01 * number for number in range(10)]
    receipt = client.take_part("boltz-core", update)
    mesh.finish_round()
    taken = Update.objects.get(pk=receipt["upload_id"])
    assert (taken.state, taken.examples) == ("aggregated", 100)
    pulled = mesh.client("alpha").pull("boltz-core")
    np.testing.assert_allclose(pulled.vector, update, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("length", [16383, 16384, 40000])
def test_its_stream_opens_whatever_its_length(length):
    key, plain = bytes(range(32)), bytes(length)
    opened = Cobblestone256Decryptor(key, b"context")
    sealed = second_client.stream(key, b"context", plain)
    assert opened.update(sealed) + opened.finalize() == plain


def test_the_second_client_imports_nothing_of_ours():
    tree = ast.parse(documents.read("tests/docs/second_client.py"))
    modules = {
        alias.name.partition(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
    }
    modules |= {node.module.partition(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not modules & {"boltz_protocol", "boltz_client", "boltz_core", "apps", "boltz_federated", "tests", "client"}


def test_a_request_that_the_document_forbids_is_refused(mesh, mesh_http):
    client = SecondClient(mesh_http, authority="another.example.com")
    with pytest.raises(httpx.HTTPStatusError, match="401"):
        client.enrol("second-client")


def test_the_body_of_the_example_is_a_message():
    made = written_in(TEXT, "Private key", "Signature")
    assert set(json.loads(made["Body"])) == set(EnrolmentRequest.__struct_fields__)
