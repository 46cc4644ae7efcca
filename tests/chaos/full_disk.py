"""A small file system of its own in the place of one directory of a mesh, so that it can be full and have room again."""

import contextlib
import os
import subprocess

import pytest

SIZE_BYTES = 6 << 20
BLOCK = bytes(1 << 12)


class SmallDisk:
    """A directory on a file system of a few megabytes."""

    def __init__(self, directory):
        self.directory = directory
        # as a run's directory would be called: whoever sweeps those finds nothing strange
        self._ballast = directory / "0"

    def fill(self):
        """Take all the room that there is."""
        with self._ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(BLOCK)

    def make_room(self):
        """Give back what was taken."""
        self._ballast.unlink()

    def free_bytes(self):
        """How much room there is."""
        found = os.statvfs(self.directory)
        return found.f_bavail * found.f_frsize

    def files(self):
        """All that lies on it, but for what fills it."""
        return [path for path in self.directory.rglob("*") if path.is_file() and path != self._ballast]


@contextlib.contextmanager
def small_disk(mesh, name):
    """A small disk in the place of a directory below the mesh's data; what lay there is back at the end."""
    directory = mesh.directory / "data" / name
    directory.mkdir(mode=0o750, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_BYTES},mode=0750", "small-disk", str(directory)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("a file system that can be full needs the right to mount one (root)")
    try:
        yield SmallDisk(directory)
    finally:
        # lazily: somebody may have a file open
        subprocess.run(["umount", "--lazy", str(directory)], check=True, capture_output=True)
