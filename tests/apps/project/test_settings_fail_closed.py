"""What is a secret has no default, what is unsafe must be asked for, and whoever is refused is told what to do."""

import base64
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.apps.project.processes import environment, manage

SECRET = "a-key-of-no-mesh-that-has-ever-been-started-0123456789-abcdef"
KEY = base64.b64encode(bytes(32)).decode()
REAL = {
    "BOLTZ_DEV_MODE": None,
    "BOLTZ_ENROLMENT": None,
    "DEBUG": None,
    "ALLOWED_HOSTS": "mesh.example",
    "SECRET_KEY": SECRET,
    "BOLTZ_KEY_ENCRYPTION_KEY": KEY,
}
DEVELOPMENT = REAL | {"BOLTZ_DEV_MODE": "1", "ALLOWED_HOSTS": "localhost,127.0.0.1,[::1]"}
HSTS = ("SECURE_HSTS_SECONDS", "SECURE_HSTS_INCLUDE_SUBDOMAINS", "SECURE_HSTS_PRELOAD")
# name -> (environment, words of the refusal)
REFUSED = {
    "no secret key": (REAL | {"SECRET_KEY": None}, "SECRET_KEY is not set"),
    "an empty secret key": (REAL | {"SECRET_KEY": ""}, "SECRET_KEY is not set"),
    "a short secret key": (REAL | {"SECRET_KEY": "changeme"}, "SECRET_KEY has 8 characters"),
    "no database": (REAL | {"DATABASE_URL": None}, "DATABASE_URL is not set. For example postgresql://"),
    "another kind of database": (REAL | {"DATABASE_URL": "sqlite:///x.db"}, "must name a PostgreSQL database"),
    "a database at no address": (
        REAL | {"DATABASE_URL": f"postgresql://boltz:{SECRET}@host:port/boltz"},
        "DATABASE_URL is not an address",
    ),
    "no redis": (REAL | {"REDIS_URL": None}, "REDIS_URL is not set. For example redis://"),
    "something else than redis": (REAL | {"REDIS_URL": f"http://:{SECRET}@host/0"}, "is not an address of Redis"),
    "redis at no address": (REAL | {"REDIS_URL": f"redis://:{SECRET}#@host/0"}, "is not an address of Redis"),
    "a level of logging that is none": (REAL | {"LOG_LEVEL": "loud"}, "LOG_LEVEL is 'LOUD'; it must be DEBUG"),
    "a switch that is neither on nor off": (REAL | {"BOLTZ_BEHIND_PROXY": "treu"}, "is 'treu'; it must be 1 or 0"),
    "no data directory": (REAL | {"BOLTZ_DATA_DIR": None}, "BOLTZ_DATA_DIR is not set"),
    "no key-encryption key": (
        REAL | {"BOLTZ_KEY_ENCRYPTION_KEY": None},
        "BOLTZ_KEY_ENCRYPTION_KEY is not set. It must be 32 random bytes in base64",
    ),
    "a key-encryption key of 16 bytes": (
        REAL | {"BOLTZ_KEY_ENCRYPTION_KEY": base64.b64encode(bytes(16)).decode()},
        "has 16 bytes; it must have 32",
    ),
    "a key-encryption key that is no base64": (REAL | {"BOLTZ_KEY_ENCRYPTION_KEY": "#" * 44}, "is not base64"),
    "a key file that is not there": (
        REAL | {"BOLTZ_KEY_ENCRYPTION_KEY_FILE": "/nonexistent/key"},
        "BOLTZ_KEY_ENCRYPTION_KEY_FILE cannot be read: No such file",
    ),
    "development mode under a public name": (
        DEVELOPMENT | {"ALLOWED_HOSTS": "localhost,mesh.example"},
        "ALLOWED_HOSTS may name this machine only",
    ),
    "development mode under a public address": (
        DEVELOPMENT | {"ALLOWED_HOSTS": "8.8.8.8"},
        "ALLOWED_HOSTS may name this machine only",
    ),
    "development mode under any name": (DEVELOPMENT | {"ALLOWED_HOSTS": "*"}, "may name this machine only"),
    "open enrolment outside of development": (REAL | {"BOLTZ_ENROLMENT": "open"}, "admits anyone"),
    "an enrolment that is none": (REAL | {"BOLTZ_ENROLMENT": "closed"}, "it must be open, token or approval"),
    "a tick of no length": (
        REAL | {"BOLTZ_TICK_SECONDS": "0"},
        "BOLTZ_TICK_SECONDS is '0'; it must be a number above 0",
    ),
    "a lease of more than a day": (REAL | {"BOLTZ_LEASE_SECONDS": "86401"}, "of at most 86400"),
    "a lease that is not a number": (REAL | {"BOLTZ_LEASE_SECONDS": "nan"}, "BOLTZ_LEASE_SECONDS is 'nan'"),
    "a lease with a unit": (REAL | {"BOLTZ_LEASE_SECONDS": "60s"}, "BOLTZ_LEASE_SECONDS is '60s'"),
    "a key that may be destroyed while an upload for it is under way": (
        REAL | {"BOLTZ_KEY_GRACE_SECONDS": "599"},
        "BOLTZ_KEY_GRACE_SECONDS is '599'; it must be a number of at least 600 and of at most 86400",
    ),
    "hsts for no time": (REAL | {"BOLTZ_HSTS_SECONDS": "0"}, "BOLTZ_HSTS_SECONDS is '0'"),
    "a limit without what may come at once": (
        REAL | {"BOLTZ_LIMIT_CLIENT": "20"},
        "BOLTZ_LIMIT_CLIENT is '20'; it must be like 20/200 (so many a second, so many at once",
    ),
    "a limit that nobody can keep": (REAL | {"BOLTZ_LIMIT_ADDRESS": "0/10"}, "above 0 and at least 1"),
    "a limit of nothing at once": (REAL | {"BOLTZ_LIMIT_REFUSED": "1/0"}, "BOLTZ_LIMIT_REFUSED is '1/0'"),
    "a limit with a sign": (REAL | {"BOLTZ_LIMIT_LOG_IN": "-1/10"}, "BOLTZ_LIMIT_LOG_IN is '-1/10'"),
    "a limit beyond all measure": (REAL | {"BOLTZ_LIMIT_ADDRESS": "1/1000001"}, "at most 1000000"),
    "a quota of nothing": (REAL | {"BOLTZ_QUOTA_BYTES": "0"}, "it must be a whole number above 0, or off"),
    "a quota with a unit": (REAL | {"BOLTZ_QUOTA_BYTES": "4G"}, "BOLTZ_QUOTA_BYTES is '4g'"),
    "half an attempt": (REAL | {"BOLTZ_MAX_ATTEMPTS": "0.5"}, "it must be a whole number above 0"),
}
ACCEPTED = {
    "real": REAL,
    "a passphrase": REAL | {"BOLTZ_KEY_ENCRYPTION_KEY": None, "BOLTZ_KEY_PASSPHRASE": "correct horse"},
    "approval": REAL | {"BOLTZ_ENROLMENT": "approval"},
    "development": DEVELOPMENT,
    "the least grace": REAL | {"BOLTZ_KEY_GRACE_SECONDS": "600"},
    "a level of logging in small letters": REAL | {"LOG_LEVEL": "warning"},
    "no limits": REAL | {"BOLTZ_LIMIT_CLIENT": "off", "BOLTZ_QUOTA_REQUESTS": "OFF"},
    "a limit below one a second": REAL | {"BOLTZ_LIMIT_LOG_IN": "0.01/5"},
    "hsts for a year": REAL | {"BOLTZ_HSTS_SECONDS": "31536000"},
}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    key_file = tmp_path_factory.mktemp("key") / "key"
    key_file.write_text(KEY + "\n")
    accepted = ACCEPTED | {"a key file": REAL | {"BOLTZ_KEY_ENCRYPTION_KEY_FILE": str(key_file)}}
    cases = {name: case for name, (case, _) in REFUSED.items()} | accepted
    probe = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("settings_probe.py"))],
        input=json.dumps(cases),
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert probe.returncode == 0, probe.stderr
    return json.loads(probe.stdout)


@pytest.mark.parametrize("name", REFUSED)
def test_there_is_no_start_with(found, name):
    _, words = REFUSED[name]
    assert found[name]["error"] is not None
    assert words in found[name]["error"]
    assert KEY not in found[name]["error"]
    assert SECRET not in found[name]["error"]


@pytest.mark.parametrize("name", [*ACCEPTED, "a key file"])
def test_there_is_a_start_with(found, name):
    assert found[name]["error"] is None


def test_a_real_mesh_is_closed_unless_it_is_asked_to_open(found):
    real = found["real"]
    assert (real["DEBUG"], real["BOLTZ_DEV_MODE"], real["BOLTZ_ENROLMENT"]) == (False, False, "token")
    assert (real["SESSION_COOKIE_SECURE"], real["SECURE_SSL_REDIRECT"]) == (True, True)


def test_a_browser_is_bound_to_tls_for_an_hour_and_for_this_host_only_until_more_is_asked_for(found):
    assert [found["real"][name] for name in HSTS] == [3600, False, False]
    assert [found["hsts for a year"][name] for name in HSTS] == [31_536_000, False, False]
    assert [found["development"][name] for name in HSTS] == [0, False, False]


def test_only_development_asks_where_a_request_comes_from(found):
    guard = "boltz_federated.middleware.only_this_machine"
    assert found["development"]["MIDDLEWARE"][0] == guard
    assert guard not in found["real"]["MIDDLEWARE"]


def test_development_admits_everybody_on_this_machine(found):
    development = found["development"]
    assert (development["BOLTZ_ENROLMENT"], development["SECURE_SSL_REDIRECT"]) == ("open", False)
    assert "localhost" in development["ALLOWED_HOSTS"]


def test_whoever_starts_without_a_secret_key_is_told_in_one_line(tmp_path):
    ended = manage("check", SECRET_KEY=None)
    assert ended.returncode == 1
    assert ended.stderr.strip().startswith("The settings are not complete: SECRET_KEY is not set.")
    assert len(ended.stderr.strip().splitlines()) == 1


def test_djangos_own_check_for_deployment_finds_nothing(tmp_path):
    ended = manage("check", "--deploy", "--fail-level", "WARNING", **REAL, BOLTZ_DATA_DIR=str(tmp_path))
    assert ended.returncode == 0, ended.stderr
