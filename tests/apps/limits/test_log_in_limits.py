"""Attempts to log in at the admin: so many for a name, so many from an address."""

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from apps.audit.models import LogEntry
from apps.limits.limiter import limiter
from boltz_core.limits.buckets import Limit
from tests.apps.project.processes import NOWHERE

PASSWORD = "a-long-password-for-tests"
SLOW = 0.001
HOSTILE = "127.0.0.66"


@pytest.fixture(autouse=True)
def _operators(db, settings, wsgi_application):
    # the slow hash is Django's; what is tested here is before it
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    for name in ("olga", "victor"):
        User.objects.create_superuser(name, password=PASSWORD)


@pytest.fixture(autouse=True)
def _limits(settings):
    settings.BOLTZ_LIMIT_LOG_IN = Limit(SLOW, 2)
    settings.BOLTZ_LIMIT_LOG_IN_ADDRESS = Limit(SLOW, 4)


def log_in(name="olga", word="a wrong one", *, address="127.0.0.1", browser=None):
    fields = {"username": name, "password": word}
    return (browser or Client()).post(reverse("admin:login"), fields, REMOTE_ADDR=address)


def statuses(times, **options):
    return [log_in(**options).status_code for _ in range(times)]


def test_guessing_at_one_password_ends_after_some_attempts():
    assert statuses(3) == [200, 200, 429]
    answer = log_in()
    assert answer.content.startswith(b"Too many attempts to log in; wait ")
    assert 900 < int(answer["Retry-After"]) <= 1000


def test_the_right_password_does_not_help_whoever_has_to_wait():
    statuses(3)
    assert log_in(word=PASSWORD).status_code == 429


def test_guessing_from_many_addresses_is_one_guesser():
    found = [log_in(address=f"127.0.0.{number}").status_code for number in range(2, 5)]
    assert found == [200, 200, 429]


def test_letters_in_another_case_are_no_other_name():
    assert [log_in(name).status_code for name in ("olga", "OLGA", "Olga")] == [200, 200, 429]


def test_guessing_at_many_names_from_one_address_ends_too():
    found = [log_in(f"name-{number}", address=HOSTILE).status_code for number in range(5)]
    assert found == [200] * 4 + [429]


def test_others_log_in_meanwhile():
    statuses(3, address=HOSTILE)
    assert log_in("victor", PASSWORD).status_code == 302


def test_a_form_without_its_token_counts_against_nobody():
    browser = Client(enforce_csrf_checks=True)
    assert {log_in(browser=browser).status_code for _ in range(3)} == {403}
    assert log_in(word=PASSWORD).status_code == 302


def test_the_page_itself_may_be_looked_at():
    statuses(3)
    assert Client().get(reverse("admin:login")).status_code == 200


def test_without_redis_attempts_are_counted_all_the_same(settings):
    settings.REDIS_URL = f"redis://{NOWHERE}/0"
    limiter.cache_clear()
    assert statuses(3) == [200, 200, 429]


def test_an_attempt_too_many_is_in_the_log_without_the_name():
    statuses(3)
    entry = LogEntry.objects.filter(type="operator.log_in_limited").first()
    assert entry.actor.startswith("source_")
    assert b"olga" not in bytes(entry.leaf)
