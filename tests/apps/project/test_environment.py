"""Numbers and secrets from the environment: taken as they are meant, or refused with what they may be."""

import base64

import pytest
from django.core.exceptions import ImproperlyConfigured

from boltz_federated import environment


@pytest.fixture
def number(monkeypatch):
    """What a variable of this content comes to."""

    def read(text, *, default=30.0, most=100):
        monkeypatch.setenv("BOLTZ_NUMBER", text)
        return environment.positive("BOLTZ_NUMBER", default=default, most=most)

    return read


@pytest.mark.parametrize(("text", "value"), [("0.5", 0.5), ("1e1", 10.0), ("100", 100.0)])
def test_a_number_is_what_it_says(number, text, value):
    assert number(text) == value


def test_what_is_not_set_is_the_default(monkeypatch):
    monkeypatch.delenv("BOLTZ_NUMBER", raising=False)
    assert environment.positive("BOLTZ_NUMBER", default=7, most=10) == 7


@pytest.mark.parametrize("text", ["", "0", "-1", "100.1", "nan", "inf", "1,5", "5s", "x"])
def test_what_is_no_number_in_the_bounds_is_refused(number, text):
    with pytest.raises(
        ImproperlyConfigured, match=r"BOLTZ_NUMBER is '.*'; it must be a number above 0 and of at most 100"
    ):
        number(text)


@pytest.mark.parametrize("text", ["1.5", "1e2", "0"])
def test_what_is_no_whole_number_is_refused_where_one_is_needed(number, text):
    with pytest.raises(ImproperlyConfigured, match="a whole number"):
        number(text, default=5)


@pytest.mark.parametrize("text", ["599", "100001", "nan"])
def test_what_is_below_the_least_or_above_the_most_is_refused(monkeypatch, text):
    monkeypatch.setenv("BOLTZ_NUMBER", text)
    with pytest.raises(ImproperlyConfigured, match="must be a number of at least 600 and of at most 100000"):
        environment.positive("BOLTZ_NUMBER", default=900.0, least=600, most=100_000)


def test_the_least_is_taken(monkeypatch):
    monkeypatch.setenv("BOLTZ_NUMBER", "600")
    assert environment.positive("BOLTZ_NUMBER", default=900.0, least=600, most=100_000) == 600


@pytest.mark.parametrize(
    ("text", "value"), [("1", True), ("True", True), ("on", True), ("0", False), ("no", False), ("", False)]
)
def test_a_switch_is_on_or_off(monkeypatch, text, value):
    monkeypatch.setenv("BOLTZ_SWITCH", text)
    assert environment.switch("BOLTZ_SWITCH") is value


@pytest.mark.parametrize("text", ["2", "treu", " "])
def test_a_slip_of_the_pen_switches_nothing(monkeypatch, text):
    monkeypatch.setenv("BOLTZ_SWITCH", text)
    with pytest.raises(ImproperlyConfigured, match="it must be 1 or 0"):
        environment.switch("BOLTZ_SWITCH")


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"])
def test_addresses_of_this_machine_are_known(address):
    assert environment.is_loopback_address(address)


@pytest.mark.parametrize(
    "address",
    ["", "unix:", "localhost", "0.0.0.0", "10.0.0.1", "::", "::ffff:10.0.0.1", "fe80::1%eth0"],  # noqa: S104 - refused
)
def test_other_addresses_and_none_at_all_are_not(address):
    assert not environment.is_loopback_address(address)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.9.9.9", "[::1]", "testserver"])
def test_names_of_this_machine_are_known(host):
    assert environment.is_loopback(host)


@pytest.mark.parametrize("host", ["*", "mesh.example", "0.0.0.0", "8.8.8.8", ".localhost", ""])  # noqa: S104 - refused
def test_names_of_other_machines_are_not_taken_for_this_one(host):
    assert not environment.is_loopback(host)


def test_a_key_is_read_from_a_file_before_the_variable(monkeypatch, tmp_path):
    path = tmp_path / "key"
    path.write_text(base64.b64encode(b"f" * 32).decode() + "\n")
    monkeypatch.setenv("BOLTZ_KEY_ENCRYPTION_KEY_FILE", str(path))
    assert environment.key_encryption_key() == b"f" * 32


def test_a_passphrase_stands_in_for_a_key(monkeypatch):
    monkeypatch.delenv("BOLTZ_KEY_ENCRYPTION_KEY")
    monkeypatch.setenv("BOLTZ_KEY_PASSPHRASE", "correct horse")
    assert environment.key_encryption_key() is None


@pytest.mark.parametrize("key", ["", "#" * 44, base64.b64encode(bytes(31)).decode()])
def test_a_key_that_is_none_is_refused_without_being_shown(monkeypatch, key):
    monkeypatch.setenv("BOLTZ_KEY_ENCRYPTION_KEY", key)
    with pytest.raises(ImproperlyConfigured) as refused:
        environment.key_encryption_key()
    assert not key or key not in str(refused.value)


def test_what_is_required_and_missing_is_asked_for(monkeypatch):
    monkeypatch.delenv("BOLTZ_NUMBER", raising=False)
    with pytest.raises(ImproperlyConfigured, match=r"BOLTZ_NUMBER is not set\. Say five\."):
        environment.required("BOLTZ_NUMBER", "Say five.")
