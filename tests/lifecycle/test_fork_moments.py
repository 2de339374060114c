"""Forks at the moments when another thread holds what the process has only once.

A child has none of its parent's other threads, so a lock that one of them held is held for ever:
of a module that was being imported, of libcurl, of OpenSSL. Each program forks right then, in an
interpreter where nothing was read before.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest
from servers.certificates import Certificates
from servers.faults import FaultyObject, pattern
from servers.nginx import Nginx
from servers.scripted import ScriptedServer

pytestmark = pytest.mark.forks

RunPython = Callable[..., subprocess.CompletedProcess[str]]

IN_AN_IMPORT = """
import faulthandler, os, sys, threading, time
from s3reader import S3Client, S3ClientConfig

client = S3Client("us-east-1", endpoint=sys.argv[1],
                  s3client_config=S3ClientConfig(unsigned=True, checksum_mode=True))
importing = threading.Event()
late = sys.argv[2]

class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == late and threading.current_thread() is reading:
            importing.set()
            time.sleep(0.3)
        return None

def use():
    if late == "resource":
        with client.get_object("bucket", "key") as reader:
            assert len(reader.read()) == 100
    elif late == "zlib":
        from s3reader.checksums import crc_function
        assert crc_function("crc32")(b"123456789", 0) == 0xCBF43926
    else:
        from s3reader.listing import _parse_page
        _parse_page(b"<ListBucketResult></ListBucketResult>")

if late == "zlib":
    sys.modules["isal"] = None
sys.modules.pop(late, None)
sys.meta_path.insert(0, Slow())
reading = threading.Thread(target=use)
reading.start()
assert importing.wait(10)
pid = os.fork()
if pid == 0:
    faulthandler.dump_traceback_later(10, exit=True)
    use()
    os._exit(0)
reading.join()
client.close()
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


@pytest.mark.parametrize("late", ["resource", "zlib", "xml.etree.ElementTree"])
def test_a_fork_waits_for_an_import(
    scripted: Callable[..., ScriptedServer], run_python: RunPython, late: str
) -> None:
    server = scripted(FaultyObject(pattern(100)))
    done = run_python(
        IN_AN_IMPORT, server.endpoint, late, PYTHONWARNINGS="ignore::DeprecationWarning"
    )
    assert (done.stderr, done.returncode) == ("", 0)


UNDIVIDED = """
import os, sys, time
from compiled import function
from s3reader._ext import process

enter, leave = (function(process, f"{verb}_undivided", None) for verb in ("enter", "leave"))

def forked():
    began = time.monotonic()
    pid = os.fork()
    took = time.monotonic() - began
    if pid == 0:
        enter()
        leave()
        os._exit(process.current() != 1)
    if os.waitpid(pid, 0)[1]:
        sys.exit("the child is not the next generation")
    return took

enter()
waited = forked()
leave()
print(waited, forked())
"""


def test_a_fork_waits_for_what_is_done_undivided_but_not_for_ever(run_python: RunPython) -> None:
    done = run_python(UNDIVIDED, PYTHONWARNINGS="ignore::DeprecationWarning")
    assert (done.stderr, done.returncode) == ("", 0)
    waited, went = map(float, done.stdout.split())
    assert 1.9 < waited < 3.5
    assert went < 1.0


IN_HANDSHAKES = """
import os, random, signal, sys, threading, time
from s3reader import S3Client, S3ClientConfig

draw = random.Random(int(sys.argv[3]))

def one_life():
    client = S3Client("us-east-1", endpoint=sys.argv[1], s3client_config=S3ClientConfig(
        part_size=4096, max_connections=4, ca_bundle=sys.argv[2],
        credentials=dict(access_key_id="AKIDEXAMPLE", secret_access_key="secret")))

    def read():
        with client.get_object("handshakes", "object") as reader:
            assert len(reader.read()) == 20_000

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    children = []
    for _ in range(4):
        time.sleep(draw.random() * 0.004)
        child = os.fork()
        if child == 0:
            signal.alarm(10)
            read()
            os._exit(0)
        children.append(child)
    for thread in threads:
        thread.join()
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]

for number in range(int(sys.argv[4])):
    # A process for each try, for only the first handshakes take OpenSSL's locks to write.
    life = os.fork()
    if life == 0:
        os._exit(any(one_life()))
    status = os.waitstatus_to_exitcode(os.waitpid(life, 0)[1])
    if status:
        sys.exit(f"a child of life {number} hung or failed ({status})")
"""


def test_children_forked_in_the_first_handshakes_read_too(
    nginx_tls: Nginx, certificates: Certificates, run_python: RunPython
) -> None:
    nginx_tls.put("handshakes", "object", pattern(20_000))
    done = run_python(
        IN_HANDSHAKES,
        nginx_tls.endpoint,
        certificates.authority,
        "1",
        "40",
        PYTHONWARNINGS="ignore::DeprecationWarning",
        timeout=120,
    )
    assert (done.stderr, done.returncode) == ("", 0)
