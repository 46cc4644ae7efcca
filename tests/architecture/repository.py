"""What belongs to the repository, for the tests of this folder."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def files():
    """Every file that is or would be committed."""
    listed = subprocess.run(
        # a checkout may belong to somebody else than who runs the tests
        ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    paths = [ROOT / name for name in listed.stdout.split("\0") if name]
    return [path for path in paths if path.is_file()]


def texts():
    """Name and text of every file that is text."""
    for path in files():
        raw = path.read_bytes()
        if b"\0" not in raw:
            yield str(path.relative_to(ROOT)), raw.decode(errors="replace")
