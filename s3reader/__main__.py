"""The command line: ``python -m s3reader``, or ``s3reader`` once installed."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from s3reader import __version__
from s3reader.bench.command import add_arguments, run_bench


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
    bench = commands.add_parser(
        "bench",
        help="find out which settings suit a bucket of yours, read from here",
        description="Reads objects under a prefix, or one object, with several readers, part "
        "sizes and numbers of connections, and recommends settings. S3 charges for the requests, "
        "and for bytes that leave the bucket's region.",
    )
    add_arguments(bench)
    arguments = parser.parse_args(argv)
    if arguments.command == "bench":
        return run_bench(arguments)
    # The demo's imports are heavy: they wait until it is the one that runs.
    from s3reader.demo import run_demo

    return run_demo()


if __name__ == "__main__":
    sys.exit(main())
