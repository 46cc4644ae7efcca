"""The mesh that benchmarks measure: what `./dev up` starts, in a directory that is removed at the end."""

import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg2

from local_stack.mesh import Mesh


@contextmanager
def started_mesh() -> Iterator[tuple[Mesh, Path]]:
    """A mesh without a model, with fsync and production settings, and a folder for whatever else is needed."""
    with tempfile.TemporaryDirectory(prefix="boltz-bench-") as folder, Mesh(Path(folder) / "mesh") as mesh:
        mesh.start_servers()
        mesh.manage("migrate", "--noinput")
        mesh.first_start("--no-model")
        mesh.start_programs()
        mesh.wait_until_ready()
        yield mesh, Path(folder)


def rows(mesh: Mesh, query: str, *values: object) -> list[tuple[Any, ...]]:
    """What the database answers."""
    with closing(psycopg2.connect(mesh.postgres.url)) as connection, connection.cursor() as cursor:
        cursor.execute(query, values)
        return cursor.fetchall()
