import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from local_stack import postgres, unprivileged
from local_stack.errors import StackError
from local_stack.unprivileged import User, reachable_installation, temporary_directory

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can run something as somebody else")


@pytest.fixture
def hidden(tmp_path, monkeypatch):
    """An installation that `nobody` cannot reach, with libraries beside it, and a place for copies that it can."""
    tmp_path.chmod(0o700)
    program = tmp_path / "package" / "pginstall" / "bin" / "postgres"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\necho works\n")
    program.chmod(0o755)
    (tmp_path / "package.libs").mkdir()
    (tmp_path / "package.libs" / "libpq.so").write_text("library")
    with temporary_directory("copies") as copies:
        monkeypatch.setattr(unprivileged, "COPIES", copies)
        yield program.parent.parent


def test_an_installation_in_reach_is_used_as_it_is():
    installation = postgres._installation()
    assert reachable_installation(installation, None) == installation


@as_root
def test_an_installation_out_of_reach_is_copied_with_the_libraries_beside_it(hidden):
    user = unprivileged.server_user()
    copy = reachable_installation(hidden, user)
    assert copy != hidden
    ran = subprocess.run(
        [copy / "bin" / "postgres"], cwd="/", capture_output=True, text=True, check=True, **user.popen_arguments()
    )
    assert ran.stdout == "works\n"
    assert (copy.parent.parent / "package.libs" / "libpq.so").read_text() == "library"


@as_root
def test_a_copy_is_made_once(hidden):
    user = unprivileged.server_user()
    first = reachable_installation(hidden, user)
    made = first.stat().st_ino
    assert reachable_installation(hidden, user).stat().st_ino == made
    assert len(list(unprivileged.COPIES.iterdir())) == 1


@as_root
def test_a_copy_that_lost_a_file_is_made_anew(hidden):
    user = unprivileged.server_user()
    copy = reachable_installation(hidden, user)
    (copy.parent.parent / "package.libs" / "libpq.so").unlink()
    assert (reachable_installation(hidden, user).parent.parent / "package.libs" / "libpq.so").exists()


@as_root
@pytest.mark.parametrize("damage", ["somebody else's", "writable by others", "a link"])
def test_a_copy_that_is_not_ours_is_never_run(hidden, damage):
    user = unprivileged.server_user()
    copy = reachable_installation(hidden, user).parent.parent
    match damage:
        case "somebody else's":
            os.chown(copy, user.uid, user.gid)
        case "writable by others":
            copy.chmod(0o777)
        case _:
            copy.rename(copy.with_name("elsewhere"))
            copy.symlink_to(copy.with_name("elsewhere"))
    with pytest.raises(StackError, match="was not made by this program"):
        reachable_installation(hidden, user)


@as_root
def test_a_root_that_may_not_become_another_user_is_told_what_to_do(monkeypatch):
    def refuse(*_arguments, **_options):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(unprivileged.subprocess, "run", refuse)
    with pytest.raises(StackError, match="plain user"):
        User(65534, 65534).can_reach(Path("/"))


def test_a_plain_user_runs_the_server_as_itself(monkeypatch):
    monkeypatch.setattr(unprivileged.os, "geteuid", lambda: 1000)
    assert unprivileged.server_user() is None


def test_a_temporary_directory_cannot_be_read_by_others_and_is_removed():
    with temporary_directory("tried") as made:
        assert not stat.S_IMODE(made.stat().st_mode) & 0o066
        (made / "file").write_text("x")
    assert not made.exists()


@as_root
def test_the_server_can_reach_a_temporary_directory():
    with temporary_directory("tried") as made:
        assert unprivileged.server_user().can_reach(made)


def test_what_a_killed_process_left_behind_is_removed_by_the_next_and_nothing_else():
    script = "import os\nfrom local_stack.unprivileged import temporary_directory\nwith temporary_directory('left') as made: print(made, flush=True); os._exit(9)"
    killed = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=False,
    )
    left = Path(killed.stdout.strip())
    assert left.is_dir()
    with temporary_directory("left") as ours:
        # it may be somebody's who has only just begun
        assert left.exists()
        for path in (left, ours):
            os.utime(path, (0, 0))
        with temporary_directory("left"):
            assert not left.exists()
            assert ours.exists()


def test_without_room_in_memory_it_lies_on_disk(monkeypatch, tmp_path):
    monkeypatch.setattr(unprivileged, "_TEMPORARY_BYTES", 1 << 80)
    monkeypatch.setattr(unprivileged.tempfile, "gettempdir", lambda: str(tmp_path))
    with temporary_directory("tried") as made:
        assert made.parent == tmp_path
