"""`./dev bench NAME [--json] [--repeat N] [--peers] [--full]`; without a name it lists them."""

import argparse
import importlib
import itertools
import json
import os
from collections.abc import Sequence

BENCHMARKS = {
    "engine": "every aggregation rule: seconds beside other systems' and the limit, memory, and how both grow",
    "round": "a whole round with 8 real client processes, from its opening to the last one's pull of the new version",
    "scale": "one round of 8, 100 and 1000 clients: what an update costs, whatever their number",
    "upload": "bodies of 4 and 40 MB through the web server, beside a bare loop from sockets to files",
    "ingest": "one update of 4 MB, alone and through Celery, beside the sum of its unavoidable parts",
    "attacks": "what is left of a model that is trained under attack, by rule; --repeat is the number of seeds",
}


WITH_PEERS = ("round", "engine")
IN_FULL = ("engine",)
Row = dict[str, str | float]


def print_tables(rows: Sequence[Row]) -> None:
    """Print rows, those in succession that share their keys as one table."""
    for number, (_keys, table) in enumerate(itertools.groupby(rows, key=tuple)):
        if number:
            print()
        print_table(list(table))


def print_table(rows: list[Row]) -> None:
    """Print rows that share their keys, columns that have numbers to the right."""
    cells = [[f"{value:.4g}" if isinstance(value, float) else str(value) for value in row.values()] for row in rows]
    heads = list(rows[0])
    widths = [max(len(line[column]) for line in [heads, *cells]) for column in range(len(heads))]
    numeric = [any(isinstance(row[head], float) for row in rows) for head in heads]
    for line in [heads, ["-" * width for width in widths], *cells]:
        pairs = zip(line, widths, numeric, strict=True)
        print("  ".join(cell.rjust(width) if right else cell.ljust(width) for cell, width, right in pairs).rstrip())


def read_arguments() -> argparse.Namespace:
    """What was asked for."""
    listing = "\n".join(f"  {name:10}{what}" for name, what in BENCHMARKS.items())
    parser = argparse.ArgumentParser(
        prog="./dev bench", description=f"benchmarks:\n{listing}", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", nargs="?", choices=BENCHMARKS, metavar="NAME")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--repeat", type=int, default=7, help="take the best of so many runs (default 7)")
    parser.add_argument(
        "--peers",
        action="store_true",
        help="with round and engine: other systems beside ours; installs them in .venv-peers/",
    )
    parser.add_argument(
        "--full", action="store_true", help="with engine: models of 1e8 parameters too (takes 10 GB of disk and memory)"
    )
    arguments = parser.parse_args()
    if arguments.peers and arguments.name not in WITH_PEERS:
        parser.error(f"--peers goes with {' and '.join(WITH_PEERS)}")
    if arguments.full and arguments.name not in IN_FULL:
        parser.error(f"--full goes with {' and '.join(IN_FULL)}")
    if arguments.repeat < 1:
        parser.error(f"--repeat is at least 1; got {arguments.repeat}")
    if arguments.name is None:
        parser.print_help()
        parser.exit()
    return arguments


def measured(arguments: argparse.Namespace) -> list[Row]:
    """The rows of one benchmark."""
    module, options = arguments.name, {}
    if module == "engine":
        options = {"peers": arguments.peers, "full": arguments.full}
    elif arguments.peers:
        module = "peers.comparison"
    rows: list[Row] = importlib.import_module(f"benchmarks.{module}").measure(repeat=arguments.repeat, **options)
    return rows


def main() -> None:
    """Run one benchmark."""
    arguments = read_arguments()
    # As in production, one BLAS thread a process; it must be said before numpy is loaded, hence the late import.
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    rows = measured(arguments)
    if arguments.json:
        print(json.dumps(rows, indent=1))
    else:
        print_tables(rows)


if __name__ == "__main__":
    main()
