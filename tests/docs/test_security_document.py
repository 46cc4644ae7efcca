"""SECURITY.md: each limit is the one in the code, and what it says does not exist, does not."""

import importlib

import pytest
from django.conf import settings
from django.urls import resolve
from django.urls.exceptions import Resolver404

from boltz_core.rounds import policy
from tests.docs import documents

TEXT = documents.read("SECURITY.md")
CONSTANTS = {
    "JSON body of a request": "MAX_MESSAGE_BYTES",
    "lifetime of a signature": "MAX_LIFETIME_SECONDS",
    "clock skew": "MAX_CLOCK_SKEW_SECONDS",
    "envelope header": "MAX_HEADER_BYTES",
    "wrapped key": "MAX_WRAPPED_KEY_BYTES",
    "claims": "MAX_CLAIMS_BYTES",
    "safetensors header": "MAX_SAFETENSORS_HEADER_BYTES",
    "parameters of a model": "MAX_PARAMETERS",
    "dimensions of a tensor": "MAX_DIMENSIONS",
    "RSA keys": "MAX_RSA_BITS",
    "target and quorum of a round": "MAX_TARGET",
    "clients that wait for approval": "MAX_WAITING_CLIENTS",
    "sources of failed requests logged in a minute": "MAX_SOURCES_A_MINUTE",
    "answers that the client reads": "MAX_ANSWER_BYTES",
}
LIMITS = {row[0]: row[1:] for table in documents.tables_with(TEXT, "limit") for row in table.rows}


def test_every_limit_has_its_constant():
    assert set(LIMITS) == set(CONSTANTS)


@pytest.mark.parametrize("limit", CONSTANTS)
def test_a_limit_is_the_one_of_the_code(limit):
    value, where = LIMITS[limit]
    module = importlib.import_module(documents.plain(where).removesuffix(".py").replace("/", "."))
    assert int(value.split()[0]) == getattr(module, CONSTANTS[limit])


@pytest.mark.parametrize(
    "sentence", ["512 MB a body", "64 connections", "2000 requests a second", "stall for 15 seconds"]
)
def test_the_limits_of_the_proxy_are_those_of_its_configuration(sentence):
    directives = {
        "512 MB a body": "client_max_body_size 512m;",
        "64 connections": "limit_conn connections 64;",
        "2000 requests a second": "rate=2000r/s;",
        "stall for 15 seconds": "client_body_timeout 15s;",
    }
    assert sentence in " ".join(TEXT.split())
    assert directives[sentence] in documents.read("deploy/nginx.conf")


# What is said not to exist. When one of these fails, the document has to be written anew, not the test.


def test_no_other_mode_exists_yet():
    assert policy.AVAILABLE_MODES == ("robust",)


def test_the_log_is_not_served_yet():
    with pytest.raises(Resolver404):
        resolve("/api/v1/log/checkpoint")


@pytest.mark.parametrize("word", ["otp", "csp"])
def test_the_admin_has_no_second_factor_and_no_content_policy_yet(word):
    assert not [name for name in [*settings.INSTALLED_APPS, *settings.MIDDLEWARE] if word in name.lower()]
