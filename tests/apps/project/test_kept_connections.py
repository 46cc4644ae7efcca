"""A kept connection: used without a question where all is quiet, given up where the server has hung up."""

import pytest
from django.db import connection

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def kept():
    """A connection of its own, as one that a request finds."""
    own = connection.copy()
    own.health_check_enabled = True
    own.ensure_connection()
    yield own
    own.close()


def next_request(kept):
    kept.close_if_unusable_or_obsolete()
    with kept.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return cursor.fetchone()[0]


def hang_up(pid):
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
        assert cursor.fetchone() == (True,)


def test_a_quiet_connection_is_used_without_a_question(kept, monkeypatch):
    monkeypatch.setattr(type(kept), "is_usable", lambda _self: pytest.fail("it was asked"))
    pid = next_request(kept)
    assert next_request(kept) == pid


def test_a_connection_that_the_server_has_closed_is_made_anew(kept):
    pid = next_request(kept)
    hang_up(pid)
    assert next_request(kept) != pid


def test_a_connection_that_is_closed_on_this_side_is_made_anew(kept):
    pid = next_request(kept)
    kept.connection.close()
    assert next_request(kept) != pid
