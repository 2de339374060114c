"""Loading distributed checkpoints: s3reader, s3torchconnector, and torch from the page cache.

    python bench/checkpoints.py             1 GB, 20 000 small tensors, every tenth of 10 GB
    python bench/checkpoints.py --quick     a tenth of it, one round

Starts nginx on loopback with checkpoints that torch wrote, loads each with every contender in turn
in fresh processes, compares every tensor afterwards, and prints a table of medians. The last case
is four ranks that each want all of it, with and without cooperation; it counts the server's work.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from measure import ENVIRONMENT
from objects import BUCKET
from serving import PLAIN, SHAPED, Nginx
from trial import Memory

CONTENDERS = ("torch", "s3reader", "s3reader unverified", "s3torchconnector")
TOGETHER = ("s3reader", "s3reader cooperative")
RANKS = 4
PART = 8 * 1024 * 1024
"""Bytes of a request at most."""
NEAR = 2 * 1024 * 1024
"""Bytes between items that are cheaper to fetch than to ask for the next item by itself."""


def sizes(case: str, scale: float) -> list[int]:
    """Elements of float32 of each tensor."""
    if case == "small":
        random = torch.Generator().manual_seed(1)
        counts: list[int] = torch.randint(256, 16384, (int(20_000 * scale),), generator=random)
        return [int(count) for count in counts]
    if case == "sparse":
        return [1 << 20] * int(2500 * scale)
    return [8 << 20] * max(4, int(32 * scale))


def wanted(case: str, scale: float) -> Iterator[tuple[str, int, float]]:
    """Name, length and value of the tensors that are loaded."""
    for number, count in enumerate(sizes(case, scale)):
        if case != "sparse" or number % 10 == 0:
            yield f"t{number}", count, float(number % 1000 + 1)


def make(folder: Path, case: str, scale: float) -> None:
    """Save a checkpoint. Tensors of one value: what they hold costs a reader nothing."""
    state = {
        # One element seen many times, which torch copies when it is this tensor's turn.
        f"t{number}": torch.full((1,), float(number % 1000 + 1)).expand(count)
        for number, count in enumerate(sizes(case, scale))
    }
    dcp.save(state, checkpoint_id=folder, no_dist=True)


def reader_of(contender: str, root: str, endpoint: str, case: str) -> Any:
    """A contender's storage reader."""
    uri = f"s3://{BUCKET}/{case}"
    if contender == "torch":
        return dcp.FileSystemReader(f"{root}/{BUCKET}/{case}")
    if contender == "s3torchconnector":
        from s3torchconnector import S3ClientConfig
        from s3torchconnector.dcp import S3StorageReader as Theirs

        os.environ["AWS_ENDPOINT_URL"] = endpoint
        return Theirs("us-east-1", uri, S3ClientConfig(force_path_style=True))
    from s3reader.dcp import S3StorageReader

    return S3StorageReader(
        "us-east-1",
        uri,
        endpoint=endpoint,
        verify="unverified" not in contender,
        cooperative="cooperative" in contender,
    )


def load(contender: str, root: str, endpoint: str, case: str, scale: float) -> dict[str, Any]:
    """One run in this process."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    rank = int(os.environ.get("RANK", "-1"))
    if rank >= 0:
        os.environ["GLOO_SOCKET_IFNAME"] = "lo"
        method = f"file://{os.environ['STORE']}"
        dist.init_process_group("gloo", method, rank=rank, world_size=RANKS)
    # Whatever torch imports and sets up at its first load.
    name, count, _ = next(wanted(case, scale))
    local = dcp.FileSystemReader(f"{root}/{BUCKET}/{case}")
    dcp.load({name: torch.zeros(count)}, storage_reader=local, no_dist=True)
    reader = reader_of(contender, root, endpoint, case)
    # Touched: the pages of new memory would cost every contender the same.
    state = {name: torch.full((count,), -1.0) for name, count, _ in wanted(case, scale)}
    reading = timed_reading(reader)
    if rank >= 0:
        dist.barrier()
    memory = Memory()
    before = resource.getrusage(resource.RUSAGE_SELF)
    begun = time.perf_counter()
    dcp.load(state, storage_reader=reader, no_dist=rank < 0)
    wall = time.perf_counter() - begun
    after = resource.getrusage(resource.RUSAGE_SELF)
    extra = memory.peak()
    for name, _, value in wanted(case, scale):
        if not state[name].eq(value).all():
            raise AssertionError(f"{contender}: {name} is not what was saved")
    stats = reader.stats() if hasattr(reader, "stats") else {}
    if rank >= 0:
        dist.barrier()
        dist.destroy_process_group()
    return {
        "wall": wall,
        "cpu": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "extra": extra,
        "bytes": sum(tensor.nbytes for tensor in state.values()),
        "received": stats.get("bytes_received"),
        # The rest is torch's: reading the metadata and planning, which nobody is spared.
        "reading": reading[0],
        "requests_needed": requests_needed(local, state),
    }


def timed_reading(reader: Any) -> list[float]:
    """Where the seconds will stand that a storage reader takes to carry out its plan."""
    seconds = [0.0]
    read_data = reader.read_data

    def timed(plan: Any, planner: Any) -> Any:
        begun = time.perf_counter()
        done = read_data(plan, planner)
        seconds[0] = time.perf_counter() - begun
        return done

    reader.read_data = timed
    return seconds


def requests_needed(local: Any, names: Collection[str]) -> int:
    """Requests of 8 MiB at most for the wanted items, neighbours together, and for the metadata."""
    stored = local.read_metadata().storage_data
    ranges = sorted(
        (info.relative_path, info.offset, info.offset + info.length)
        for index, info in stored.items()
        if index.fqn in names
    )
    lengths: list[int] = []
    previous: tuple[str, int, int] | None = None
    for file, start, stop in ranges:
        if previous and previous[0] == file and start - previous[2] <= NEAR:
            lengths[-1] += stop - previous[2]
        else:
            lengths.append(stop - start)
        previous = file, start, stop
    return 1 + sum(-(-length // PART) for length in lengths)


def run(arguments: list[Any], ranks: int, folder: Path) -> list[dict[str, Any]]:
    """One run in a process of its own, or one of several ranks."""
    command = [sys.executable, __file__, "--load", json.dumps(arguments)]
    store = folder / f"store-{time.monotonic_ns()}"
    processes = []
    for rank in range(ranks) if ranks else [-1]:
        place = {"RANK": str(rank), "STORE": str(store)} if ranks else {}
        environment = os.environ | ENVIRONMENT | place
        processes.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE))
    results = [process.communicate(timeout=600)[0] for process in processes]
    if any(process.returncode for process in processes):
        raise RuntimeError(f"{arguments[0]} failed")
    return [json.loads(result.splitlines()[-1]) for result in results]


def measure(folder: Path, scale: float, rounds: int, cases: list[str], shaped: bool) -> None:
    """All cases; prints a table."""
    root = folder / "root"
    (folder / "work").mkdir()
    for case in {case.partition(" ")[0] for case in cases}:
        make(root / BUCKET / case, case, scale)
    print("| case | contender | GB/s | CPU s/GB | planning s | MB beside | requests | of | bytes |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    with Nginx(root, folder / "work", SHAPED if shaped else PLAIN) as server:
        for case in cases:
            kind, _, together = case.partition(" ")
            ranks = RANKS if together else 0
            contenders = TOGETHER if ranks else CONTENDERS
            runs: dict[str, list[dict[str, Any]]] = {name: [] for name in contenders}
            for number in range(rounds):
                for name in contenders[number % 2 :] + contenders[: number % 2]:
                    position = server.log_position()
                    arguments = [name, str(root), server.endpoint, kind, scale]
                    done = run(arguments, ranks, folder)
                    total = {key: sum(one[key] or 0 for one in done) for key in done[0]}
                    total["wall"] = max(one["wall"] for one in done)
                    total["requests"] = server.traffic_since(position).requests
                    total["needed"] = done[0]["bytes"]
                    total["requests_needed"] = done[0]["requests_needed"]
                    total["planning"] = max(one["wall"] - one["reading"] for one in done)
                    runs[name].append(total)
            for name, results in runs.items():
                print(row(case, name, results), flush=True)


def row(case: str, name: str, results: list[dict[str, Any]]) -> str:
    """A line of the table."""

    def median(figure: str) -> float:
        return statistics.median(result[figure] for result in results)

    gigabytes = median("bytes") / 1e9
    fetched = median("received") / median("needed")
    needed = median("requests_needed")
    return (
        f"| {case} | {name} | {gigabytes / median('wall'):.2f} | {median('cpu') / gigabytes:.2f} "
        f"| {median('planning'):.2f} "
        f"| {median('extra') / 1e6:.0f} | {median('requests'):.0f} | {needed:.0f} "
        f"| {f'{fetched:.3f}' if fetched else '-'} |"
    )


def main() -> None:
    """Measure, or be one run."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the bytes, one round")
    parser.add_argument("--rounds", type=int, help="how often each contender loads (3)")
    parser.add_argument("--case", action="append", help="large, small, sparse or 'large together'")
    parser.add_argument("--shaped", action="store_true", help="from a server shaped like S3")
    parser.add_argument("--load", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.load:
        print(json.dumps(load(*json.loads(options.load))))
        return
    warnings.simplefilter("ignore")
    folder = Path(tempfile.mkdtemp(prefix="s3reader-bench-"))
    try:
        folder.chmod(0o755)
        cases = options.case or ["large", "small", "sparse", "large together"]
        rounds = options.rounds or (1 if options.quick else 3)
        measure(folder, 0.1 if options.quick else 1.0, rounds, cases, options.shaped)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
