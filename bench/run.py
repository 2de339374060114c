"""Throughput, CPU and memory of s3reader next to other clients and to bare loops in C.

    python bench/run.py                     everything, five rounds, about an hour
    python bench/run.py --quick             smaller objects, under two minutes
    python bench/run.py --case readinto --peer boto3
    python bench/run.py --write-docs        and put the results into bench/results and documents;
                                            with --case, in place of what is there of that case

Starts nginx on loopback with generated objects (plain, with TLS, and shaped like S3), runs every
contender in turn in fresh processes, and stops it. Results go to ``--output`` as results.json,
results.md, bench.png, bench.svg and summary.png; after each round, so that an interrupted run
leaves what it has.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import datetime
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from case import Case
from cases import BY_NAME, CASES
from contenders import CONTENDERS, Contender
from floors import FloorMissing, Floors
from measure import CHECKPOINT_TRIAL, Bench, roster, run_round
from objects import BUCKET, FULL, QUICK, DiskTooSmall, Sizes, check_room, generate, keep_cached
from publish import ROUNDS, publish, store
from results import failures, machine, save, table_of, versions
from scores import FLOOR, OWN, Table
from serving import SHAPED, Nginx, NginxEnded, ServerMissing, measure_shape

QUICK_SECONDS = 85.0
"""No further case begins with `--quick` after this; what is left of two minutes is for the plot,
and for the case under way."""

PEERS = sorted({contender.peer for contender in CONTENDERS} - {FLOOR, OWN})


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="small objects, one contender a library; one round, cut off in time, unless --rounds",
    )
    parser.add_argument(
        "--case", action="append", choices=sorted(BY_NAME), help="only this one; may be repeated"
    )
    parser.add_argument(
        "--peer", action="append", choices=PEERS, help="only this peer; may be repeated"
    )
    parser.add_argument("--rounds", type=int, help=f"how often each contender runs ({ROUNDS})")
    parser.add_argument("--output", type=Path, default=Path("build/bench"), help="a folder")
    parser.add_argument(
        "--write-docs", action="store_true", help="store the results, and fill the documents"
    )
    options = parser.parse_args(arguments)
    fewer = options.quick or (options.rounds or ROUNDS) < ROUNDS
    if options.write_docs and (options.peer or fewer):
        parser.error(f"--write-docs is for all peers, full sizes and {ROUNDS} rounds")
    return options


def chosen_contenders(peers: list[str] | None, quick: bool) -> list[type[Contender]]:
    """Ours, the floors, and the peers asked for."""
    wanted = {FLOOR, OWN, *(PEERS if peers is None else peers)}
    chosen = [contender for contender in CONTENDERS if contender.peer in wanted]
    return [contender for contender in chosen if contender.quick or not quick]


class Progress:
    """The tables so far, on disk after every case of a round."""

    def __init__(
        self, tables: list[Table], about: dict[str, Any], output: Path, begun: float
    ) -> None:
        self.tables = tables
        self.about = about
        self._output = output
        self._begun = begun

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return time.monotonic() - self._begun

    def save(self) -> None:
        """Keep what there is."""
        self.about["seconds"] = round(self.seconds)
        self.about["versions"].update(versions(self.tables))
        save(self.tables, self.about, self._output)


def run_cases(
    bench: Bench, cases: Sequence[Case], progress: Progress, rounds: int, quick: bool
) -> None:
    """All rounds; with `quick`, ours and the floors first, and no more than there is time for."""
    for number in range(rounds):
        for later in (False, True) if quick else (None,):
            for case, table in zip(cases, progress.tables, strict=True):
                chosen = [
                    score
                    for score in table.scores
                    if later in (None, bool(case.checkpoint) or score.peer not in (FLOOR, OWN))
                ]
                if quick and progress.seconds > QUICK_SECONDS:
                    for score in chosen:
                        score.missing = score.missing or "not reached within --quick's time"
                    continue
                print(f"round {number + 1} of {rounds}: {case.name}", file=sys.stderr, flush=True)
                keep_cached(bench.root)
                run_round(bench, case, chosen, number)
                progress.about["settings"]["rounds"] = number + 1
                progress.save()
    progress.save()


def make_checkpoints(root: Path, sizes: Sizes, kinds: Collection[str]) -> None:
    """Have torch write them, in a process that takes torch's memory with it."""
    if not kinds:
        return
    wanted = [str(root / BUCKET), str(sizes.checkpoint_scale), *sorted(kinds)]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(CHECKPOINT_TRIAL), "--make", *wanted]
    )
    if done.returncode:
        print("no checkpoints: their cases will fail", file=sys.stderr)


def run(folder: Path, options: argparse.Namespace) -> Progress:
    """Servers, floors, objects, and all rounds."""
    begun = time.monotonic()
    sizes = QUICK if options.quick else FULL
    rounds = options.rounds or (1 if options.quick else ROUNDS)
    cases = [case for case in CASES if not options.case or case.name in options.case]
    root, work = folder / "root", folder / "work"
    work.mkdir()
    if not options.case:
        check_room(folder, sizes)
    floors = Floors(work)
    with contextlib.ExitStack() as stack:
        root.mkdir()
        servers = {
            kind: stack.enter_context(Nginx(root, work, kind))
            for kind in dict.fromkeys(case.server for case in cases)
        }
        source = generate(root, sizes, {case.needs for case in cases})
        make_checkpoints(root, sizes, {case.checkpoint for case in cases} - {""})
        bench = Bench(servers, floors, root, source, sizes)
        about: dict[str, Any] = {
            "date": datetime.date.today().isoformat(),
            "machine": machine(),
            "versions": {"nginx": next(iter(servers.values())).version},
            "settings": dataclasses.asdict(sizes) | {"rounds": 0},
        }
        if SHAPED in servers:
            shape = measure_shape(servers[SHAPED], sizes.large)
            about["shape"] = dataclasses.asdict(shape)
        chosen = chosen_contenders(options.peer, options.quick)
        tables = [table_of(case.name, roster(bench, case, chosen)) for case in cases]
        progress = Progress(tables, about, options.output, begun)
        try:
            run_cases(bench, cases, progress, rounds, options.quick and not options.rounds)
        except KeyboardInterrupt:
            print("interrupted: what was measured so far is kept", file=sys.stderr)
        return progress


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark; 1 when a contender failed or read wrong bytes, 2 when it cannot begin."""
    options = parse(arguments)
    # A kill must end nginx as Ctrl-C does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folder = Path(tempfile.mkdtemp(prefix="s3reader-bench-"))
    try:
        progress = run(folder, options)
    except (ServerMissing, NginxEnded, FloorMissing, DiskTooSmall) as error:
        print(error, file=sys.stderr)
        return 2
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if not publish(options.output):
        print("no plot: pip install matplotlib", file=sys.stderr)
    print((options.output / "results.md").read_text())
    if options.write_docs and not store(options.output):
        print(f"not stored: that takes {ROUNDS} rounds of full size", file=sys.stderr)
    failed = failures(progress.tables)
    for failure in failed:
        print(failure, file=sys.stderr)
    print(f"results are in {options.output}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
