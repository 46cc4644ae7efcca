"""Loads the settings under many environments, each in a process of its own, and tells what each came to.

    python settings_probe.py < cases.json       {"name": {"VARIABLE": "value or null"}, ...}

Everything heavy is imported once; each case is a fork, so that it imports the settings anew.
"""

import importlib
import json
import os
import sys

from django.conf import global_settings
from django.core.exceptions import ImproperlyConfigured

import boltz_federated.environment  # noqa: F401 - what settings import, before the fork

SHOWN = (
    *("DEBUG", "BOLTZ_ENROLMENT", "BOLTZ_DEV_MODE", "SESSION_COOKIE_SECURE", "SECURE_SSL_REDIRECT", "ALLOWED_HOSTS"),
    *("SECURE_HSTS_SECONDS", "SECURE_HSTS_INCLUDE_SUBDOMAINS", "SECURE_HSTS_PRELOAD", "MIDDLEWARE"),
)


def load(changes: dict[str, str | None]) -> dict[str, object]:
    """What the settings are, or why there are none."""
    for name, value in changes.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value
    try:
        settings = importlib.import_module("boltz_federated.settings")
    except ImproperlyConfigured as error:
        return {"error": str(error)}
    return {"error": None} | {name: getattr(settings, name, getattr(global_settings, name, None)) for name in SHOWN}


def in_a_process_of_its_own(changes: dict[str, str | None]) -> dict[str, object]:
    """The same, in a fork."""
    reading, writing = os.pipe()
    if os.fork() == 0:
        with os.fdopen(writing, "w") as pipe:
            json.dump(load(changes), pipe)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        found = json.load(pipe)
    os.wait()
    return found


if __name__ == "__main__":
    json.dump({name: in_a_process_of_its_own(case) for name, case in json.load(sys.stdin).items()}, sys.stdout)
