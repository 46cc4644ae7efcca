"""What a refusal must leave as it was: every row that is not about who asked, and every file.

with nothing_changes():
    assert refusal(send(place, hostile)) == (422, "header_mismatch")
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.conf import settings

from apps.aggregation.models import Run, Shard
from apps.audit.models import LogEntry
from apps.clients.models import Client, ClientKey
from apps.keys.models import MeshKey
from apps.rounds.models import FederatedModel, ModelVersion, Participation, Round, Update, Verdict

TABLES = (Client, ClientKey, FederatedModel, MeshKey, ModelVersion, Participation, Round, Run, Shard, Update, Verdict)
# what strangers do is noted, folded; that is no change of anything
NOTES = ["authentication.failed"]


def world() -> dict[str, Any]:
    """Rows of all tables, the log, and the files below the data directory with their sizes."""
    rows = {table.__name__: [readable(row) for row in table.objects.order_by("pk").values()] for table in TABLES}
    log = sorted(LogEntry.objects.exclude(type__in=NOTES).values_list("id", flat=True))
    return rows | {"log": log, "files": files()}


def files() -> dict[str, int]:
    """Every file of the mesh and its size."""
    root = Path(settings.BOLTZ_DATA_DIR)
    return {str(path.relative_to(root)): path.stat().st_size for path in root.rglob("*") if path.is_file()}


def readable(row: dict[str, Any]) -> dict[str, Any]:
    return {name: bytes(value) if isinstance(value, memoryview) else value for name, value in row.items()}


@contextmanager
def nothing_changes() -> Iterator[None]:
    """The block leaves the mesh as it was."""
    before = world()
    yield
    assert world() == before
