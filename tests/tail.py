"""The slowest of many ranged reads, with and without hedging: ``python tests/tail.py --help``.

A server in a process of its own keeps one answer in a hundred back for a second. Threads share a
client and read ranges; told are the times of the median, of one read in a hundred and of one in a
thousand, and how many requests more hedging sent. One in a thousand must come at least five times
sooner, for at most three requests in a hundred more.
"""

from __future__ import annotations

import argparse
import random
import sys
import threading
import time
from dataclasses import dataclass, replace

from lifecycle.hammered import serving
from servers.faults import pattern
from servers.scripted import Reply, Request, object_script

from s3reader import S3Client, S3ClientConfig, S3ReaderConstructor

DATA = pattern(1 << 20)
READ = 16 * 1024  # bytes of one
THREADS = 16
LATE = 0.01  # share of the answers
DELAY = 1.0  # seconds
SOONER = 5.0
MORE = 0.03
UNBUFFERED = S3ReaderConstructor.range_based(0)

answer = object_script(DATA)


def at_times_late(request: Request) -> Reply:
    reply = answer(request)
    return replace(reply, delay=DELAY) if random.random() < LATE else reply


@dataclass
class Measured:
    """Seconds that reads took, from the quickest to the slowest, and requests for each."""

    seconds: list[float]
    requests: float

    def slowest(self, share: float) -> float:
        return self.seconds[-max(1, int(len(self.seconds) * share))]

    def __str__(self) -> str:
        return (
            f"p50 {1e3 * self.slowest(0.5):.1f} ms, p99 {1e3 * self.slowest(0.01):.1f} ms, p99.9 "
            f"{1e3 * self.slowest(0.001):.1f} ms, {self.requests:.3f} requests for each read"
        )


def measure(endpoint: str, count: int, hedge: bool) -> Measured:
    config = S3ClientConfig(unsigned=True, max_connections=2 * THREADS, hedge=hedge)
    seconds: list[float] = []
    failures: list[BaseException] = []
    with S3Client("us-east-1", endpoint=endpoint, s3client_config=config) as client:

        def read(number: int) -> None:
            draw = random.Random(number)
            try:
                for _ in range(count // THREADS):
                    at = draw.randrange(len(DATA) - READ)
                    reader = client.get_object("bucket", "key", reader_constructor=UNBUFFERED)
                    with reader:
                        reader.seek(at)
                        began = time.monotonic()
                        assert reader.read(READ) == DATA[at : at + READ]
                        seconds.append(time.monotonic() - began)
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=read, args=(number,)) for number in range(THREADS)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        told = client.stats()
    if failures:
        raise failures[0]
    requests = told["requests"]["GetObject"] + told["hedges"]
    return Measured(sorted(seconds), requests / len(seconds))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reads", type=int, default=20_000)
    arguments = parser.parse_args()
    with serving(at_times_late) as endpoint:
        plain = measure(endpoint, arguments.reads, hedge=False)
        print(f"{arguments.reads} reads, not hedged: {plain}", flush=True)
        hedged = measure(endpoint, arguments.reads, hedge=True)
    sooner = plain.slowest(0.001) / hedged.slowest(0.001)
    more = hedged.requests / plain.requests - 1
    print(f"{arguments.reads} reads, hedged: {hedged}")
    print(f"p99.9 {sooner:.1f} times sooner, for {more:.1%} more requests")
    return int(sooner < SOONER or more > MORE)


if __name__ == "__main__":
    sys.exit(main())
