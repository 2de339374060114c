"""Many small requests, whose memory must not add up: ``python tests/soak.py --help``.

Threads share a client and read small objects of an nginx that this script starts, each with a
reader of its own; one request in ten is refused with 404 and one in ten is a HEAD. Resident memory
is looked at after a warm-up and at the end; the difference must stay below a limit. It counts open
files and threads, too.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import os
import sys
import tempfile
import threading
import time
from pathlib import Path

from servers.nginx import Nginx, nginx_binary

from s3reader import ObjectNotFoundError, S3Client, S3ClientConfig

THREADS = 4
OBJECT = bytes(range(256)) * 16
WARM_UP = 0.1  # share of the requests before the first look
LOOKS = 10
PAGE = os.sysconf("SC_PAGE_SIZE")


def resident() -> int:
    """Bytes of memory that this process has resident."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


class Work:
    """Requests by several threads until so many were made or time is up."""

    def __init__(self, client: S3Client, deadline: float) -> None:
        self._client = client
        self._deadline = deadline
        self._numbers = itertools.count()
        self._failures: list[BaseException] = []
        self.done = 0

    def until(self, count: int) -> bool:
        """Go on until ``count`` requests in all; False if time was up before."""
        threads = [threading.Thread(target=self._run, args=(count,)) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self._failures:
            raise self._failures[0]
        return self.done >= count

    def _run(self, count: int) -> None:
        try:
            while self.done < count and time.monotonic() < self._deadline:
                for _ in range(100):
                    self._request(next(self._numbers))
                self.done += 100  # may miss some of another thread's: good enough to stop by
        except BaseException as error:
            self._failures.append(error)

    def _request(self, number: int) -> None:
        if number % 10 == 3:
            try:
                self._client.get_object("soak", "missing").read()
            except ObjectNotFoundError:
                return
            raise AssertionError("read what is not there")
        if number % 10 == 7:
            assert self._client.head_object("soak", "object").size == len(OBJECT)
            return
        with self._client.get_object("soak", "object") as reader:
            at = number % 3000
            reader.seek(at)
            assert reader.read(100) == OBJECT[at : at + 100]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=900, help="most that it may take")
    parser.add_argument("--limit", type=float, default=2.0, help="MB of growth allowed")
    arguments = parser.parse_args()
    began = time.monotonic()
    with (
        tempfile.TemporaryDirectory() as folder,
        Nginx(nginx_binary(os.environ), Path(folder)) as nginx,
        S3Client(
            "us-east-1", endpoint=nginx.endpoint, s3client_config=S3ClientConfig(unsigned=True)
        ) as client,
    ):
        nginx.put("soak", "object", OBJECT)
        work = Work(client, began + arguments.seconds)
        on = work.until(int(arguments.requests * WARM_UP))
        first, files = resident(), open_files()
        looks = [first]
        for look in range(1, LOOKS + 1):
            share = WARM_UP + (1 - WARM_UP) * look / LOOKS
            on = on and work.until(int(arguments.requests * share))
            looks.append(resident())
            print(
                f"{work.done:8} requests, {time.monotonic() - began:6.0f} s: "
                f"{looks[-1] / 1e6:.2f} MB resident, {open_files()} files",
                flush=True,
            )
            if not on:
                break
        made = sum(client.stats()["requests"].values())
        more_files = open_files() - files
    grown = (looks[-1] - first) / 1e6
    print(
        f"{made} requests in {time.monotonic() - began:.0f} s: {grown:+.2f} MB since the first "
        f"{int(arguments.requests * WARM_UP)}, {more_files:+} files, "
        f"{threading.active_count()} thread left"
    )
    return int(grown > arguments.limit or more_files > THREADS or threading.active_count() > 1)


if __name__ == "__main__":
    sys.exit(main())
