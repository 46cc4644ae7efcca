"""What the environment must say, read once.

Each thing that is missing or wrong has an answer to "what do I do now?".
"""

import base64
import binascii
import ipaddress
import logging
import re
from pathlib import Path
from typing import Any, TypeVar

import environ
import redis
from django.core.exceptions import ImproperlyConfigured

from boltz_core.limits.buckets import Limit

env = environ.Env()

KEY_BYTES = 32
ON, OFF = {"1", "true", "yes", "on"}, {"", "0", "false", "no", "off"}
DATABASE_EXAMPLE = "For example postgresql://user:password@127.0.0.1:5432/boltz"
REDIS_EXAMPLE = "For example redis://:password@127.0.0.1:6379/0"

RATE = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)/([0-9]{1,9})")
HIGHEST_RATE = 1_000_000
QUOTA_DIGITS, QUOTA_REFILL_SECONDS = 15, 3600.0

Number = TypeVar("Number", int, float)


def required(name: str, advice: str) -> str:
    """The value of an environment variable that has no default.

    Raises:
        ImproperlyConfigured: it is missing or empty; the message says how to set it.
    """
    value = env.str(name, default="")
    if not value:
        raise ImproperlyConfigured(f"{name} is not set. {advice}")
    return str(value)


def switch(name: str) -> bool:
    """Whether something is switched on; off when it is not set.

    Raises:
        ImproperlyConfigured: it is neither: a slip of the pen must not decide.
    """
    text = env.str(name, default="").lower()
    if text not in ON | OFF:
        raise ImproperlyConfigured(f"{name} is {text!r}; it must be 1 or 0")
    return text in ON


def positive(name: str, *, default: Number, most: float, least: float = 0) -> Number:
    """A number above 0, of at least `least` and at most `most`, of the default's kind.

    Raises:
        ImproperlyConfigured: it is something else; the message says what it may be.
    """
    text = env.str(name, default=str(default))
    try:
        # not env.float: it drops what it does not know, and reads 1e3 as 13
        value = type(default)(text)
    except ValueError:
        value = type(default)(0)
    if not (0 < value <= most and value >= least):
        kind = "a whole number" if isinstance(default, int) else "a number"
        bound = f"of at least {least}" if least else "above 0"
        raise ImproperlyConfigured(f"{name} is {text!r}; it must be {kind} {bound} and of at most {most}")
    return value


def rate(name: str, *, default: str) -> Limit | None:
    """A limit like 20/200: 20 a second in the long run, 200 at once. None when it is "off".

    Raises:
        ImproperlyConfigured: it is something else; the message says what it may be.
    """
    text = env.str(name, default=default).lower()
    if text == "off":
        return None
    found = RATE.fullmatch(text)
    per_second, burst = (float(part) for part in found.groups()) if found else (0.0, 0.0)
    if not (0 < per_second <= HIGHEST_RATE and 1 <= burst <= HIGHEST_RATE):
        raise ImproperlyConfigured(
            f"{name} is {text!r}; it must be like {default} (so many a second, so many at once; "
            f"above 0 and at least 1, at most {HIGHEST_RATE}) or off"
        )
    return Limit(per_second=per_second, burst=burst)


def quota(name: str, *, default: int) -> Limit | None:
    """An amount for each client and round, which comes back within an hour. None when it is "off".

    Raises:
        ImproperlyConfigured: it is something else.
    """
    text = env.str(name, default=str(default)).lower()
    if text == "off":
        return None
    amount = int(text) if text.isascii() and text.isdigit() and len(text) <= QUOTA_DIGITS else 0
    if not amount:
        raise ImproperlyConfigured(f"{name} is {text!r}; it must be a whole number above 0, or off")
    return Limit(per_second=amount / QUOTA_REFILL_SECONDS, burst=float(amount))


def database() -> dict[str, Any]:
    """Django's settings of the database in DATABASE_URL.

    Raises:
        ImproperlyConfigured: it is missing, is no address, or is not PostgreSQL's. Its password is not shown.
    """
    url = required("DATABASE_URL", DATABASE_EXAMPLE)
    if not url.startswith(("postgresql://", "postgres://")):
        raise ImproperlyConfigured(
            f"DATABASE_URL must name a PostgreSQL database: claims and leases need its row locks. {DATABASE_EXAMPLE}"
        )
    try:
        found: dict[str, Any] = env.db_url("DATABASE_URL")
    except ValueError:
        # the error itself may quote a part of the password
        raise ImproperlyConfigured(f"DATABASE_URL is not an address. {DATABASE_EXAMPLE}") from None
    return found | {"ENGINE": "boltz_federated.postgresql"}


def redis_url() -> str:
    """The address in REDIS_URL.

    Raises:
        ImproperlyConfigured: it is missing or not Redis'. Its password is not shown.
    """
    url = required("REDIS_URL", REDIS_EXAMPLE)
    try:
        redis.Redis.from_url(url).close()
    except ValueError:
        raise ImproperlyConfigured(f"REDIS_URL is not an address of Redis. {REDIS_EXAMPLE}") from None
    return url


def log_level() -> str:
    """LOG_LEVEL, in any case.

    Raises:
        ImproperlyConfigured: there is no such level.
    """
    level = env.str("LOG_LEVEL", default="INFO").upper()
    if level not in logging.getLevelNamesMapping():
        raise ImproperlyConfigured(f"LOG_LEVEL is {level!r}; it must be DEBUG, INFO, WARNING, ERROR or CRITICAL")
    return str(level)


def key_encryption_key() -> bytes | None:
    """The 32-byte key-encryption key: BOLTZ_KEY_ENCRYPTION_KEY, or the file in BOLTZ_KEY_ENCRYPTION_KEY_FILE.

    None when BOLTZ_KEY_PASSPHRASE is given instead: then the key store derives it (Argon2id).
    """
    path = env.str("BOLTZ_KEY_ENCRYPTION_KEY_FILE", default="")
    try:
        text = Path(path).read_text().strip() if path else env.str("BOLTZ_KEY_ENCRYPTION_KEY", default="")
    except OSError as error:
        raise ImproperlyConfigured(f"BOLTZ_KEY_ENCRYPTION_KEY_FILE cannot be read: {error.strerror}") from error
    if not text:
        if env.str("BOLTZ_KEY_PASSPHRASE", default=""):
            return None
        raise ImproperlyConfigured(
            "BOLTZ_KEY_ENCRYPTION_KEY is not set. It must be 32 random bytes in base64; `deploy/make-env` makes one."
        )
    try:
        key = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ImproperlyConfigured("BOLTZ_KEY_ENCRYPTION_KEY is not base64") from error
    if len(key) != KEY_BYTES:
        raise ImproperlyConfigured(f"BOLTZ_KEY_ENCRYPTION_KEY has {len(key)} bytes; it must have {KEY_BYTES}")
    return key


def is_loopback(host: str) -> bool:
    """Whether a host name of ALLOWED_HOSTS can only mean this machine."""
    return host in {"localhost", "testserver"} or is_loopback_address(host.strip("[]"))


def is_loopback_address(text: str) -> bool:
    """Whether an address can only be this machine's. What is no address, or none at all, is not."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    # how a server that listens on [::] writes the addresses of IPv4
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback
