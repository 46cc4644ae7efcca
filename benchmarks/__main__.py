"""`./dev bench NAME [--json] [--repeat N] [--peers]`; without a name it lists them."""

import argparse
import importlib
import json
import os

BENCHMARKS = {
    "combine": "the exact weighted mean, from memory and from sealed files, beside reading the same bytes once",
    "round": "a whole round with 8 real client processes, from its opening to the last one's pull of the new version",
    "scale": "one round of 8, 100 and 1000 clients: what an update costs, whatever their number",
    "upload": "bodies of 4 and 40 MB through the web server, beside a bare loop from sockets to files",
    "ingest": "one update of 4 MB, alone and through Celery, beside the sum of its unavoidable parts",
}


def print_table(rows: list[dict[str, str | float]]) -> None:
    """Print rows that share their keys, numbers to the right."""
    cells = [[f"{value:.4g}" if isinstance(value, float) else str(value) for value in row.values()] for row in rows]
    heads = list(rows[0])
    widths = [max(len(line[column]) for line in [heads, *cells]) for column in range(len(heads))]
    numeric = [isinstance(value, float) for value in rows[0].values()]
    for line in [heads, ["-" * width for width in widths], *cells]:
        pairs = zip(line, widths, numeric, strict=True)
        print("  ".join(cell.rjust(width) if right else cell.ljust(width) for cell, width, right in pairs).rstrip())


def main() -> None:
    """Run one benchmark."""
    listing = "\n".join(f"  {name:10}{what}" for name, what in BENCHMARKS.items())
    parser = argparse.ArgumentParser(
        prog="./dev bench", description=f"benchmarks:\n{listing}", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", nargs="?", choices=BENCHMARKS, metavar="NAME")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--repeat", type=int, default=7, help="take the best of so many runs (default 7)")
    parser.add_argument(
        "--peers", action="store_true", help="with round: Flower and NVFlare beside ours; installs them in .venv-peers/"
    )
    arguments = parser.parse_args()
    if arguments.peers and arguments.name != "round":
        parser.error("--peers goes with round")
    if arguments.name is None:
        parser.print_help()
        return
    # As in production, one BLAS thread a process; it must be said before numpy is loaded, hence the late import.
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    module = "peers.comparison" if arguments.peers else arguments.name
    rows = importlib.import_module(f"benchmarks.{module}").measure(repeat=arguments.repeat)
    if arguments.json:
        print(json.dumps(rows, indent=1))
    else:
        print_table(rows)


if __name__ == "__main__":
    main()
