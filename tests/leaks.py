"""Looks for memory that requests leave unreachable: ``python tests/leaks.py --build FOLDER``.

A child with the modules that `sanitizer` built makes requests of every kind and has LeakSanitizer
count what nobody refers to any more, in this library, in libcurl and in Python itself. The child is
run for so many requests and for ten times as many: what Python leaves once in its life is in both,
a leak of a request is ten times as much in the second. First a leak that is planted in each request
has to be found that way.

The requests are the hammer's (reads of all kinds, closes, cancellations, errors, retries, many
ranges, many objects) by several threads, hedged, with new clients now and then; `hammered` serves
them from a process of its own.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from unittest import mock

from sanitized_build import OPTIONS, Compiler, pick_compiler

SANITIZERS = ["address", "undefined"]
THREADS = 4
CLIENTS = 5  # that share the requests of one run, one after the other
PLANTED = """
#include <stdlib.h>
#include <string.h>
void forget(void) { memset(malloc(40), 1, 40); }
"""
PLANTED_SIZE = 40  # bytes
TOLERANCE = 0.5  # bytes a request: what one thread more or less of Python's own leaves


def make_requests(endpoint: str, count: int, planted: str) -> None:
    """In a child: make them, have what is unreachable counted, and end."""
    from lifecycle.hammer import Hammer
    from lifecycle.hammered import OBJECTS

    from s3reader import S3Client, S3ClientConfig

    forget: Callable[[], None] = ctypes.CDLL(planted).forget if planted else lambda: None

    class Planted(Hammer):
        def open(self, *arguments: object) -> tuple[object, bytes]:  # type: ignore[override]
            forget()
            return super().open(*arguments)  # type: ignore[arg-type]

    config = S3ClientConfig(
        part_size=4096, max_attempts=4, max_connections=8, unsigned=True, hedge=True
    )
    done = 0
    with mock.patch("s3reader.judge.random.random", return_value=0.0):  # retries come at once
        for number in range(CLIENTS):
            with S3Client("us-east-1", endpoint=endpoint, s3client_config=config) as client:
                hammer = Planted(client, OBJECTS, seed=number)
                done += hammer.run(THREADS, count // CLIENTS, 600)
                assert not hammer.wrong, hammer.wrong
                requests = sum(client.stats()["requests"].values())
    del hammer, client
    gc.collect()
    print(f"{done} operations, {requests * CLIENTS} requests", flush=True)
    ctypes.CDLL(None).__lsan_do_recoverable_leak_check()
    sys.stdout.flush()
    os._exit(0)


def unreachable(environ: dict[str, str], endpoint: str, count: int, planted: str = "") -> int:
    """Bytes that nobody refers to any more after so many operations."""
    command = [sys.executable, __file__, "--build", "", "--work", endpoint, str(count), planted]
    done = subprocess.run(command, env=environ, stderr=subprocess.PIPE, text=True, timeout=1500)
    if done.returncode != 0:
        sys.exit(f"the requests failed:\n{done.stderr[-4000:]}")
    summary = re.search(r"(\d+) byte\(s\) leaked in (\d+) allocation", done.stderr)
    if "LeakSanitizer has encountered a fatal error" in done.stderr:
        sys.exit(f"LeakSanitizer cannot stop the process to look at it:\n{done.stderr[-2000:]}")
    return int(summary[1]) if summary is not None else 0


def environment(compiler: Compiler, library: Path) -> dict[str, str]:
    return {
        **os.environ,
        **OPTIONS,
        "ASAN_OPTIONS": "detect_leaks=1:leak_check_at_exit=0:halt_on_error=1",
        "LSAN_OPTIONS": "max_leaks=5",
        "LD_PRELOAD": ":".join(str(each) for each in compiler.runtimes(SANITIZERS)),
        "PYTHONPATH": os.pathsep.join([str(library), str(Path(__file__).parent)]),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", type=Path, required=True, help="where sanitizer.py built to")
    parser.add_argument("--operations", type=int, default=2000, help="and ten times as many")
    parser.add_argument("--work", nargs=3, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.work:
        endpoint, count, planted = chosen.work
        make_requests(endpoint, int(count), planted)
    from lifecycle.hammered import serving

    compiler = pick_compiler(SANITIZERS)
    environ = environment(compiler, chosen.build)
    few, many = chosen.operations, 10 * chosen.operations
    with tempfile.TemporaryDirectory() as folder, serving() as endpoint:
        library = Path(folder, "planted.so")
        compiler.compile_library(PLANTED, ",".join(SANITIZERS), library)
        before = unreachable(environ, endpoint, few)
        caught = unreachable(environ, endpoint, few, str(library)) - before
        if caught < PLANTED_SIZE * few / 2:
            sys.exit(f"LeakSanitizer missed a planted leak: {caught} bytes more were unreachable")
        print(f"LeakSanitizer: caught {caught} bytes that were planted", flush=True)
        after = unreachable(environ, endpoint, many)
    print(
        f"unreachable after {few} operations: {before} bytes, after {many}: {after} bytes; "
        f"{(after - before) / (many - few):.3f} bytes for each",
        flush=True,
    )
    return int(after - before > TOLERANCE * (many - few))


if __name__ == "__main__":
    sys.exit(main())
