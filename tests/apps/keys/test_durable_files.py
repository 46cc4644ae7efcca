import os
import signal
import stat
import subprocess
import sys

import pytest

from apps.keys import durable_files

WRITER = """
import sys
from pathlib import Path
from apps.keys import durable_files
directory = Path(sys.argv[1])
for number in range(100_000):
    durable_files.write_once(directory / f"{number}.key", b"x" * 5000)
    print(number, flush=True)
"""


def test_a_file_can_be_read_by_its_owner_only(tmp_path):
    durable_files.write_once(tmp_path / "a", b"secret")
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o600
    assert (tmp_path / "a").read_bytes() == b"secret"


def test_a_directory_can_be_entered_by_its_owner_only(tmp_path):
    durable_files.make_directory(tmp_path / "keys")
    durable_files.make_directory(tmp_path / "keys")
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700


def test_what_is_there_is_never_replaced(tmp_path):
    durable_files.write_once(tmp_path / "a", b"first")
    with pytest.raises(FileExistsError):
        durable_files.write_once(tmp_path / "a", b"second")
    assert (tmp_path / "a").read_bytes() == b"first"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_destroyed_file_loses_its_bytes_before_its_name(tmp_path):
    durable_files.write_once(tmp_path / "a", b"secret" * 10)
    os.link(tmp_path / "a", tmp_path / "still-open")  # stands for whoever has the file open
    assert durable_files.destroy(tmp_path / "a") is True
    assert not (tmp_path / "a").exists()
    assert b"secret" not in (tmp_path / "still-open").read_bytes()
    assert (tmp_path / "still-open").stat().st_size == 60


def test_destroying_twice_is_no_error(tmp_path):
    durable_files.write_once(tmp_path / "a", b"secret")
    assert durable_files.destroy(tmp_path / "a") is True
    assert durable_files.destroy(tmp_path / "a") is False


def test_a_link_put_in_the_place_of_a_key_is_not_followed(tmp_path):
    (tmp_path / "elsewhere").write_bytes(b"precious")
    (tmp_path / "a").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        durable_files.destroy(tmp_path / "a")
    assert (tmp_path / "elsewhere").read_bytes() == b"precious"


def test_after_a_sigkill_every_file_is_whole_or_absent(tmp_path):
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": "."},
    )
    with writer:
        promised = [int(writer.stdout.readline()) for _ in range(30)][-1]
        writer.send_signal(signal.SIGKILL)
        writer.wait(10)
    assert writer.returncode == -signal.SIGKILL
    whole = {int(path.stem) for path in tmp_path.glob("*.key")}
    assert all((tmp_path / f"{number}.key").read_bytes() == b"x" * 5000 for number in whole)
    assert set(range(promised + 1)) <= whole
