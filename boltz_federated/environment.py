"""What the environment must say, read once.

Each thing that is missing or wrong has an answer to "what do I do now?".
"""

import base64
import binascii
import ipaddress
from pathlib import Path
from typing import TypeVar

import environ
from django.core.exceptions import ImproperlyConfigured

env = environ.Env()

KEY_BYTES = 32

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


def positive(name: str, *, default: Number, most: float) -> Number:
    """A number above 0 and of at most `most`, of the default's kind.

    Raises:
        ImproperlyConfigured: it is something else; the message says what it may be.
    """
    text = env.str(name, default=str(default))
    try:
        # not env.float: it drops what it does not know, and reads 1e3 as 13
        value = type(default)(text)
    except ValueError:
        value = type(default)(0)
    if not 0 < value <= most:
        kind = "a whole number" if isinstance(default, int) else "a number"
        raise ImproperlyConfigured(f"{name} is {text!r}; it must be {kind} above 0 and of at most {most}")
    return value


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
    if host in {"localhost", "testserver"}:
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
