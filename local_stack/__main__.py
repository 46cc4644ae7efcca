"""`python -m local_stack`: up, manage, run."""

import argparse
import sys

from local_stack import attached, programs, up
from local_stack.errors import StackError


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line and run the command. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="./dev", description="The mesh on this machine.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("up", help="run the mesh; data stays in .boltz/")
    manage = commands.add_parser("manage", help="manage.py against the data of ./dev up", add_help=False)
    manage.add_argument("arguments", nargs=argparse.REMAINDER)
    run = commands.add_parser("run", help="run any command with the servers up: run -- COMMAND")
    run.add_argument("arguments", nargs=argparse.REMAINDER)
    options = parser.parse_args(arguments)
    try:
        match options.command:
            case "up":
                return up.run()
            case "manage":
                return attached.run(programs.manage(*options.arguments))
            case _:
                command = options.arguments[1:] if options.arguments[:1] == ["--"] else options.arguments
                return attached.run(command) if command else parser.error("run needs a command: run -- COMMAND")
    except StackError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
