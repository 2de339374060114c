"""Forks in the middle of transfers: right bytes in both, and to each its own connections."""

from __future__ import annotations

import subprocess
from collections import defaultdict
from collections.abc import Callable

import pytest
from servers.faults import FaultyObject, pattern
from servers.scripted import ScriptedServer

pytestmark = pytest.mark.forks

Scripted = Callable[..., ScriptedServer]
RunPython = Callable[..., subprocess.CompletedProcess[str]]

SIZE = 100_000

PROGRAM = """
import os, random, signal, sys, threading, time
from s3reader import DCPOptimizedS3Reader, ItemRange, S3Client, S3ClientConfig, S3ReaderConstructor
from servers.faults import pattern

DATA = pattern({size})
FORKS, SECONDS, SEED = int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
client = S3Client("us-east-1", endpoint=sys.argv[1], s3client_config=S3ClientConfig(
    part_size=4096, max_connections=6,
    credentials=dict(access_key_id="AKIDEXAMPLE", secret_access_key="secret")))
parent = f"pid-{{os.getpid()}}"
draw = random.Random(SEED)
wrong = []
over = threading.Event()

def dcp(**arguments):
    return DCPOptimizedS3Reader(item_ranges=[ItemRange(0, len(DATA))], **arguments)

ranged = S3ReaderConstructor.range_based
CONSTRUCTORS = [None, ranged(3000), ranged(0), dcp]

def read(key, constructor=None):
    with client.get_object("bucket", key, reader_constructor=constructor) as reader:
        buffer = bytearray(len(DATA))
        count = reader.readinto(buffer)
        return count == len(DATA) and buffer == DATA

def keep_reading(number):
    while not over.is_set():
        if not read(parent, CONSTRUCTORS[number % 3]):
            wrong.append("other bytes in a thread of the parent")

def half_read():
    '''A reader in the middle of its work, and how much of it was read.'''
    reader = client.get_object("bucket", "both", reader_constructor=draw.choice(CONSTRUCTORS))
    how = draw.randrange(4)
    if how == 0 and hasattr(reader, "prefetch"):
        reader.prefetch()
        return reader, 0
    count = [0, 1, 5000, 50_001][how]
    return reader, len(reader.read(count)) if count else 0

def rest_is_right(reader, place):
    rest = bytearray(len(DATA) - place)
    count = 0
    while count < len(rest):
        got = reader.readinto(memoryview(rest)[count:])
        if not got:
            break
        count += got
    return rest == DATA[place:]

def child(reader, place):
    signal.alarm(30)
    key = f"pid-{{os.getpid()}}"
    order = [lambda: rest_is_right(reader, place), lambda: read(key), lambda: read(key, dcp)]
    draw.shuffle(order)
    right = all([step() for step in order])
    end = draw.randrange(3)
    if end == 0:
        client.close()
    if end == 1:
        reader.close()
    os._exit(0 if right else 3)

threads = [threading.Thread(target=keep_reading, args=(number,)) for number in range(3)]
for thread in threads:
    thread.start()
began = time.monotonic()
forks = 0
while forks < FORKS and time.monotonic() - began < SECONDS:
    reader, place = half_read()
    pid = os.fork()
    if pid == 0:
        child(reader, place)
    if not rest_is_right(reader, place):
        wrong.append("other bytes in the parent")
    reader.close()
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status:
        wrong.append(f"the child of fork {{forks}} ended with {{status}}")
    forks += 1
over.set()
for thread in threads:
    thread.join()
client.close()
print(forks, f"{{time.monotonic() - began:.1f}}")
sys.exit("; ".join(wrong) or 0)
"""


def forked(
    scripted: Scripted, run_python: RunPython, forks: int, seconds: float, seed: int
) -> tuple[int, float]:
    server = scripted(FaultyObject(pattern(SIZE)))
    done = run_python(
        PROGRAM.format(size=SIZE),
        server.endpoint,
        str(forks),
        str(seconds),
        str(seed),
        timeout=seconds + 60,
        PYTHONWARNINGS="ignore::DeprecationWarning",  # of forking with threads: it is on purpose
    )
    assert (done.stderr, done.returncode) == ("", 0)
    by_connection: dict[int, set[str]] = defaultdict(set)
    for request in server.requests:
        if "/pid-" in request.target:
            by_connection[request.connection].add(request.target)
    assert all(len(owners) == 1 for owners in by_connection.values())
    count, took = done.stdout.split()
    assert len({owner for owners in by_connection.values() for owner in owners}) == int(count) + 1
    return int(count), float(took)


def test_both_sides_of_many_forks_read_right(scripted: Scripted, run_python: RunPython) -> None:
    count, _ = forked(scripted, run_python, 40, 60, seed=1)
    assert count == 40


@pytest.mark.long
@pytest.mark.parametrize("seed", range(10))
def test_a_thousand_forks(scripted: Scripted, run_python: RunPython, seed: int) -> None:
    """A hundred each, with a server that has forgotten the others."""
    count, took = forked(scripted, run_python, 100, 170, seed=100 + seed)
    print(f"{count} forks in {took:.1f} s")
    assert count == 100
