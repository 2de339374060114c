"""The command line: ``python -m s3reader``, or ``s3reader`` once installed."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from s3reader import __version__


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that `argv` names (without the program's name; None for ``sys.argv``).

    Returns:
        the exit status: 0 if all went well, 1 if the command failed, 2 if it could not start.
    """
    parser = argparse.ArgumentParser(
        prog="s3reader", description="Read S3 objects in parallel, straight into memory."
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser(
        "demo",
        help="train on an S3 of its own, on this machine, and compare every byte",
        description="Starts an S3 on a free loopback port, puts digits, photographs and a "
        "checkpoint there, reads them back as a training script does, and compares every byte "
        "with its source. Two processes save what they train; others go on from S3. Exits with 1 "
        "if anything differs.",
    )
    parser.parse_args(argv)
    # A command's own imports are heavy: they wait until it is the one that runs.
    from s3reader.demo import run_demo

    return run_demo()


if __name__ == "__main__":
    sys.exit(main())
