import pytest
from django.test import RequestFactory

from apps.wire.source_address import source_address


def address(remote, forwarded=None):
    headers = {"X-Forwarded-For": forwarded} if forwarded else {}
    return source_address(RequestFactory().get("/", REMOTE_ADDR=remote, headers=headers))


@pytest.mark.parametrize(
    ("remote", "expected"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("", "unknown"),
        ("rubbish", "unknown"),
    ],
)
def test_the_peer_is_the_source_and_one_ipv6_site_is_one_source(remote, expected):
    assert address(remote) == expected


def test_what_a_sender_says_of_itself_is_not_believed():
    assert address("192.0.2.1", "198.51.100.9") == "192.0.2.1"


def test_behind_our_proxy_only_what_the_proxy_added_counts(settings):
    settings.BOLTZ_BEHIND_PROXY = True
    assert address("10.0.0.1", "203.0.113.5, 198.51.100.9") == "198.51.100.9"
    assert address("10.0.0.1") == "10.0.0.1"
