"""Which address a request came from, as far as it can be known."""

import ipaddress

from django.conf import settings
from django.http import HttpRequest

IPV6_SITE_BITS = 64


def source_address(request: HttpRequest) -> str:
    """The peer's address; behind our own proxy, the last one of the list, which the proxy wrote.

    Those before it are the sender's invention. IPv6 is cut to its /64, since whoever has one address has them all.
    """
    raw = str(request.META.get("REMOTE_ADDR", ""))
    if getattr(settings, "BOLTZ_BEHIND_PROXY", False):
        raw = str(request.META.get("HTTP_X_FORWARDED_FOR", raw)).rsplit(",", 1)[-1].strip()
    try:
        address = ipaddress.ip_address(raw)
    except ValueError:
        return "unknown"
    if isinstance(address, ipaddress.IPv6Address):
        mapped = address.ipv4_mapped
        return str(mapped) if mapped else str(ipaddress.ip_network((address, IPV6_SITE_BITS), strict=False))
    return str(address)
