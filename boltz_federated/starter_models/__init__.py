"""Models that come with the mesh: a task and a policy each, with the reason for every number."""

import json
from pathlib import Path
from typing import Any

DIRECTORY = Path(__file__).resolve().parent


def names() -> list[str]:
    """The names of the starter models."""
    return sorted(path.stem for path in DIRECTORY.glob("*.json"))


def read(name: str) -> dict[str, Any]:
    """A starter model's `name`, `task` and `policy` as JSON values."""
    content: dict[str, Any] = json.loads((DIRECTORY / f"{name}.json").read_text())
    return content
