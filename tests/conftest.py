"""Fixtures that every test may use: the servers in ``servers``, and a clean environment."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from servers.certificates import Certificates, make_certificates
from servers.embedded_s3 import S3, EmbeddedS3, external_s3
from servers.nginx import Nginx, nginx_binary
from servers.scripted import Script, ScriptedServer


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out what forks where that cannot go well: see `sanitized_build`."""
    if os.environ.get("S3READER_TEST_FORKS") == "0":
        reason = "this sanitizer does not survive forks while other threads allocate"
        for item in items:
            if item.get_closest_marker("forks"):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI, where every tool is there, a skipped test is a failed one."""
    report = yield
    # A foreign S3 keeps no record of requests; tests that need one may be skipped then.
    foreign = "S3READER_TEST_ENDPOINT" in os.environ
    skipped = report.skipped and not hasattr(report, "wasxfail")
    if skipped and os.environ.get("CI") == "true" and not foreign:
        report.outcome = "failed"
        report.longrepr = f"skipped, which CI=true does not allow: {report.longrepr}"
    return report


@pytest.fixture(scope="session", autouse=True)
def no_settings_from_outside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests see no AWS or proxy settings of the person or machine that runs them."""
    nothing = str(tmp_path_factory.mktemp("aws") / "none")
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith("AWS_") or name.lower().endswith("_proxy"):
                patch.delenv(name)
        patch.setenv("AWS_CONFIG_FILE", nothing)
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", nothing)
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        yield


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3]:
    """The S3 of this run; prefer `s3`, whose record is empty at a test's start."""
    server = external_s3(os.environ) or EmbeddedS3()
    yield server
    server.close()


@pytest.fixture
def s3(s3_server: S3) -> S3:
    """A running S3, moto unless the environment names another, with an empty record."""
    s3_server.reset()
    return s3_server


@pytest.fixture(scope="session")
def bucket(s3_server: S3) -> str:
    """A bucket for all tests; each uses keys of its own."""
    return s3_server.create_bucket()


@pytest.fixture(scope="session")
def embedded_s3() -> Iterator[EmbeddedS3]:
    """A moto of its own, whatever the environment says: for faults and settings S3 users lack."""
    server = EmbeddedS3()
    yield server
    server.close()


@pytest.fixture
def new_client(s3: S3) -> Iterator[Callable[..., Any]]:
    """Makes an ``S3Client`` for `s3`; keyword arguments go to ``S3ClientConfig``."""
    import s3reader

    clients = []

    def make(**settings: Any) -> Any:
        settings.setdefault("credentials", s3.credentials)
        config = s3reader.S3ClientConfig(**settings)
        client = s3reader.S3Client(s3.region, endpoint=s3.endpoint, s3client_config=config)
        clients.append(client)
        return client

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def client(new_client: Callable[..., Any]) -> Any:
    """An ``S3Client`` for `s3` with default settings."""
    return new_client()


@pytest.fixture
def scripted() -> Iterator[Callable[..., ScriptedServer]]:
    """Starts a ``ScriptedServer`` for a script; ended with the test."""
    servers: list[ScriptedServer] = []

    def start(script: Script, certificate: tuple[str, str] | None = None) -> ScriptedServer:
        servers.append(ScriptedServer(script, certificate))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """A self-made authority and a certificate for localhost and 127.0.0.1."""
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def nginx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    """nginx serving an empty folder over HTTP."""
    with Nginx(nginx_binary(os.environ), _nginx_folder(tmp_path_factory)) as server:
        yield server


@pytest.fixture(scope="session")
def nginx_tls(
    tmp_path_factory: pytest.TempPathFactory, certificates: Certificates
) -> Iterator[Nginx]:
    """nginx serving an empty folder over TLS, with a certificate from `certificates`."""
    folder = _nginx_folder(tmp_path_factory)
    with Nginx(nginx_binary(os.environ), folder, certificates) as server:
        yield server


def _nginx_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("nginx")


def pytest_configure() -> None:
    """Hear Ctrl-C, as children then do: a job in a shell's background is started deaf to it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
