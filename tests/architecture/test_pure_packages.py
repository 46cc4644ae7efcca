"""What decides may not look at the world: no clock, no files, no network, no randomness but what it is given."""

import ast

import pytest
from repository import ROOT

PACKAGES = ("boltz_protocol", "boltz_core")
BANNED_MODULES = {
    *("django", "celery", "redis", "httpx", "rest_framework", "requests", "urllib"),
    *("time", "random", "secrets", "uuid", "os", "pathlib", "tempfile", "shutil", "glob", "io", "builtins"),
    *("socket", "http", "threading", "multiprocessing", "asyncio", "concurrent", "subprocess", "signal"),
    *("logging", "pickle", "marshal", "shelve", "importlib", "numpy.random"),
}
BANNED_CALLS = {"open", "eval", "exec", "compile", "__import__", "print", "input"}
# of datetime the types are welcome, its clock is not
BANNED_ATTRIBUTES = {
    *("datetime.now", "datetime.utcnow", "datetime.today", "date.today"),
    *("np.random", "numpy.random", "np.load", "np.save", "np.fromfile", "np.memmap"),
}


def offences(source):
    """Everything in a module that a pure package may not have, as `line: what`."""
    found = []
    for node in ast.walk(ast.parse(source)):
        names = []
        match node:
            case ast.Import(names=aliases):
                names = [alias.name for alias in aliases]
            case ast.ImportFrom(module=module, names=aliases, level=0):
                names = [str(module), *(f"{module}.{alias.name}" for alias in aliases)]
            case ast.Call(func=ast.Name(id=name)) if name in BANNED_CALLS:
                found.append(f"{node.lineno}: {name}()")
            case ast.Attribute() if dotted_end(node) in BANNED_ATTRIBUTES:
                found.append(f"{node.lineno}: {dotted_end(node)}")
            case ast.Attribute(attr="tofile"):
                found.append(f"{node.lineno}: tofile")
        banned = {name for name in names if any(name == one or name.startswith(f"{one}.") for one in BANNED_MODULES)}
        found += [f"{node.lineno}: {name}" for name in sorted(banned)]
    return found


def dotted_end(node):
    """The last two names of a dotted expression."""
    match node.value:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return f"{name}.{node.attr}"
        case _:
            return node.attr


def modules():
    return sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_pure_module_does_nothing_but_compute(path):
    assert offences(path.read_text()) == []


def test_both_pure_packages_were_looked_at():
    assert {path.relative_to(ROOT).parts[0] for path in modules()} == set(PACKAGES)


@pytest.mark.parametrize(
    "source",
    [
        "import os",
        "import os.path",
        "import http.client as http",
        "from pathlib import Path",
        "from time import monotonic",
        "def later():\n    import socket",
        "from numpy import random",
        "from numpy.random import default_rng",
        "import numpy as np\nnp.random.default_rng()",
        "import datetime\ndatetime.datetime.now()",
        "from datetime import datetime\nclock = datetime.now",
        "from datetime import date\ndate.today()",
        "open('x')",
        "__import__('os')",
        "import importlib",
        "array.tofile('x')",
    ],
)
def test_a_way_out_of_purity_is_found(source):
    assert offences(source)


@pytest.mark.parametrize(
    "source",
    [
        "from datetime import UTC, datetime\ndatetime.fromtimestamp(0, UTC)",
        "from boltz_protocol import http_signature",
        "from . import time",
        "import numpy as np\nnp.dot(a, b)",
        "def reopen(open_segment): open_segment(1)",
    ],
)
def test_what_only_looks_like_a_way_out_is_left_alone(source):
    assert offences(source) == []
