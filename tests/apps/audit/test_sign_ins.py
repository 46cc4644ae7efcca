"""Operators coming in, and strangers who do not."""

import pytest
from django.contrib.auth import get_user_model

from apps.audit import services
from apps.audit.models import LogEntry

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("wsgi_application")]
LOGIN = "/admin/login/"


@pytest.fixture
def operator():
    return get_user_model().objects.create_superuser(username="olivia", password="a-long-password-42")


def log_in(client, password):
    return client.post(LOGIN, {"username": "olivia", "password": password})


def test_a_log_in_and_a_log_out_are_in_the_log_under_a_pseudonym(client, operator):
    log_in(client, "a-long-password-42")
    client.post("/admin/logout/")
    entries = LogEntry.objects.filter(actor=services.actor_of(operator))
    assert {entry.type for entry in entries} == {"operator.logged_in", "operator.logged_out"}
    assert len(entries) == 2
    assert all(b"olivia" not in bytes(entry.leaf) for entry in entries)


def test_failed_log_ins_are_folded_into_one_entry_and_keep_no_name(client, operator):
    for _ in range(3):
        log_in(client, "a-wrong-password-42")
    entry = LogEntry.objects.get(type="operator.log_in_failed")
    assert b"olivia" not in bytes(entry.leaf)
    assert services.read_detail(entry) == {"reason": "wrong name or password"}
