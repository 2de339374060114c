"""Throughput, CPU and memory of s3reader next to other clients and to a bare `recv` loop.

    python bench/run.py                     everything, five rounds
    python bench/run.py --quick             smaller objects, under two minutes
    python bench/run.py --case readinto --peer boto3

Starts nginx on loopback with generated objects, runs every contender in turn in fresh processes,
and stops it. Results go to ``--output`` as results.json, results.md, bench.png and bench.svg.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from cases import BY_NAME, CASES
from contenders import CONTENDERS, Contender
from floors import FloorMissing, compile_floor
from measure import FLOOR, Bench, roster, run_round
from plot import draw
from report import OWN, Table, as_json, as_markdown, machine, versions
from servers import Nginx, ServerMissing, generate_objects

MIB = 1024 * 1024
FULL = {"size": 1024 * MIB, "small_count": 2000, "rounds": 5}
QUICK = {"size": 256 * MIB, "small_count": 500, "rounds": 3}
QUICK_SECONDS = 100.0
"""No further round begins with `--quick` that would end after this."""

PEERS = sorted({contender.peer for contender in CONTENDERS} - {FLOOR, OWN})


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick", action="store_true", help="256 MiB, 500 small objects, up to three rounds"
    )
    parser.add_argument(
        "--case", action="append", choices=sorted(BY_NAME), help="only this one; may be repeated"
    )
    parser.add_argument(
        "--peer", action="append", choices=PEERS, help="only this peer; may be repeated"
    )
    parser.add_argument("--rounds", type=int, help="how often each contender runs (5)")
    parser.add_argument("--output", type=Path, default=Path("build/bench"), help="a folder")
    return parser.parse_args(arguments)


def chosen_contenders(peers: list[str] | None) -> list[type[Contender]]:
    """Ours, the floors, and the peers asked for."""
    wanted = {FLOOR, OWN, *(PEERS if peers is None else peers)}
    return [contender for contender in CONTENDERS if contender.peer in wanted]


def run_cases(bench: Bench, options: argparse.Namespace, rounds: int) -> tuple[list[Table], int]:
    """The tables, and how many rounds there were: fewer than asked for when they take long."""
    contenders = chosen_contenders(options.peer)
    cases = [case for case in CASES if not options.case or case.name in options.case]
    tables = [Table(case, bench.work(case), roster(case, contenders)) for case in cases]
    begun = time.monotonic()
    for number in range(rounds):
        for table in tables:
            print(f"round {number + 1} of {rounds}: {table.case.name}", file=sys.stderr, flush=True)
            run_round(bench, table.case, table.scores, number)
        # The next round takes as long as this and the earlier ones did.
        next_end = (time.monotonic() - begun) * (number + 2) / (number + 1)
        if options.quick and not options.rounds and next_end > QUICK_SECONDS:
            return tables, number + 1
    return tables, rounds


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark; 1 when a contender failed or read wrong bytes, 2 without a server."""
    options = parse(arguments)
    settings = QUICK if options.quick else FULL
    rounds = options.rounds or settings["rounds"]
    # A kill must end nginx as Ctrl-C does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    begun = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="s3reader-bench-"))
    try:
        folder.chmod(0o755)
        root, work = folder / "root", folder / "work"
        work.mkdir()
        floor = compile_floor(work)
        source = generate_objects(root, settings["size"], settings["small_count"])
        with Nginx(root, work) as server:
            bench = Bench(server, floor, source, settings["size"], settings["small_count"])
            tables, rounds = run_cases(bench, options, rounds)
            nginx = server.version
    except (ServerMissing, FloorMissing) as error:
        print(error, file=sys.stderr)
        return 2
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    about: dict[str, Any] = {
        "machine": machine(),
        "versions": versions(tables) | {"nginx": nginx},
        "settings": settings | {"rounds": rounds},
        "seconds": round(time.monotonic() - begun),
    }
    publish(tables, about, options.output)
    return 1 if any(score.failed for table in tables for score in table.scores) else 0


def publish(tables: list[Table], about: dict[str, Any], folder: Path) -> None:
    """Write the results and print the tables."""
    folder.mkdir(parents=True, exist_ok=True)
    markdown = as_markdown(tables, about)
    (folder / "results.json").write_text(as_json(tables, about))
    (folder / "results.md").write_text(markdown)
    if not draw(tables, folder):
        print("no plot: pip install matplotlib", file=sys.stderr)
    print(markdown)
    print(f"results are in {folder}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
