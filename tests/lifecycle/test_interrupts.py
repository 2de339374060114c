"""Ctrl-C in every kind of wait, as a script meets it; the core's are in test_fetcher_processes."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from collections.abc import Callable

import pytest
from servers.faults import FaultyObject, pattern
from servers.scripted import Reply, Request, ScriptedServer

DATA = pattern(200_000)

Scripted = Callable[..., ScriptedServer]
StartPython = Callable[..., subprocess.Popen[str]]
RunPython = Callable[..., subprocess.CompletedProcess[str]]

PROLOGUE = """
import os, sys, threading, time
from s3reader import S3Client, S3ClientConfig, S3ReaderConstructor, ItemRange
from s3reader import DCPOptimizedS3Reader
from servers.faults import pattern

DATA = pattern(200_000)
KEYS = dict(access_key_id="AKIDEXAMPLE", secret_access_key="secret")

def make(endpoint=sys.argv[1], **settings):
    return S3Client("us-east-1", endpoint=endpoint, s3client_config=S3ClientConfig(
        **{"part_size": 8192, "max_connections": 4, "credentials": KEYS, **settings}))

client = make()

def dcp(bucket="bucket"):
    def construct(**arguments):
        return DCPOptimizedS3Reader(item_ranges=[ItemRange(0, 90_000)], **arguments)
    return client.get_object(bucket, "key", reader_constructor=construct)

def ranged(size=None):
    return client.get_object(
        "bucket", "key", reader_constructor=S3ReaderConstructor.range_based(size))
"""

EPILOGUE = """
try:
    print("waits", flush=True)
    wait()
except KeyboardInterrupt:
    print(time.monotonic(), flush=True)
    sys.stdin.readline()
    assert client.get_object("bucket", "key").read() == DATA
    assert client.head_object("bucket", "key").size == len(DATA)
    ended = time.monotonic()
    client.close()
    assert time.monotonic() - ended < 1
    print("went on")
"""

WAITS = {
    "sequential read": "def wait(): client.get_object('bucket', 'key').read()",
    "sequential read of a few": "def wait(): client.get_object('bucket', 'key').read(10)",
    "sequential readinto": "def wait(): client.get_object('bucket', 'key').readinto(bytearray(9))",
    "line": "def wait(): client.get_object('bucket', 'key').readline()",
    "end": "def wait(): client.get_object('bucket', 'key').seek(0, 2)",
    "footer": "def wait(): client.get_object('bucket', 'key').seek(-9, 2)",
    "ranged read": "def wait(): ranged().read(100)",
    "ranged large readinto": "def wait(): ranged(0).readinto(bytearray(len(DATA)))",
    "checkpoint": "def wait(): dcp().read(100)",
    "stream": "def wait(): next(client.get_object('bucket', 'key')._get_stream())",
    "objects together": "def wait(): list(client.read_many('bucket', ['key'] * 99))",
    "ranges at once": "def wait(): ranged().readinto_ranges([(9, bytearray(9))])",
    "head": "def wait(): client.head_object('bucket', 'key')",
    "list": "def wait(): next(client.list_objects('bucket'))",
    "many ranges": """
def wait(): ranged().readinto_ranges([(5, bytearray(9)), (90_000, bytearray(9))])
""",
    "many objects": "def wait(): list(client.read_many('bucket', ['key', 'key', 'key']))",
    "prefetched": """
def wait():
    reader = client.get_object('bucket', 'key')
    reader.prefetch()
    reader.read()
""",
    "provider of credentials": """
def provide():
    if not released:
        time.sleep(60)
    return KEYS
released = []
waiting = make(credentials=provide)
def wait():
    try:
        waiting.head_object('bucket', 'key')
    finally:
        released.append(1)
        assert client.head_object  # the other client is not concerned
""",
    "connection that nobody accepts": """
waiting = make(sys.argv[2])
def wait(): waiting.head_object('bucket', 'key')
""",
    "memory that others hold": """
small = make(memory_limit=4 * 8192)
hold = small.get_object('silent', 'key')
hold.prefetch()
def wait(): small.get_object('bucket', 'key').read()
""",
    "name that is looked up": """
waiting = make("http://nobody.invalid", max_attempts=1_000_000)
def wait(): waiting.head_object('bucket', 'key')
""",
    "iterating lines in io's own layers": """
import io
def wait(): list(io.TextIOWrapper(io.BufferedReader(client.get_object('bucket', 'key'))))
""",
}


MOMENTS = [("silent", name) for name in WAITS] + [
    (fault, name)
    for fault in ("stall", "retry")
    for name in (
        "sequential read",
        "ranged large readinto",
        "checkpoint",
        "list",
        "many ranges",
        "many objects",
        "prefetched",
    )
]


@pytest.mark.parametrize(("fault", "name"), MOMENTS, ids=[" ".join(each) for each in MOMENTS])
def test_any_wait_ends_within_a_second_and_the_client_goes_on(
    scripted: Scripted, start_python: StartPython, fault: str, name: str
) -> None:
    faulty = FaultyObject(DATA)
    server = scripted(faulty)
    stuck = {
        "silent": lambda request, reply: Reply(silent=True),
        "stall": lambda request, reply: Reply(
            reply.status, reply.headers, reply.body, delay_at=3, pause=60
        ),
        "retry": lambda request, reply: Reply(500, {"Retry-After": "20"}),
    }[fault]
    faulty.go_wrong(stuck)
    with socket.create_server(("127.0.0.1", 0), backlog=1) as nobody:
        child = start_python(
            PROLOGUE + WAITS[name] + EPILOGUE,
            server.endpoint,
            f"http://127.0.0.1:{nobody.getsockname()[1]}",
        )
        assert child.stdout is not None
        assert child.stdout.readline() == "waits\n"
        # Early for some waits and late for others: a signal at any moment is what must work.
        time.sleep(0.15)
        sent = time.monotonic()
        child.send_signal(signal.SIGINT)
        assert float(child.stdout.readline()) - sent < 1.0
        faulty.go_wrong(None)
        output, errors = child.communicate("go on\n", timeout=20)
    assert (output, errors, child.returncode) == ("went on\n", "", 0)


def test_interrupted_reader_reads_on_where_it_was(
    scripted: Scripted, start_python: StartPython
) -> None:
    faulty = FaultyObject(DATA)
    server = scripted(faulty)

    def stuck(request: Request, reply: Reply) -> Reply | None:
        asked = request.range
        return Reply(silent=True) if asked is not None and asked[0] >= 50_000 else None

    faulty.go_wrong(stuck)
    child = start_python(
        PROLOGUE
        + """
for reader in (client.get_object("bucket", "key"), ranged(1000), ranged(0)):
    data = bytearray(reader.read(10_000))
    place = reader.tell()
    print("waits", flush=True)
    try:
        while True:
            data += reader.read(20_000)
            place = reader.tell()
    except KeyboardInterrupt:
        print("stopped", flush=True)
    sys.stdin.readline()
    assert reader.tell() == place == len(data), (reader.tell(), place, len(data))
    assert bytes(data) + reader.read() == DATA
    print("read", flush=True)
    sys.stdin.readline()
""",
        server.endpoint,
    )
    assert child.stdout is not None
    assert child.stdin is not None
    for _ in range(3):
        faulty.go_wrong(stuck)
        child.stdin.write("again\n") if _ else None
        child.stdin.flush()
        assert child.stdout.readline() == "waits\n"
        time.sleep(0.2)
        child.send_signal(signal.SIGINT)
        assert child.stdout.readline() == "stopped\n"
        faulty.go_wrong(None)
        child.stdin.write("go on\n")
        child.stdin.flush()
        assert child.stdout.readline() == "read\n"
    _, errors = child.communicate("end\n", timeout=20)
    assert (errors, child.returncode) == ("", 0)


EXITS = {
    "half-read readers of every kind": """
readers = [client.get_object("bucket", "key"), ranged(5000), dcp()]
for reader in readers:
    reader.read(10)
""",
    "prefetches nobody reads": """
readers = [client.get_object("bucket", "key") for _ in range(20)]
for reader in readers:
    reader.prefetch()
""",
    "prefetches of a server that is silent": """
readers = [client.get_object("silent", str(number)) for number in range(20)]
for reader in readers:
    reader.prefetch()
""",
    "listing half-way": "pages = client.list_objects('bucket')",
    "many clients": """
clients = [make() for _ in range(10)]
readers = [each.get_object("bucket", "key") for each in clients]
for reader in readers:
    reader.read(10)
""",
    "many objects half-way": """
many = client.read_many("bucket", ["key"] * 20)
next(many)
""",
    "kept by a module": """
import s3reader
s3reader.kept = client.get_object("bucket", "key")
s3reader.kept.read(10)
""",
    "an unhandled error": """
reader = client.get_object("bucket", "key")
reader.read(10)
sys.excepthook = lambda *_: None
threading.Timer(0, lambda: None).start()
print(time.monotonic())
raise SystemExit(0)
""",
    "daemon threads wait": """
buffer = bytearray(100)
waits = [
    lambda: client.get_object("silent", "key").read(),
    lambda: client.get_object("silent", "key").readinto(buffer),
    lambda: next(client.get_object("silent", "key")),
    lambda: client.head_object("silent", "key"),
    lambda: next(iter(client.list_objects("silent"))),
    lambda: client.get_object("silent", "key").readinto(bytearray(10**7)),
]
for wait in waits:
    threading.Thread(target=wait, daemon=True).start()
time.sleep(0.2)
""",
    "daemon threads read on and on": """
def read_on():
    while True:
        assert client.get_object("bucket", "key").read() == DATA
for _ in range(4):
    threading.Thread(target=read_on, daemon=True).start()
time.sleep(0.2)
""",
    "a daemon thread is joined at exit": """
import atexit
def wait():
    try:
        client.get_object("silent", "key").read()
    finally:
        left.append(True)
left = []
waiter = threading.Thread(target=wait, daemon=True)
waiter.start()
time.sleep(0.2)
def join():
    waiter.join(1.0)
    assert left == [True], "neither ended nor cleaned up"
atexit._clear()
atexit.register(join)
import s3reader.session
atexit.register(s3reader.session._close_all)
""",
    "a hostile __del__": """
class Keeper:
    def __init__(self): self.reader = client.get_object("bucket", "key"); self.reader.read(10)
    def __del__(self):
        try:
            self.reader.read()
        except Exception:
            pass
keeper = Keeper()
""",
}


@pytest.mark.parametrize("body", EXITS.values(), ids=EXITS.keys())
def test_interpreter_ends_silently_within_a_second(
    scripted: Scripted, run_python: RunPython, body: str
) -> None:
    faulty = FaultyObject(DATA)
    server = scripted(faulty)
    faulty.go_wrong(
        lambda request, reply: Reply(silent=True) if "/silent" in request.target else None
    )
    code = PROLOGUE + body + "\nprint(time.monotonic())"
    done = run_python(code, server.endpoint, timeout=30)
    ended = time.monotonic()
    assert (done.stderr, done.returncode) == ("", 0)
    assert ended - float(done.stdout.splitlines()[0]) < 1.0
