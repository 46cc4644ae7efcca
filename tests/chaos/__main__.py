"""`./dev chaos`: every fault test, also the long ones; or, for a number of minutes, a random soak."""

import argparse
import pprint
import random
import sys
import tempfile
from pathlib import Path

import pytest

MOST_SEEDS = 1 << 32
TESTS = str(Path(__file__).resolve().parent)


def parsed(arguments):
    """What was asked for; what is left over goes to pytest."""
    parser = argparse.ArgumentParser(
        prog="./dev chaos",
        description="Every fault that the mesh must survive: the tests, also the long ones, or a random soak.",
        epilog="Without --minutes, all other arguments go to pytest: ./dev chaos -k redis -n0",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--minutes", type=minutes, metavar="N", help="soak for so long instead, such as 60 or 0.5: drawn at random"
    )
    parser.add_argument(
        "--seed", type=seed, metavar="S", help="draw the soak from this seed; a failure prints the one it had"
    )
    options, rest = parser.parse_known_args(arguments)
    if options.minutes is None and options.seed is not None:
        parser.error("--seed is for a soak; say how long with --minutes N")
    if options.minutes is not None and rest:
        parser.error(f"a soak takes --minutes and --seed only, not {' '.join(rest)}")
    return options, rest


def minutes(text):
    """A time that is longer than nothing and shorter than a week."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.0 < value <= 7 * 24 * 60:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of minutes above 0 (and at most a week)")
    return value


def seed(text):
    """A number that the draws can begin from."""
    if not (text.isascii() and text.isdecimal() and int(text) < MOST_SEEDS):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to {MOST_SEEDS - 1}")
    return int(text)


def pytest_arguments(rest):
    """The fault tests, or those of them that are named; no marker leaves any out."""
    named = any(Path(argument.partition("::")[0]).exists() for argument in rest if not argument.startswith("-"))
    return [*([] if named else [TESTS]), "-m", "", *rest]


def soak_for(length_minutes, chosen_seed):
    """Run a soak and tell what came of it; returns the exit code."""
    # here, so that pytest is the first to import what it rewrites
    from tests.chaos import soak
    from tests.chaos.soak_journal import SoakFailedError

    folder = Path(tempfile.mkdtemp(prefix=f"boltz-soak-{chosen_seed}-"))
    say(f"soaking for {length_minutes:g} minutes; seed {chosen_seed}, journal {folder / 'journal.jsonl'}")
    try:
        came_of_it = soak.run(seed=chosen_seed, seconds=60 * length_minutes, folder=folder)
    except SoakFailedError as error:
        say(f"the soak failed: {error}")
        return 1
    say(pprint.pformat(came_of_it, sort_dicts=False))
    say(f"every invariant held; seed {chosen_seed}")
    return 0


def say(text):
    """To a person."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main(arguments):
    """Run what was asked for; returns the exit code."""
    options, rest = parsed(arguments)
    if options.minutes is None:
        return int(pytest.main(pytest_arguments(rest)))
    chosen = random.SystemRandom().randrange(MOST_SEEDS) if options.seed is None else options.seed
    return soak_for(options.minutes, chosen)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
