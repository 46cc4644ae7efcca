"""An older backup of the database under files that are newer: what was in it goes on, what came later is gone."""

import os
import subprocess
from contextlib import closing
from dataclasses import replace
from urllib.parse import urlsplit, urlunsplit

import psycopg2
import pytest

from boltz_client.errors import RefusedError
from local_stack.postgres import _installation
from tests.chaos.invariants import check_invariants, wait_for_version
from tests.chaos.senders import enrol, one_hot_senders, send_all

pytestmark = [pytest.mark.processes, pytest.mark.long]


def run(mesh, program, *arguments):
    """One of PostgreSQL's own programs on the mesh's database."""
    subprocess.run(
        [str(_installation() / "bin" / program), *arguments], check=True, capture_output=True, env=os.environ
    )


def dump(mesh, file):
    run(mesh, "pg_dump", "--format=custom", f"--file={file}", mesh.postgres.url)


def restore(mesh, file):
    """As docs/operations.md says: everything is stopped but PostgreSQL, and started at the end."""
    for process in mesh.processes.values():
        process.kill()
    elsewhere = urlunsplit(urlsplit(mesh.postgres.url)._replace(path="/postgres"))
    with closing(psycopg2.connect(elsewhere)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("DROP DATABASE boltz WITH (FORCE)")
            cursor.execute("CREATE DATABASE boltz")
    run(mesh, "pg_restore", f"--dbname={mesh.postgres.url}", file)
    mesh.manage("migrate", "--noinput")
    mesh.first_start("--no-model")
    mesh.start_programs()
    mesh.mend()


def test_an_older_backup_goes_on_from_where_it_was_under_newer_files(mesh, model, parameters, tmp_path):
    early, late = (part := one_hot_senders(parameters))[:2], part[2:]
    enrol(mesh, [*early, *late])
    send_all(mesh, model, early)
    mesh.until(lambda: mesh.update_states(model) == ["staged", "staged"], "two are staged when the backup is made")
    dump(mesh, tmp_path / "boltz.dump")
    promises = [sender.send(mesh, model) for sender in late]
    wait_for_version(mesh, model)
    files = set((mesh.directory / "data" / "versions").rglob("*.safetensors"))
    restore(mesh, tmp_path / "boltz.dump")
    # it is as it was, and the receipts of those who came later point to nothing
    assert mesh.round_state(model) == "open"
    assert mesh.update_states(model) == ["staged", "staged"]
    for promise in promises:
        with pytest.raises(RefusedError):
            promise.refreshed()
    # others take their places; the version comes out to the same bits, over the file of the one that is gone
    again = [replace(sender, name=f"{sender.name}-again", upload_ids=[]) for sender in late]
    send_all(mesh, model, again)
    check_invariants(mesh, model, [*early, *again])
    assert set((mesh.directory / "data" / "versions").rglob("*.safetensors")) == files
