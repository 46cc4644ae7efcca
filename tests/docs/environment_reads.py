"""Which environment variables the code reads, found in its syntax: names, and defaults where they are plain values."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import yaml

from tests.docs.documents import ROOT

SERVER_CODE = ("boltz_federated", "worker", "apps", "local_stack", "deploy", "dev", "manage.py")
COMPOSE_VARIABLE = re.compile(r"(?<!\$)\$\{(\w+)")
REQUIRED = object()
UNKNOWN = object()


def variables() -> dict[str, object]:
    """Every variable that the server's code, `./dev` or docker-compose.yml reads or sets, with its default."""
    found: dict[str, object] = {}
    for path in source_files():
        for name, default in reads_in(ast.parse(path.read_text(encoding="utf-8"))):
            if found.get(name, UNKNOWN) is UNKNOWN:
                found[name] = default
    for name in compose_variables():
        found.setdefault(name, UNKNOWN)
    return found


def source_files() -> Iterator[Path]:
    for name in SERVER_CODE:
        path = ROOT / name
        if path.is_dir():
            yield from sorted(path.rglob("*.py"))
            yield from (script for script in sorted(path.iterdir()) if is_script(script))
        else:
            yield path


def is_script(path: Path) -> bool:
    return path.is_file() and path.suffix == "" and path.read_bytes().startswith(b"#!/usr/bin/env python3")


def reads_of(source: str) -> dict[str, object]:
    """The variables that a piece of code reads."""
    return dict(reads_in(ast.parse(source)))


def reads_in(tree: ast.AST) -> Iterator[tuple[str, object]]:
    for node in ast.walk(tree):
        match node:
            # os.environ["NAME"], but not where it is set
            case ast.Subscript(
                value=ast.Attribute(attr="environ"), slice=ast.Constant(value=str(name)), ctx=ast.Load()
            ):
                yield name, REQUIRED
            # the same by get or setdefault, perhaps with a default
            case ast.Call(
                func=ast.Attribute(value=ast.Attribute(attr="environ"), attr="get" | "setdefault"),
                args=[ast.Constant(value=str(name)), *defaults],
            ):
                yield name, value_of(defaults[0]) if defaults else UNKNOWN
            # settings by django-environ, by any of its methods
            case ast.Call(
                func=ast.Attribute(value=ast.Name(id="env")), args=[ast.Constant(value=str(name))], keywords=keywords
            ):
                defaults = [keyword.value for keyword in keywords if keyword.arg == "default"]
                yield name, value_of(defaults[0]) if defaults else REQUIRED
            # settings that are positive numbers
            case ast.Call(func=ast.Name(id="positive"), args=[ast.Constant(value=str(name))], keywords=keywords):
                yield name, next(value_of(keyword.value) for keyword in keywords if keyword.arg == "default")
            # rates, as they are written, and quotas
            case ast.Call(func=ast.Name(id="rate" | "quota"), args=[ast.Constant(value=str(name))], keywords=keywords):
                yield name, value_of(keywords[0].value)
            # settings that are on or off
            case ast.Call(func=ast.Name(id="switch"), args=[ast.Constant(value=str(name))]):
                yield name, False
            # settings that must be there
            case ast.Call(func=ast.Name(id="required"), args=[ast.Constant(value=str(name)), *_]):
                yield name, REQUIRED


def value_of(node: ast.expr) -> object:
    """A default that needs nothing but itself."""
    try:
        return eval(compile(ast.Expression(node), "default", "eval"), {"__builtins__": {}})  # noqa: S307 - our own code
    except NameError:
        return UNKNOWN


def compose_variables() -> set[str]:
    """What docker-compose.yml takes from .env, and what it gives to our programs."""
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    services = yaml.safe_load(text)["services"]
    given = {name for service in services.values() for name in service.get("environment", {})}
    return given | set(COMPOSE_VARIABLE.findall(text))
