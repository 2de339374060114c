"""Many threads that use one client for everything at once, and look at every byte they get.

Each operation draws what it does: reads of every kind, poisoned destinations, readers closed while
another thread reads, cancelled prefetches, objects that fail, listings and heads. What went wrong
is collected, never raised in a thread where nobody would see it.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from s3reader import S3Client, S3Exception, S3ReaderConstructor

POISON = 0xEE
RANGED = S3ReaderConstructor.range_based(4096)
UNBUFFERED = S3ReaderConstructor.range_based(0)


class Hammer:
    """Runs operations until a number of them is done or the time is up.

    Args:
        client: shared by all threads.
        objects: the good ones' bytes, by key; keys that begin with "bad" fail.
        seed: of what is drawn; a thread's own is derived from it.
    """

    def __init__(self, client: S3Client, objects: dict[str, bytes], seed: int) -> None:
        self.client = client
        self.objects = objects
        self.seed = seed
        self.done: Counter[str] = Counter()
        self.wrong: list[str] = []
        self._keys = sorted(objects)
        self._lock = threading.Lock()
        self._stop = threading.Event()

    def run(self, threads: int, operations: int, seconds: float) -> int:
        """How many operations were done."""
        until = time.monotonic() + seconds
        share = -(-operations // threads)
        workers = [
            threading.Thread(target=self._work, args=(number, share, until))
            for number in range(threads)
        ]
        for each in workers:
            each.start()
        for each in workers:
            each.join(seconds + 60)
        assert not any(each.is_alive() for each in workers), "a thread hangs"
        return sum(self.done.values())

    def _work(self, number: int, share: int, until: float) -> None:
        draw = random.Random(self.seed * 1000 + number)
        counted: Counter[str] = Counter()
        kinds: list[tuple[str, Callable[[random.Random], Any]]] = [
            ("read", self.read),
            ("readinto", self.readinto),
            ("small reads", self.small_reads),
            ("ranged", self.ranged),
            ("close half-read", self.close_half_read),
            ("close while read", self.close_while_read),
            ("cancel prefetch", self.cancel_prefetch),
            ("error", self.error),
            ("head", self.head),
            ("many ranges", self.many_ranges),
            ("many objects", self.many_objects),
        ]
        weights = [20, 20, 15, 20, 10, 2, 8, 4, 1, 5, 2]
        for _ in range(share):
            if self._stop.is_set() or time.monotonic() > until:
                break
            ((name, operation),) = draw.choices(kinds, weights)
            try:
                operation(draw)
            except BaseException as error:
                self.tell(f"{name}: {error!r}")
            counted[name] += 1
        with self._lock:
            self.done.update(counted)

    def tell(self, what: str) -> None:
        with self._lock:
            self.wrong.append(what)
        if len(self.wrong) > 20:
            self._stop.set()

    def open(self, draw: random.Random, constructor: Any = None) -> tuple[Any, bytes]:
        key = draw.choice(self._keys)
        return self.client.get_object("bucket", key, reader_constructor=constructor), self.objects[
            key
        ]

    def read(self, draw: random.Random) -> None:
        reader, data = self.open(draw)
        with reader:
            if reader.read() != data:
                self.tell(f"read {reader.key}: other bytes")

    def readinto(self, draw: random.Random) -> None:
        """A destination is right, and nobody's but the caller's once the call has returned."""
        reader, data = self.open(draw, draw.choice([None, RANGED, UNBUFFERED]))
        buffer = bytearray([POISON]) * (len(data) + 64)
        with reader:
            count = reader.readinto(memoryview(buffer)[32 : 32 + draw.randint(1, len(data))])
            if buffer[32 : 32 + count] != data[:count]:
                self.tell(f"readinto {reader.key}: other bytes")
            if buffer[:32].count(POISON) != 32 or buffer[32 + count :].strip(bytes([POISON])):
                self.tell(f"readinto {reader.key}: bytes outside")
        self.stays(buffer)

    def stays(self, buffer: bytearray) -> None:
        buffer[:] = bytes([POISON]) * len(buffer)
        time.sleep(0)
        if buffer.count(POISON) != len(buffer):
            self.tell("a buffer was written to after its call")

    def small_reads(self, draw: random.Random) -> None:
        reader, data = self.open(draw)
        with reader:
            for _ in range(draw.randint(1, 20)):
                at = draw.randrange(len(data))
                reader.seek(at)
                size = draw.randint(1, 300)
                if reader.read(size) != data[at : at + size]:
                    self.tell(f"small read {reader.key} at {at}: other bytes")

    def ranged(self, draw: random.Random) -> None:
        reader, data = self.open(draw, draw.choice([RANGED, UNBUFFERED]))
        with reader:
            for _ in range(draw.randint(1, 3)):
                at = draw.randrange(len(data))
                reader.seek(at)
                size = draw.randint(1, 9000)
                if reader.read(size) != data[at : at + size]:
                    self.tell(f"ranged {reader.key} at {at}: other bytes")

    def close_half_read(self, draw: random.Random) -> None:
        reader, data = self.open(draw)
        size = draw.randint(1, 5000)
        if reader.read(size) != data[:size]:
            self.tell(f"half-read {reader.key}: other bytes")
        reader.close()

    def close_while_read(self, draw: random.Random) -> None:
        """Another thread closes what this one reads into a buffer."""
        reader, data = self.open(draw, UNBUFFERED)
        buffer = bytearray([POISON]) * len(data)
        closer = threading.Timer(draw.random() * 0.002, reader.close)
        closer.start()
        try:
            count = reader.readinto(buffer)
            if buffer[:count] != data[:count]:
                self.tell(f"closed while read {reader.key}: other bytes")
        except (ValueError, S3Exception):
            pass  # it was closed, in whichever moment
        self.stays(buffer)
        closer.join()

    def cancel_prefetch(self, draw: random.Random) -> None:
        reader, _ = self.open(draw)
        reader.prefetch()
        if draw.random() < 0.5:
            reader.close()

    def error(self, draw: random.Random) -> None:
        key = draw.choice(["bad/404", "bad/403", "bad/reset", "bad/short", "bad/changed"])
        reader = self.client.get_object("bucket", key, reader_constructor=UNBUFFERED)
        buffer = bytearray([POISON]) * 9000
        try:
            with reader:
                reader.readinto(buffer)
            self.tell(f"{key} gave bytes")
        except S3Exception:
            pass  # what it is for
        self.stays(buffer)

    def many_ranges(self, draw: random.Random) -> None:
        """Each to a buffer of its own, which is nobody else's afterwards."""
        reader, data = self.open(draw, UNBUFFERED)
        wanted = []
        for _ in range(draw.randint(1, 6)):
            start = draw.randrange(len(data))
            length = draw.randint(1, min(900, len(data) - start))
            wanted.append((start, bytearray([POISON]) * length))
        with reader:
            reader.readinto_ranges(wanted)
        for start, buffer in wanted:
            if buffer != data[start : start + len(buffer)]:
                self.tell(f"many ranges of {reader.key} at {start}: other bytes")
            self.stays(buffer)

    def many_objects(self, draw: random.Random) -> None:
        """Some of which cannot be had; at times the rest is left."""
        keys = [*draw.choices(self._keys, k=draw.randint(1, 5)), "bad/404"]
        draw.shuffle(keys)
        leaves = draw.random() < 0.3
        for each in self.client.read_many("bucket", keys, errors="return"):
            if each.key == "bad/404":
                if each.error is None:
                    self.tell("many objects: bad/404 gave bytes")
            elif each.data != self.objects[each.key]:
                self.tell(f"many objects, {each.key}: other bytes")
            if leaves:
                break

    def head(self, draw: random.Random) -> None:
        key = draw.choice(self._keys)
        if self.client.head_object("bucket", key).size != len(self.objects[key]):
            self.tell(f"head {key}: another size")
