"""What child processes of tests run: importable by name, whatever way the child was started."""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
import zlib
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from s3reader import S3Client, S3ClientConfig, S3ReaderConstructor

CHILD_TIMEOUT = 60  # seconds


def answer(connection: Connection, task: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    """Run a task in a child; send whether it worked, and its result or what went wrong."""
    try:
        connection.send((True, task(*arguments)))
    except BaseException:
        connection.send((False, traceback.format_exc()))
    connection.close()


def run(context: Any, task: Callable[..., Any], *arguments: Any) -> Any:
    """The result of ``task(*arguments)`` in a child process that a context starts.

    Raises:
        AssertionError: it failed or hung there; the message is the child's traceback.
    """
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=answer, args=(there, task, arguments))
    process.start()
    there.close()
    try:
        assert here.poll(CHILD_TIMEOUT), "the child process hangs"
        worked, result = here.recv()
    finally:
        process.join(5)
        alive = process.is_alive()
        if alive:
            process.kill()
            process.join()
        here.close()
        code = process.exitcode
        process.close()
    assert worked, result
    assert not alive, "the child process does not end"
    assert code == 0, f"the child process ended with {code}"
    return result


def fork_and_run(task: Callable[[], bool]) -> None:
    """Run a task in a bare fork of this very process, other threads in the middle of their work.

    Raises:
        AssertionError: it gave False, raised, hung or crashed.
    """
    child = os.fork()
    if child == 0:
        status = 1
        try:
            signal.alarm(CHILD_TIMEOUT)
            status = 0 if task() else 2
        except BaseException:
            traceback.print_exc(file=sys.__stderr__)
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    assert status == 0, f"the forked process ended with {os.waitstatus_to_exitcode(status)}"


# The tasks.


def read(reader: Any) -> bytes:
    """The rest of a reader."""
    with reader:
        return bytes(reader.read())


def read_from(client: Any, bucket: str, key: str, constructor: Any = None) -> bytes:
    """An object, by a client."""
    data = bytes(client.get_object(bucket, key, reader_constructor=constructor).read())
    client.close()
    return data


def read_stream(get_stream: Any, start: int, end: int) -> bytes:
    """A range, by a reader's ``get_stream``."""
    return b"".join(bytes(chunk) for chunk in get_stream(start, end))


def keys_of(pages: Any) -> list[str]:
    """The keys of a listing's remaining pages."""
    return [info.key for page in pages for info in page.object_info]


def sessions_of(readers: list[Any]) -> int:
    """How many sessions a client's readers have in this process."""
    return len({id(reader._get_stream.session) for reader in readers})


def read_exactly(reader: Any, count: int) -> bytes:
    """A reader's next bytes."""
    return bytes(reader.read(count))


def read_once(endpoint: str, key: str) -> bytes:
    """An object, by a client of its own that tries once."""
    config = S3ClientConfig(
        credentials={"access_key_id": "AKIDEXAMPLE", "secret_access_key": "x"}, max_attempts=1
    )
    with S3Client("us-east-1", endpoint=endpoint, s3client_config=config) as client:
        return bytes(client.get_object("bucket", key).read())


class Objects:
    """A map-style dataset: item n is a checksum of an object that its worker reads."""

    def __init__(self, client: S3Client, bucket: str, keys: list[str], held: bool) -> None:
        self.client = client
        self.bucket = bucket
        self.keys = keys
        self.readers = [client.get_object(bucket, key) for key in keys] if held else None

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, number: int) -> tuple[int, int]:
        if self.readers is not None:
            reader: Any = self.readers[number]
        else:
            reader = self.client.get_object(
                self.bucket,
                self.keys[number],
                reader_constructor=S3ReaderConstructor.range_based(),
            )
        buffer = bytearray(200_000)
        count = reader.readinto(buffer)
        return os.getpid(), zlib.crc32(buffer[:count])


class Numbers:
    """A dataset of rows that are filled with their number, by way of one array.

    A batch comes with how many files its worker holds, and the worker's process.
    """

    def __init__(self, count: int, together: int) -> None:
        import numpy

        self._count = count
        self._rows = numpy.empty((together, 10_000), numpy.uint8)

    def __len__(self) -> int:
        return self._count

    def __getitems__(self, indices: list[int]) -> Any:
        from s3reader.loader import shared_copy

        rows = self._rows[: len(indices)]
        for row, index in zip(rows, indices, strict=True):
            row[:] = index
        held = len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0
        return shared_copy(rows), held, os.getpid()


def itself(batch: Any) -> Any:
    """What a loader gives that leaves its batches alone."""
    return batch


class Batches:
    """A dataset that reads the objects of a batch together: their checksums."""

    def __init__(self, client: S3Client, bucket: str, keys: list[str]) -> None:
        self.client = client
        self.bucket = bucket
        self.keys = keys

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, index: int) -> int:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: list[int]) -> list[int]:
        keys = [self.keys[index] for index in indices]
        return [zlib.crc32(one.data) for one in self.client.read_many(self.bucket, keys)]


class Mortal(Objects):
    """The same, but one item's worker is killed by SIGKILL while it reads."""

    def __init__(self, client: S3Client, bucket: str, keys: list[str], mortal: int) -> None:
        super().__init__(client, bucket, keys, held=False)
        self.mortal = mortal

    def __getitem__(self, number: int) -> tuple[int, int]:
        if number == self.mortal:
            threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGKILL)).start()
            self.client.get_object(self.bucket, "silent").readinto(bytearray(1000))
        return super().__getitem__(number)
