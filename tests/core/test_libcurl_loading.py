"""Which libcurl is bound, and what is said when none can be: each in an interpreter of its own."""

from __future__ import annotations

import ctypes.util
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from servers.faults import FaultyObject, pattern
from servers.scripted import ScriptedServer

from s3reader._ext import libcurl

RunPython = Callable[..., subprocess.CompletedProcess[str]]

SHOW = """
from s3reader._ext import libcurl
print(libcurl.source, libcurl.path, libcurl.version, sep="\\n")
"""

WITHOUT_PYCURL = "import sys; sys.modules['pycurl'] = None\n"

READ = """
import sys
from s3reader import S3Client, S3ClientConfig
client = S3Client("us-east-1", endpoint=sys.argv[1], s3client_config=S3ClientConfig(unsigned=True))
sys.exit(client.get_object("bucket", "key").read() != bytes.fromhex(sys.argv[2]))
"""

FUNCTIONS = """
global_init easy_init easy_setopt easy_getinfo easy_strerror easy_cleanup
multi_init multi_setopt multi_add_handle multi_remove_handle multi_perform multi_poll
multi_wakeup multi_info_read multi_strerror multi_cleanup slist_append slist_free_all
""".split()

TLS, ASYNC_DNS, THREAD_SAFE = 1 << 2, 1 << 7, 1 << 30
ALL = TLS | ASYNC_DNS | THREAD_SAFE


@pytest.fixture
def fake_libcurl(tmp_path: Path) -> Callable[[int, int, int], str]:
    """Builds a libcurl that says of itself what it is told, and fails or not to initialise."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")

    def build(version: int, features: int, failure: int = 0) -> str:
        source = tmp_path / "fake.c"
        stubs = [f"int curl_{name}(void) {{ return {failure}; }}" for name in FUNCTIONS]
        text = ".".join(str(version >> shift & 0xFF) for shift in (16, 8, 0))
        source.write_text(
            f"""
            static struct {{
                int age; const char *version; unsigned number; const char *host; int features;
                const char *tls;
            }} info = {{0, "{text}", {version}, "fake", {features}, "FakeTLS"}};
            void *curl_version_info(int age) {{ return &info; }}
            {" ".join(stubs)}""",
            encoding="utf-8",
        )
        library = str(tmp_path / "libfake.so")
        subprocess.run([compiler, "-shared", "-fPIC", "-o", library, str(source)], check=True)
        return library

    return build


def test_pycurls_library_comes_first(run_python: RunPython) -> None:
    done = run_python(SHOW)
    assert done.stderr == ""
    source, path, version = done.stdout.split("\n")[:3]
    assert source == "pycurl"
    assert "pycurl" in Path(path).name
    assert tuple(map(int, version.split("."))) >= libcurl.FLOOR


def test_import_leaves_pycurl_itself_alone(run_python: RunPython) -> None:
    done = run_python("import s3reader._ext.libcurl, sys; print('pycurl' in sys.modules)")
    assert (done.stdout, done.stderr) == ("False\n", "")


def test_named_file_is_used(run_python: RunPython) -> None:
    done = run_python(SHOW, S3READER_LIBCURL=libcurl.path)
    assert done.stdout.split("\n")[:2] == ["S3READER_LIBCURL", libcurl.path]


def failure(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 1
    last = done.stderr.strip().split("\n")[-1]
    assert last.startswith("ImportError: s3reader: ")
    assert "pip install --upgrade pycurl" in last
    assert "S3READER_LIBCURL" in last
    return last


@pytest.mark.parametrize("content", [None, b"", b"not a library\n" * 100])
def test_unusable_named_file_is_an_error(
    run_python: RunPython, tmp_path: Path, content: bytes | None
) -> None:
    """It is not passed over for pycurl's: whoever names a library means it."""
    named = tmp_path / "libcurl-named.so"
    if content is not None:
        named.write_bytes(content)
    assert str(named) in failure(run_python(SHOW, S3READER_LIBCURL=str(named)))


def test_library_that_is_no_libcurl_is_an_error(run_python: RunPython) -> None:
    name = ctypes.util.find_library("m")
    if name is None:
        pytest.skip("no libm to stand for another library")
    assert "no function curl_" in failure(run_python(SHOW, S3READER_LIBCURL=name))


@pytest.mark.parametrize(
    ("version", "features", "broken", "words"),
    [
        (0x073D00, ALL, 0, "libcurl 7.61.0 .* is too old; 7.85.0 is the oldest"),
        (0x075400, ALL, 0, "libcurl 7.84.0 .* is too old"),
        (0x080000, ALL & ~TLS, 0, "without TLS"),
        (0x080000, ALL & ~THREAD_SAFE, 0, "no thread-safe initialisation"),
        (0x080000, ALL & ~ASYNC_DNS, 0, "resolves host names synchronously"),
        (0x080000, ALL, 2, "failed to initialise"),
    ],
)
def test_unfit_libcurl_is_an_error_that_says_why(
    run_python: RunPython,
    fake_libcurl: Callable[..., str],
    version: int,
    features: int,
    broken: int,
    words: str,
) -> None:
    path = fake_libcurl(version, features, broken)
    message = failure(run_python(SHOW, S3READER_LIBCURL=path))
    assert re.search(words, message)
    assert path in message


def test_without_any_libcurl_all_that_was_tried_is_said(
    run_python: RunPython, tmp_path: Path
) -> None:
    (tmp_path / "libcurl.so.4").write_text("not a library", encoding="utf-8")
    done = run_python(WITHOUT_PYCURL + SHOW, LD_LIBRARY_PATH=str(tmp_path))
    message = failure(done)
    assert "no libcurl could be loaded (the system's libcurl: " in message


def test_public_names_fail_with_the_same_words(run_python: RunPython, tmp_path: Path) -> None:
    done = run_python("from s3reader import S3Client", S3READER_LIBCURL=str(tmp_path / "none.so"))
    assert "none.so" in failure(done)


def test_systems_libcurl_reads_too(
    run_python: RunPython, scripted: Callable[..., ScriptedServer]
) -> None:
    if ctypes.util.find_library("curl") != "libcurl.so.4":
        pytest.skip("no libcurl.so.4 on this system: apt-get install libcurl4")
    data = pattern(1000)
    server = scripted(FaultyObject(data))
    shown = run_python(WITHOUT_PYCURL + SHOW)
    if "is too old" in shown.stderr:
        pytest.skip(f"the system's libcurl is too old: {shown.stderr}")
    assert shown.stdout.startswith("the system's libcurl\nlibcurl.so.4\n")
    done = run_python(WITHOUT_PYCURL + READ, server.endpoint, data.hex())
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)
