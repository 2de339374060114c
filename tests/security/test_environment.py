"""An environment that somebody else wrote: what it may change, and what it may not."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from asking import DATA, anything, ask_all
from servers.certificates import Certificates
from servers.scripted import ScriptedServer

from s3reader import CertificateError, S3Client, S3Exception

Scripted = Callable[..., ScriptedServer]
ClientFor = Callable[..., S3Client]
RunPython = Callable[..., subprocess.CompletedProcess[str]]

BUNDLES = ("AWS_CA_BUNDLE", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")
PROXIES = ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY")


@pytest.fixture
def secure(scripted: Scripted, certificates: Certificates) -> ScriptedServer:
    return scripted(anything, (certificates.chain, certificates.key))


@pytest.mark.parametrize("name", BUNDLES)
@pytest.mark.parametrize("kind", ["missing", "folder", "empty", "no PEM", "NUL"])
def test_bundle_that_cannot_be_used_never_means_trusting_more(
    secure: ScriptedServer,
    client_for: ClientFor,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    name: str,
    kind: str,
) -> None:
    path = tmp_path / "bundle.pem"
    if kind == "folder":
        path.mkdir()
    elif kind != "missing":
        path.write_bytes({"empty": b"", "no PEM": b"trust everybody\n", "NUL": b"\0" * 100}[kind])
    for other in BUNDLES:
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setenv(name, str(path))
    with pytest.raises((ValueError, S3Exception)) as caught:
        client_for(secure.endpoint, max_attempts=1).get_object("bucket", "key").read()
    assert not isinstance(caught.value, S3Exception) or caught.value.status is None
    assert secure.requests == []


@pytest.mark.parametrize(
    "name",
    [
        "CURL_CA_BUNDLE",
        "SSL_CERT_DIR",
        "PYTHONHTTPSVERIFY",
        "NODE_TLS_REJECT_UNAUTHORIZED",
        "AWS_NO_VERIFY_SSL",
        "CURL_INSECURE",
        "OPENSSL_CONF",
    ],
)
def test_no_variable_turns_verification_off(
    secure: ScriptedServer,
    certificates: Certificates,
    client_for: ClientFor,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    for value in ("0", certificates.authority):
        monkeypatch.setenv(name, value)
        with pytest.raises(CertificateError):
            client_for(secure.endpoint).get_object("bucket", "key").read()
    assert secure.requests == []


def test_files_of_other_programs_are_not_read(
    scripted: Scripted, run_python: RunPython, tmp_path: Path
) -> None:
    """Neither a password for the host in .netrc nor curl's own settings."""
    server = scripted(anything)
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login somebody password hunter2hunter2\n")
    (tmp_path / ".netrc").chmod(0o600)
    (tmp_path / ".curlrc").write_text('proxy = "http://127.0.0.1:1"\nlocation-trusted\ninsecure\n')
    (tmp_path / ".pgpass").write_text("*:*:*:*:hunter2\n")
    code = """
import sys
from s3reader import S3Client, S3ClientConfig
config = S3ClientConfig(unsigned=True, max_attempts=1)
with S3Client("us-east-1", endpoint=sys.argv[1], s3client_config=config) as client:
    print(len(client.get_object("bucket", "key").read()))
"""
    home = str(tmp_path)
    done = run_python(code, server.endpoint, HOME=home, CURL_HOME=home, NETRC=f"{home}/.netrc")
    assert (done.stdout, done.stderr) == (f"{len(DATA)}\n", "")
    for request in server.requests:
        assert "authorization" not in request.headers


@pytest.mark.parametrize("name", PROXIES)
def test_proxy_of_the_environment_is_kept_out_by_the_settings(
    scripted: Scripted,
    client_for: ClientFor,
    trap: ScriptedServer,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    monkeypatch.setenv(name, f"http://127.0.0.1:{trap.port}")
    ask_all(client_for(scripted(anything).endpoint, proxy=""))


@pytest.mark.parametrize(
    "value",
    ["gopher://x", "file:///etc/passwd", "https//x", "http://x\r\nX: y", "://", "ftp://x:1"],
)
def test_proxy_that_is_none_is_not_passed_over(
    scripted: Scripted, client_for: ClientFor, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    """Going on without it would send in the clear what was meant to go through it."""
    server = scripted(anything)
    monkeypatch.setenv("http_proxy", value)
    client = client_for(server.endpoint, max_attempts=1, connect_timeout=1.0)
    with pytest.raises((ValueError, S3Exception)):
        client.head_object("bucket", "key")
    assert server.requests == []


@pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"])
@pytest.mark.parametrize(
    "value",
    [
        "file:///etc/passwd",
        "gopher://x",
        "http://user:hunter2@x",
        "x",
        "http://x\r\nX: y",
        "http://x?a=b",
        "http://x#a",
        "http://",
        "dict://x:11211/",
    ],
)
def test_endpoint_of_the_environment_speaks_http_or_is_refused(
    client_for: ClientFor, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=f"{name} takes a URL") as caught:
        client_for(None).head_object("bucket", "key")
    assert "hunter2" not in str(caught.value)


def test_given_endpoint_and_credentials_beat_the_environment(
    scripted: Scripted, client_for: ClientFor, trap: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{trap.port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "SOMEBODYELSE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a secret of somebody else")
    server = scripted(anything)
    ask_all(client_for(server.endpoint))
    for request in server.requests:
        assert b"SOMEBODYELSE" not in request.raw


@pytest.mark.parametrize("place", ["missing", "text", "folder", "python"])
def test_library_that_is_no_libcurl_stops_the_import(
    run_python: RunPython, tmp_path: Path, place: str
) -> None:
    """Like LD_PRELOAD, the variable names code to run: it must name libcurl or nothing starts."""
    path = tmp_path / "libcurl.so"
    if place == "text":
        path.write_text("not a library\n")
    elif place == "folder":
        path.mkdir()
    elif place == "python":
        import math

        path = Path(str(math.__file__ if hasattr(math, "__file__") else path))
    done = run_python("import s3reader; s3reader.S3Client", S3READER_LIBCURL=str(path))
    assert done.returncode == 1
    assert "ImportError: s3reader:" in done.stderr
    assert "S3READER_LIBCURL" in done.stderr
