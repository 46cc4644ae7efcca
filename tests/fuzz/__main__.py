"""`./dev fuzz`: the parsers and the API under whatever anybody may send, drawn from a seed, for a number of minutes."""

import argparse
import random
import sys

from tests.chaos.__main__ import MOST_SEEDS, minutes, say, seed

PARTS = ("parsers", "api")


def parsed(arguments):
    """What was asked for."""
    parser = argparse.ArgumentParser(
        prog="./dev fuzz",
        description="Bytes for the parsers, then requests to a real mesh: nothing but the documented answers may come.",
        allow_abbrev=False,
    )
    parser.add_argument("--minutes", type=minutes, metavar="N", default=10.0, help="how long each part takes; 10")
    parser.add_argument(
        "--seed", type=seed, metavar="S", help="draw from this seed; a finding prints the one to repeat it with"
    )
    parser.add_argument("--only", choices=PARTS, help="one of the two parts")
    return parser.parse_args(arguments)


def fuzz(part, *, seed, seconds):
    """Run one part; returns what it did, by its kind."""
    # here, so that asking for help does not load everything
    from tests.fuzz import runs

    if part == "parsers":
        return runs.run_parsers(seed=seed, seconds=seconds)
    with runs.mesh_to_fuzz() as mesh:
        return runs.run_api(mesh, seed=seed, seconds=seconds)


def table(counts):
    """Counts in lines: one for each name, or for each operation and sender with its statuses."""
    lines = {}
    for key, count in sorted(counts.items(), key=str):
        *names, last = key if isinstance(key, tuple) else (key, "examples")
        lines.setdefault("  ".join(names), []).append(f"{last}: {count}")
    return "\n".join(f"  {name:40} {', '.join(found)}" for name, found in lines.items())


def main(arguments):
    """Run what was asked for; returns the exit code."""
    from tests.fuzz.examination import FoundError

    options = parsed(arguments)
    chosen = random.SystemRandom().randrange(MOST_SEEDS) if options.seed is None else options.seed
    for part in (options.only,) if options.only else PARTS:
        say(f"fuzzing the {part} for {options.minutes:g} minutes; seed {chosen}")
        try:
            counts = fuzz(part, seed=chosen, seconds=60 * options.minutes)
        except FoundError as error:
            say(f"found in the {part}:\n{error}")
            return 1
        say(table(counts))
    say(f"nothing was found; seed {chosen}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
