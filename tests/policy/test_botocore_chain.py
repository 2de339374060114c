"""botocore's chain and the shared files, each source for real on files and a loopback server."""

from __future__ import annotations

import json
import pickle
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from s3reader.botocore_chain import shared_config
from s3reader.config import S3ClientConfig
from s3reader.credentials import Credentials, CredentialsSource, resolve_credentials
from s3reader.errors import NoCredentialsError

SECRET = "wJalrXUtnFEMI0K7MDENG0bPxRfiCYEXAMPLEKEY"

CONFIG = """
[default]
region = eu-central-1

[profile given]
region = eu-west-1
endpoint_url = https://s3.example.com
services = mine
s3 =
    addressing_style = path

[profile elsewhere]
services = missing

[services mine]
s3 =
    endpoint_url = https://mine.example.com
"""

CREDENTIALS = f"""
[default]
aws_access_key_id = AKIDDEFAULT
aws_secret_access_key = {SECRET}

[given]
aws_access_key_id = AKIDGIVEN
aws_secret_access_key = {SECRET}
aws_session_token = TOKEN
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the two shared files, which the environment points to."""
    (tmp_path / "config").write_text(CONFIG)
    (tmp_path / "credentials").write_text(CREDENTIALS)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    return tmp_path


class Service:
    """A metadata service or STS that gives `answer(path, body)` and notes what it is asked."""

    def __init__(self, answer: Callable[[str, str], str]) -> None:
        service = self
        self.asked: list[str] = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                length = int(self.headers.get("Content-Length", 0))
                body = self.rfile.read(length).decode()
                service.asked.append(f"{self.command} {self.path}")
                data = answer(self.path, body).encode()
                self.send_response(200 if data else 404)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_POST = do_PUT = do_GET

            def log_message(self, *_: Any) -> None:
                """Nothing to say."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def serve() -> Iterator[Callable[[Callable[[str, str], str]], Service]]:
    services: list[Service] = []

    def start(answer: Callable[[str, str], str]) -> Service:
        services.append(Service(answer))
        return services[-1]

    yield start
    for service in services:
        service.close()


def in_an_hour() -> str:
    return (datetime.now(timezone.utc) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")


def fresh_keys() -> Callable[[], dict[str, str]]:
    """Metadata answers whose access key counts up."""
    count = iter(range(1, 1000))
    return lambda: {
        "Code": "Success",
        "AccessKeyId": f"AKID{next(count)}",
        "SecretAccessKey": SECRET,
        "Token": "TOKEN",
        "Expiration": in_an_hour(),
    }


def get(source: CredentialsSource) -> Credentials:
    found = source.get()
    assert found is not None
    return found


# Files


@pytest.mark.usefixtures("home")
def test_default_profile_is_found() -> None:
    assert get(resolve_credentials(S3ClientConfig())) == Credentials("AKIDDEFAULT", SECRET)


@pytest.mark.usefixtures("home")
def test_named_profile_outweighs_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDENVIRON")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_PROFILE", "default")
    source = resolve_credentials(S3ClientConfig(profile="given"))
    assert get(source) == Credentials("AKIDGIVEN", SECRET, "TOKEN")
    assert get(resolve_credentials(S3ClientConfig())).access_key == "AKIDENVIRON"


@pytest.mark.usefixtures("home")
def test_profile_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "given")
    assert get(resolve_credentials(S3ClientConfig())).access_key == "AKIDGIVEN"


def test_given_environment_stands_in_for_the_process(home: Path) -> None:
    other = home / "other"
    other.write_text(CREDENTIALS.replace("AKIDGIVEN", "AKIDOTHER"))
    environ = {"AWS_SHARED_CREDENTIALS_FILE": str(other), "AWS_PROFILE": "given"}
    assert get(resolve_credentials(S3ClientConfig(), environ)).access_key == "AKIDOTHER"


def test_same_object_until_the_file_is_read_again(home: Path) -> None:
    source = resolve_credentials(S3ClientConfig(profile="given"))
    first = get(source)
    assert get(source) is first
    file = home / "credentials"
    file.write_text(CREDENTIALS.replace("AKIDGIVEN", "AKIDRENEWED"))
    source.invalidate(Credentials("AKIDSTALE", SECRET))
    assert get(source) is first
    source.invalidate(first)
    assert get(source).access_key == "AKIDRENEWED"


@pytest.mark.usefixtures("home")
def test_pickle_holds_no_secret_of_a_file() -> None:
    source = resolve_credentials(S3ClientConfig(profile="given"))
    first = get(source)
    data = pickle.dumps(source)
    assert b"AKID" not in data
    assert SECRET.encode() not in data
    assert get(pickle.loads(data)) == first


def test_credentials_that_no_header_can_hold_are_an_error(home: Path) -> None:
    (home / "credentials").write_text(CREDENTIALS.replace(SECRET, f"{SECRET} x"))
    with pytest.raises(NoCredentialsError, match="secret access key") as raised:
        resolve_credentials(S3ClientConfig(profile="given")).get()
    assert SECRET not in "".join(traceback.format_exception(raised.value))


# Errors


def test_nothing_found_says_where_it_looked(tmp_path: Path) -> None:
    environ = {"AWS_CONFIG_FILE": str(tmp_path / "c"), "AWS_SHARED_CREDENTIALS_FILE": "no-such"}
    with pytest.raises(NoCredentialsError) as raised:
        resolve_credentials(S3ClientConfig(), environ).get()
    message = str(raised.value)
    for place in (*environ.values(), "'default'", "AWS_ACCESS_KEY_ID", "container", "unsigned"):
        assert place in message


@pytest.mark.usefixtures("home")
def test_unknown_profile_is_named() -> None:
    with pytest.raises(NoCredentialsError, match=r"'typo'.*ProfileNotFound"):
        resolve_credentials(S3ClientConfig(profile="typo")).get()
    with pytest.raises(ValueError, match=r"'typo'.*ProfileNotFound"):
        shared_config("typo")


@pytest.mark.parametrize(
    "script",
    [
        f"import sys; sys.exit('aws_secret_access_key={SECRET}')",
        f"print('{SECRET}')",
        f'print(\'{{"Version": 1, "SecretAccessKey": "{SECRET}"}}\')',
        f'print(\'{{"Version": 7, "SecretAccessKey": "{SECRET}"}}\')',
    ],
)
def test_failing_process_is_an_error_without_its_secrets(home: Path, script: str) -> None:
    file = home / "process.py"
    file.write_text(script)
    with (home / "config").open("a") as config:
        config.write(f"[profile process]\ncredential_process = {sys.executable} {file}\n")
    with pytest.raises(NoCredentialsError, match="profile 'process' failed") as raised:
        resolve_credentials(S3ClientConfig(profile="process")).get()
    assert SECRET not in "".join(traceback.format_exception(raised.value))


def test_missing_process_is_an_error(home: Path) -> None:
    with (home / "config").open("a") as config:
        config.write("[profile process]\ncredential_process = /no/such/program\n")
    with pytest.raises(NoCredentialsError, match="profile 'process' failed"):
        resolve_credentials(S3ClientConfig(profile="process")).get()


# Live sources


def test_process_is_run(home: Path) -> None:
    answer = fresh_keys()() | {"Version": 1, "SessionToken": "TOKEN"}
    file = home / "process.py"
    file.write_text(f"print('''{json.dumps(answer)}''')")
    with (home / "config").open("a") as config:
        config.write(f"[profile process]\ncredential_process = {sys.executable} {file}\n")
    source = resolve_credentials(S3ClientConfig(profile="process"))
    assert get(source) == Credentials("AKID1", SECRET, "TOKEN")


def test_container_is_asked_once_by_all_threads_and_again_after_invalidation(
    serve: Callable[..., Service], monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = fresh_keys()
    service = serve(lambda path, body: json.dumps(keys()) if path == "/creds" else "")
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{service.url}/creds")
    source = resolve_credentials(S3ClientConfig())
    found: list[Credentials] = []
    threads = [threading.Thread(target=lambda: found.append(get(source))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {each.access_key for each in found} == {"AKID1"}
    assert len(service.asked) == 1
    source.invalidate(found[0])
    source.invalidate(found[0])
    assert get(source).access_key == "AKID2"
    assert len(service.asked) == 2


def test_instance_metadata_is_asked(
    serve: Callable[..., Service], monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = fresh_keys()

    def answer(path: str, body: str) -> str:
        if path.endswith("/api/token"):
            return "METADATA-TOKEN"
        if path.endswith("/security-credentials/"):
            return "role"
        return json.dumps(keys()) if path.endswith("/security-credentials/role") else ""

    service = serve(answer)
    monkeypatch.delenv("AWS_EC2_METADATA_DISABLED")
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", service.url)
    source = resolve_credentials(S3ClientConfig())
    assert get(source) == get(source) == Credentials("AKID1", SECRET, "TOKEN")
    assert len(service.asked) == 3


def sts_answer(action: str, keys: dict[str, str]) -> str:
    return (
        f'<{action}Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><{action}Result>'
        f"<Credentials><AccessKeyId>{keys['AccessKeyId']}</AccessKeyId>"
        f"<SecretAccessKey>{SECRET}</SecretAccessKey><SessionToken>TOKEN</SessionToken>"
        f"<Expiration>{keys['Expiration']}</Expiration></Credentials>"
        f"</{action}Result></{action}Response>"
    )


def test_role_is_assumed_and_assumed_anew_after_invalidation(
    home: Path, serve: Callable[..., Service], monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = fresh_keys()
    actions: list[str] = []

    def answer(path: str, body: str) -> str:
        actions.extend(parse_qs(body)["Action"])
        return sts_answer(actions[-1], keys())

    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", serve(answer).url)
    with (home / "config").open("a") as config:
        config.write(
            "[profile assumed]\nrole_arn = arn:aws:iam::123456789012:role/reader\n"
            "source_profile = given\nregion = eu-west-1\n"
        )
    source = resolve_credentials(S3ClientConfig(profile="assumed"))
    first = get(source)
    assert first == get(source) == Credentials("AKID1", SECRET, "TOKEN")
    source.invalidate(first)
    assert get(source).access_key == "AKID2"
    assert actions == ["AssumeRole", "AssumeRole"]


def test_web_identity_is_exchanged(
    home: Path, serve: Callable[..., Service], monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = fresh_keys()
    service = serve(lambda path, body: sts_answer("AssumeRoleWithWebIdentity", keys()))
    (home / "credentials").unlink()
    (home / "identity").write_text("WEB-IDENTITY")
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", service.url)
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(home / "identity"))
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/reader")
    assert get(resolve_credentials(S3ClientConfig())) == Credentials("AKID1", SECRET, "TOKEN")


# Shared configuration


@pytest.mark.usefixtures("home")
def test_shared_config_gives_the_profile_without_its_secrets() -> None:
    assert shared_config("given") == {
        "region": "eu-west-1",
        "endpoint_url": "https://s3.example.com",
        "services": {"s3": {"endpoint_url": "https://mine.example.com"}},
        "s3": {"addressing_style": "path"},
    }
    assert shared_config(None) == {"region": "eu-central-1"}
    assert shared_config("elsewhere") == {"services": {}}


def test_shared_config_follows_the_environment_it_is_given(home: Path) -> None:
    environ = {"AWS_CONFIG_FILE": str(home / "config"), "AWS_DEFAULT_PROFILE": "given"}
    assert shared_config(None, environ)["region"] == "eu-west-1"


def test_shared_config_without_files_is_empty(tmp_path: Path) -> None:
    assert shared_config(None, {"AWS_CONFIG_FILE": str(tmp_path / "none")}) == {}


def test_shared_config_that_cannot_be_parsed_is_an_error(home: Path) -> None:
    (home / "config").write_text("no section\n")
    with pytest.raises(ValueError, match="ConfigParseError"):
        shared_config(None)
