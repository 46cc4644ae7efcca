"""`./dev coverage`: run every test with branch coverage, then fail where a package has less of it than it should.

`--data FILE` judges what an earlier run measured, and runs no test. Covered is what coverage.py calls so: the
statements and branches that ran, of all there are. A module that no test has imported counts with all of them.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import coverage

from local_stack.mesh import ROOT

PURE_PERCENT = 95
OTHER_PERCENT = 85
LIMITS = {
    "boltz_protocol": PURE_PERCENT,
    "boltz_core": PURE_PERCENT,
    "boltz_client": OTHER_PERCENT,
    "client": OTHER_PERCENT,
    "apps": OTHER_PERCENT,
    "boltz_federated": OTHER_PERCENT,
    "worker": OTHER_PERCENT,
    "local_stack": OTHER_PERCENT,
    "demo": OTHER_PERCENT,
}
SUITE = ("-m", "pytest", "--cov", "--cov-branch", "--cov-report=")


@dataclass(frozen=True)
class Measured:
    """What of a package ran; `total` counts statements and branches."""

    package: str
    limit_percent: int
    covered: int
    total: int

    @property
    def is_enough(self) -> bool:
        """Whether the limit is reached; exactly, so that no rounding helps."""
        return self.covered * 100 >= self.limit_percent * self.total

    def __str__(self) -> str:
        tenths = 1000 if not self.total else 1000 * self.covered // self.total
        verdict = "ok" if self.is_enough else "TOO LITTLE"
        counted = f"{self.covered:6} of {self.total:5}{tenths // 10:6}.{tenths % 10} %"
        return f"{self.package:16}{counted}   at least {self.limit_percent} %   {verdict}"


def main(arguments: Sequence[str], *, root: Path = ROOT) -> int:
    """Run the tests unless there is data, and judge what they measured. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="./dev coverage", description="branch coverage, held against its limits")
    parser.add_argument("--data", type=Path, help="judge this file of an earlier run (.coverage); run no test")
    data = parser.parse_args(arguments).data
    if data is None:
        data = root / ".coverage"
        if failed := run_tests(data, root):
            print("Tests failed, so their coverage says nothing.", file=sys.stderr)
            return failed
    try:
        return report(measure(data, root))
    except coverage.exceptions.CoverageException as error:
        print(f"{data} cannot be judged: {error}", file=sys.stderr)
        return 2


def run_tests(data: Path, root: Path) -> int:
    """Run every test and write what was measured to `data`. Returns pytest's exit code."""
    environment = os.environ | {"COVERAGE_FILE": str(data)}
    return subprocess.run([sys.executable, *SUITE], cwd=root, env=environment, check=False).returncode


def measure(data: Path, root: Path) -> list[Measured]:
    """What the data says about each package under `root`.

    Raises:
        CoverageException: there is no such data, or it knows nothing of branches.
    """
    if not data.is_file():
        raise coverage.exceptions.NoDataError("there is no such file")
    measurements = coverage.Coverage(data_file=str(data), config_file=str(root / "pyproject.toml"))
    measurements.load()
    if not measurements.get_data().has_arcs():
        raise coverage.exceptions.NoDataError("it holds no branches; measure with --cov-branch")
    return [_measured(measurements, root, package, limit) for package, limit in LIMITS.items()]


def report(measured: Sequence[Measured]) -> int:
    """Print the table, and what is too little by name. Returns the exit code."""
    print(*measured, sep="\n")
    if short := [one.package for one in measured if not one.is_enough]:
        print(f"too little coverage: {', '.join(short)}", file=sys.stderr)
        return 1
    return 0


def _measured(measurements: coverage.Coverage, root: Path, package: str, limit: int) -> Measured:
    # files are given by name: data alone does not show a module that was never imported
    files = [str(path) for path in sorted((root / package).rglob("*.py"))]
    with tempfile.TemporaryDirectory() as folder:
        outfile = Path(folder, "coverage.json")
        measurements.json_report(morfs=files, omit=measurements.get_option("run:omit"), outfile=str(outfile))
        totals = json.loads(outfile.read_bytes())["totals"]
    covered = totals["covered_lines"] + totals["covered_branches"]
    return Measured(package, limit, covered, totals["num_statements"] + totals["num_branches"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
