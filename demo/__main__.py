"""`python -m demo`, which is `./dev demo`: the command line, and how it ends.

Everything heavy is imported once Ctrl-C is in our hands, so that it leaves nothing behind at any moment, the first
second included.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from local_stack import interrupts, up
from local_stack.errors import StackError

FEWEST_CLIENTS, MOST_CLIENTS = 3, 60  # boltz-core's quorum; what one machine bears
MOST_ROUNDS = 100


def main(words: Sequence[str] | None = None) -> int:
    """Run the demo; returns the exit code."""
    try:
        options = parse(words)
        os.umask(0o077)
        with interrupts.one_interruption():
            # takes a second, in which Ctrl-C must already end quietly
            from demo import run

            return run.run(options)
    except interrupts.InterruptedBySignal as interruption:
        print("stopped; nothing was kept", file=sys.stderr)
        return interruption.exit_code
    except StackError as error:
        print(error, file=sys.stderr)
        return 1


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    """The command line.

    Raises:
        StackError: BOLTZ_PORT is not a port.
    """
    parser = argparse.ArgumentParser(
        prog="./dev demo", description="Train boltz-core with clients of four kinds on real market data, then stop."
    )
    parser.add_argument("--keep", action="store_true", help="leave the mesh running until Ctrl-C, to look at the admin")
    parser.add_argument("--rounds", type=number(1, MOST_ROUNDS), default=10, help="default 10")
    parser.add_argument(
        "--clients", type=number(FEWEST_CLIENTS, MOST_CLIENTS), default=12, help="honest ones; default 12"
    )
    parser.add_argument("--seed", type=int, default=7, help="draws sectors, symbols and days; default 7")
    parser.add_argument(
        "--port",
        type=number(0, 65535),
        default=up.chosen_port(),
        help="default 8010, or BOLTZ_PORT; 0 takes a free one",
    )
    parser.add_argument("--report", type=writable_file, default=Path("demo-report.html"), help="where the report goes")
    return parser.parse_args(words)


def number(least: int, most: int) -> "Number":
    """A whole number of the command line."""
    return Number(least, most)


class Number:
    """Parses a whole number between two bounds."""

    def __init__(self, least: int, most: int) -> None:
        self._least, self._most = least, most

    def __call__(self, text: str) -> int:
        """The number.

        Raises:
            argparse.ArgumentTypeError: it is none, or out of bounds.
        """
        try:
            value = int(text)
        except ValueError:
            value = self._least - 1
        if not self._least <= value <= self._most:
            raise argparse.ArgumentTypeError(f"{text} is not a number from {self._least} to {self._most}")
        return value


def writable_file(text: str) -> Path:
    """A path that can be written to, found out before the work and not after it.

    Raises:
        argparse.ArgumentTypeError: it is a folder, or its folder is missing or not ours to write to.
    """
    path = Path(text).absolute()
    if path.is_dir() or not os.access(path.parent, os.W_OK) or (path.exists() and not os.access(path, os.W_OK)):
        raise argparse.ArgumentTypeError(f"{path} cannot be written")
    return path


if __name__ == "__main__":
    sys.exit(main())
