"""Throughput of small reads before, under and after throttling: ``python tests/throttled.py``.

An nginx that this script starts answers requests above a rate with 503, for a while. Threads read
small objects all the time. Told is what came through, how many requests were sent for each needed
one, how many transfers ran at once, and how long after the limit was lifted a second came that was
over 90 % of what was before.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import threading
import time
from pathlib import Path

from servers.nginx import Nginx, nginx_binary

from s3reader import S3Client, S3ClientConfig

THREADS = 8
OBJECT = bytes(8192)
RECOVERED = 0.9
TICK = 0.25  # seconds between two looks
AT_ONCE = 4  # ticks that throughput is averaged over


class Readers:
    """Threads that read until they are stopped; `reads` counts what came through."""

    def __init__(self, client: S3Client) -> None:
        self.reads = 0
        self._client = client
        self._stop = threading.Event()
        self._failures: list[BaseException] = []
        self._threads = [threading.Thread(target=self._run) for _ in range(THREADS)]
        for thread in self._threads:
            thread.start()

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                with self._client.get_object("throttled", "object") as reader:
                    assert reader.read() == OBJECT
                self.reads += 1
        except BaseException as error:
            self._failures.append(error)

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        if self._failures:
            raise self._failures[0]

    def watch(self, seconds: float, enough: float = float("inf")) -> tuple[float, float]:
        """Reads a second over the last moments, and after how many seconds they were ``enough``."""
        began = time.monotonic()
        looks = [(began, self.reads)]
        rate = 0.0
        while time.monotonic() - began < seconds:
            time.sleep(TICK)
            looks.append((time.monotonic(), self.reads))
            (then, before), (now, reads) = looks[-AT_ONCE - 1 :][0], looks[-1]
            rate = (reads - before) / (now - then)
            if len(looks) > AT_ONCE and rate >= enough:
                break
        return rate, time.monotonic() - began


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=int, default=300, help="requests a second under throttling")
    parser.add_argument("--seconds", type=float, default=8, help="of throttling")
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        Nginx(nginx_binary(os.environ), Path(folder), rate=arguments.rate) as nginx,
        S3Client(
            "us-east-1", endpoint=nginx.endpoint, s3client_config=S3ClientConfig(unsigned=True)
        ) as client,
    ):
        nginx.put("throttled", "object", OBJECT)
        fetcher = client._session.fetcher
        readers = Readers(client)
        free, _ = readers.watch(4)
        most = fetcher.limit
        nginx.throttle(True)
        readers.watch(1)  # a client learns the limit from refusals
        sent, done = client.stats()["requests"]["GetObject"], readers.reads
        borne, _ = readers.watch(arguments.seconds)
        sent = client.stats()["requests"]["GetObject"] - sent
        done = readers.reads - done
        least = fetcher.limit
        nginx.throttle(False)
        _, took = readers.watch(20, RECOVERED * free)
        readers.stop()
    ratio = sent / max(done, 1)
    print(
        f"unthrottled {free:.0f} reads/s; limited to {arguments.rate}: {borne:.0f} reads/s, "
        f"{ratio:.2f} requests for each, {least} transfers at once in place of {most}; "
        f"over {RECOVERED:.0%} again {took:.1f} s after the limit was lifted"
    )
    return int(took > 10 or ratio >= 1.5 or least >= most)


if __name__ == "__main__":
    sys.exit(main())
