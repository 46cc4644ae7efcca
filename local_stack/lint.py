"""`./dev lint`: what can be said about the code without running it. All of it runs, then it says what failed.

`--fix` formats the code and repairs what can be repaired. Names of steps run only those: `./dev lint types`.
"""

import subprocess
import sys
import time
from collections.abc import Sequence

from local_stack.mesh import ROOT

STRICTLY_TYPED = ("boltz_protocol", "boltz_core", "boltz_client")

STEPS = {
    "format": ("-m", "ruff", "format", "--check", "--quiet", "."),
    "style": ("-m", "ruff", "check", "--quiet", "."),
    "types": ("-m", "mypy", *(part for package in STRICTLY_TYPED for part in ("-p", package))),
    "layers": ("-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"),
    "spelling": ("-m", "codespell_lib", "."),
}
REPAIRS = {
    "repair": ("-m", "ruff", "check", "--fix", "--quiet", "."),
    "format": ("-m", "ruff", "format", "."),
}


def main(arguments: Sequence[str]) -> int:
    """Run the steps that are asked for, all without arguments. Returns the exit code."""
    steps = REPAIRS if "--fix" in arguments else STEPS
    names = [name for name in arguments if name != "--fix"] or list(steps)
    if unknown := [name for name in names if name not in steps]:
        print(f"There is no step {unknown[0]!r}; there are {', '.join(steps)}.", file=sys.stderr)
        return 2
    failed = [name for name in names if not _passes(name, steps[name])]
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _passes(name: str, arguments: Sequence[str]) -> bool:
    """Run one step; what it has to say goes to the terminal."""
    started = time.monotonic()
    print(f"--- {name}", file=sys.stderr, flush=True)
    passed = subprocess.run([sys.executable, *arguments], cwd=ROOT, check=False).returncode == 0
    print(f"    {'ok' if passed else 'FAILED'}, {time.monotonic() - started:.1f} s", file=sys.stderr, flush=True)
    return passed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
