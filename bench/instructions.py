"""Whether work grows with the number of connections or parts: instructions, counted by callgrind.

    python bench/instructions.py            a few minutes
    python bench/instructions.py --store     and keep it in bench/results, for the documents

Clocks tell little on a busy machine; instructions are the same on each. Each point is two runs
that differ only in how much they read. The difference, divided by what the second read more, is
free of the interpreter's start and of everything else that happens once. valgrind counts the
process's own instructions: the kernel's share, copying and polling, shows in the CPU seconds of
the cases `growth-*`.

valgrind runs one thread at a time, and everything much slower than the server. So each wait finds
many connections ready, which is how a loaded client works.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from measure import ENVIRONMENT
from objects import BUCKET, KIB, LARGE, MIB, TINY, TINY_SIZE, Sizes, generate
from publish import INSTRUCTIONS, STORED
from serving import Nginx

_COLLECTED = re.compile(r"Collected\s*:\s*(\d+)")

SIZE = 32 * MIB
CONNECTIONS = (1, 16, 256)
PARTS = (4, 32, 256)
FEW, MANY = 512, 1536
"""Objects that the two runs of a point of connections read; both more than there are connections,
so that each is open in both."""

_TUNABLES = ":".join(f"glibc.cpu.x86_rep_{name}_threshold={1 << 40}" for name in ("movsb", "stosb"))
"""Has the C library copy by vector instructions: valgrind counts each byte of the processor's own
copy instruction as one."""

OBJECTS = """
import sys
import numpy, s3reader
endpoint, bucket, key, size, count, connections = sys.argv[1:]
rows = numpy.zeros((int(count), int(size)), numpy.uint8)
config = s3reader.S3ClientConfig(max_connections=int(connections))
with s3reader.S3Client("us-east-1", endpoint=endpoint, s3client_config=config) as client:
    for row in client.read_many(bucket, [key] * int(count), into=rows):
        assert row.error is None
"""

WHOLE = """
import sys
import numpy, s3reader
endpoint, bucket, key, size, parts, times = sys.argv[1:]
memory = numpy.zeros(int(size), numpy.uint8)
config = s3reader.S3ClientConfig(part_size=int(size) // int(parts), max_connections=4)
with s3reader.S3Client("us-east-1", endpoint=endpoint, s3client_config=config) as client:
    for _ in range(int(times)):
        assert client.get_object(bucket, key).readinto(memory) == len(memory)
"""


def count(program: str, *arguments: object) -> int:
    """Instructions of the whole process that runs the program."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            "valgrind",
            "--tool=callgrind",
            f"--callgrind-out-file={folder}/out",
            sys.executable,
            "-c",
            program,
            *map(str, arguments),
        ]
        environment = os.environ | ENVIRONMENT
        environment |= {"OPENBLAS_NUM_THREADS": "1", "GLIBC_TUNABLES": _TUNABLES}
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
    found = _COLLECTED.search(done.stderr)
    if done.returncode or not found:
        raise RuntimeError(f"valgrind failed:\n{done.stderr[-2000:]}")
    return int(found[1])


def of_connections(endpoint: str) -> Iterator[tuple[int, float]]:
    """Connections, and instructions of one more small object."""
    for connections in CONNECTIONS:
        few, many = (
            count(OBJECTS, endpoint, BUCKET, TINY, TINY_SIZE, each, connections)
            for each in (FEW, MANY)
        )
        yield connections, (many - few) / (MANY - FEW)


def of_parts(endpoint: str) -> Iterator[tuple[int, float, float]]:
    """Parts, and instructions of one more part and of one more byte when it is read once more."""
    for parts in PARTS:
        once, thrice = (count(WHOLE, endpoint, BUCKET, LARGE, SIZE, parts, t) for t in (1, 3))
        more = (thrice - once) / 2
        yield parts, more / parts, more / SIZE


def measure(endpoint: str) -> Iterator[str]:
    """Lines of a Markdown document."""
    yield "| connections | instructions per object of 1 KiB |"
    yield "| ---: | ---: |"
    for connections, each in of_connections(endpoint):
        yield f"| {connections} | {each:,.0f} |"
    yield ""
    yield f"| parts of {SIZE // MIB} MiB | size | instructions per part | per byte |"
    yield "| ---: | ---: | ---: | ---: |"
    for parts, each, byte in of_parts(endpoint):
        yield f"| {parts} | {SIZE // parts // KIB} KiB | {each:,.0f} | {byte:.4f} |"


def main() -> int:
    """Count and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--store", action="store_true", help="keep the figures for the documents")
    options = parser.parse_args()
    if shutil.which("valgrind") is None:
        print("valgrind is missing: apt-get install valgrind", file=sys.stderr)
        return 2
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        root, work = Path(folder, "root"), Path(folder, "work")
        work.mkdir()
        generate(root, Sizes(large=SIZE, small_count=0), ())
        with Nginx(root, work) as server:
            for line in measure(server.endpoint):
                print(line, flush=True)
                lines.append(line)
    if options.store:
        STORED.mkdir(exist_ok=True)
        (STORED / INSTRUCTIONS).write_text("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
