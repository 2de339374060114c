"""What a client learns from answers and does about it: the region, fresh credentials, the clock."""

from __future__ import annotations

import sys
import threading
import time
from calendar import timegm
from collections.abc import Callable
from typing import Any

import pytest
from asking import access_key, anything, ask_all, scope_region
from servers.scripted import Reply, Request, ScriptedServer, object_script

from s3reader import (
    AccessDeniedError,
    S3Client,
    S3ClientConfig,
    S3ReaderConstructor,
    WrongRegionError,
)

MIB = 1024 * 1024

Scripted = Callable[..., ScriptedServer]
ClientFor = Callable[..., S3Client]


def regional(home: str, **head: str) -> Callable[[Request], Reply]:
    """S3 with a bucket in one region."""

    def answer(request: Request) -> Reply:
        if scope_region(request) == home:
            return anything(request)
        if request.method == "HEAD":
            return Reply(400, {"x-amz-bucket-region": home})
        code = "AuthorizationHeaderMalformed"
        region = f"<Region>{home}</Region>"
        return Reply(400, head, f"<Error><Code>{code}</Code>{region}</Error>".encode())

    return answer


def test_region_is_found_from_a_refusal_and_kept(scripted: Scripted, client_for: ClientFor) -> None:
    for first in ("get", "head", "list"):
        server = scripted(regional("eu-central-1"))
        client = client_for(server.endpoint, max_attempts=1)
        if first == "get":
            client.get_object("bucket", "key").read()
        elif first == "head":
            client.head_object("bucket", "key")
        else:
            list(client.list_objects("bucket"))
        ask_all(client)
        regions = [scope_region(request) for request in server.requests]
        assert regions == ["us-east-1", *["eu-central-1"] * 4]
        assert client.stats()["retries"] == {"region": 1}


def test_region_is_found_from_a_redirect(scripted: Scripted, client_for: ClientFor) -> None:
    def answer(request: Request) -> Reply:
        if request.target.startswith("http://bucket.s3.eu-west-3.amazonaws.com/"):
            return anything(request)
        body = b"<Error><Code>PermanentRedirect</Code><Endpoint>elsewhere</Endpoint></Error>"
        headers = {"x-amz-bucket-region": "eu-west-3", "Location": "http://127.0.0.1:1/"}
        return Reply(301, headers, b"" if request.method == "HEAD" else body)

    for ask in (
        lambda client: client.get_object("bucket", "key").read(),
        lambda client: client.head_object("bucket", "key"),
        lambda client: list(client.list_objects("bucket")),
    ):
        server = scripted(answer)
        client = client_for("http://s3.us-east-1.amazonaws.com", proxy=server.endpoint)
        with pytest.raises(WrongRegionError, match="is in eu-west-3"):
            ask(client)  # an endpoint that was given is kept to
        assert {request.target.split("/")[2] for request in server.requests} == {
            "bucket.s3.us-east-1.amazonaws.com"
        }
        assert len(server.requests) == 2


def test_bucket_without_a_home_is_not_chased(scripted: Scripted, client_for: ClientFor) -> None:
    server = scripted(
        lambda request: Reply(301, {"x-amz-bucket-region": f"eu-west-{request.index + 1}"})
    )
    with pytest.raises(WrongRegionError):
        client_for(server.endpoint).get_object("bucket", "key").read()
    assert len(server.requests) == 2


def test_threads_find_the_region_together(scripted: Scripted, client_for: ClientFor) -> None:
    server = scripted(regional("eu-central-1"))
    client = client_for(server.endpoint, max_attempts=1)
    failures: list[BaseException] = []

    def ask() -> None:
        try:
            ask_all(client)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def expiring(valid: str) -> Callable[[Request], Reply]:
    """S3 that takes one access key only and says that every other one's token expired."""

    def answer(request: Request) -> Reply:
        if access_key(request) == valid:
            return object_script(bytes(3 * MIB))(request)
        if request.method == "HEAD":
            return Reply(400)
        time.sleep(0.02)
        return Reply(400, body=b"<Error><Code>ExpiredToken</Code></Error>")

    return answer


class Provider:
    """Gives a new access key each time it is asked."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> dict[str, str]:
        self.calls += 1
        return {
            "access_key_id": f"AKID{self.calls}",
            "secret_access_key": "secret",
            "session_token": "token",
        }


def test_expired_token_is_renewed_once_for_all_parts(
    scripted: Scripted, client_for: ClientFor
) -> None:
    server = scripted(expiring("AKID2"))
    provider = Provider()
    client = client_for(server.endpoint, credentials=provider, max_attempts=1, part_size=64 * 1024)
    info = client.head_object("bucket", "key")
    assert provider.calls == 2
    buffer = bytearray(info.size)
    provider = Provider()
    client = client_for(server.endpoint, credentials=provider, max_attempts=1, part_size=64 * 1024)
    constructor = S3ReaderConstructor.range_based(0)
    reader = client.get_object("bucket", "key", object_info=info, reader_constructor=constructor)
    assert reader.readinto(buffer) == info.size
    assert provider.calls == 2
    assert client.stats()["retries"]["expired_token"] >= 1


def test_expired_token_is_renewed_once_for_all_threads(
    scripted: Scripted, client_for: ClientFor
) -> None:
    server = scripted(expiring("AKID2"))
    provider = Provider()
    client = client_for(server.endpoint, credentials=provider, max_attempts=1)
    sizes: list[int] = []
    start = threading.Barrier(8)

    def ask(number: int) -> None:
        start.wait(10)
        if number % 2:
            sizes.append(client.head_object("bucket", f"key/{number}").size)
        else:
            sizes.append(len(client.get_object("bucket", f"key/{number}").read()))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sizes == [3 * MIB] * 8
    assert provider.calls == 2


def test_token_that_stays_expired_is_refused(scripted: Scripted, client_for: ClientFor) -> None:
    server = scripted(expiring("never"))
    provider = Provider()
    client = client_for(server.endpoint, credentials=provider, max_attempts=5)
    with pytest.raises(AccessDeniedError, match="ExpiredToken"):
        client.get_object("bucket", "key").read()
    assert len(server.requests) == 2
    assert provider.calls == 2


@pytest.mark.parametrize("first", ["get", "head"])
@pytest.mark.parametrize("hours", [-3, 2])
def test_clock_is_set_by_the_servers(
    scripted: Scripted, client_for: ClientFor, first: str, hours: int
) -> None:
    ahead = time.time() + hours * 3600
    date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(ahead))

    def answer(request: Request) -> Reply:
        signed = timegm(time.strptime(request.headers["x-amz-date"], "%Y%m%dT%H%M%SZ"))
        if abs(signed - ahead) < 900:
            return anything(request)
        if request.method == "HEAD":
            return Reply(403, {"Date": date})
        told = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(ahead))
        body = f"<Error><Code>RequestTimeTooSkewed</Code><ServerTime>{told}</ServerTime></Error>"
        return Reply(403, body=body.encode())

    server = scripted(answer)
    client = client_for(server.endpoint, max_attempts=1)
    if first == "head":
        client.head_object("bucket", "key")
    ask_all(client)
    assert client.stats()["retries"] == {"clock": 1}


def test_refusal_by_a_server_of_the_same_time_is_not_the_clocks_fault(
    scripted: Scripted, client_for: ClientFor
) -> None:
    date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 600))
    server = scripted([Reply(403, {"Date": date})])
    with pytest.raises(AccessDeniedError, match="Tried once") as caught:
        client_for(server.endpoint).head_object("bucket", "key")
    assert caught.value.code is None


def test_credentials_of_the_environment(
    scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDOFENVIRONMENT")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "the-token")
    server = scripted(anything)
    with S3Client("us-east-1", endpoint=server.endpoint) as client:
        ask_all(client)
    for request in server.requests:
        assert access_key(request) == "AKIDOFENVIRONMENT"
        assert request.headers["x-amz-security-token"] == "the-token"


def test_credentials_and_region_of_a_profile(
    scripted: Scripted, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    server = scripted(anything)
    config = tmp_path / "config"
    config.write_text(
        f"[profile work]\nregion = eu-north-1\nendpoint_url = {server.endpoint}\n"
        "aws_access_key_id = AKIDOFPROFILE\naws_secret_access_key = secret\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDOFENVIRONMENT")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    with S3Client(s3client_config=S3ClientConfig(profile="work")) as client:
        ask_all(client)
        assert client.region == "eu-north-1"
    for request in server.requests:
        assert (access_key(request), scope_region(request)) == ("AKIDOFPROFILE", "eu-north-1")


@pytest.mark.parametrize("failure", [LookupError("the vault is locked"), SystemExit(3)])
def test_providers_failure_to_refresh_reaches_the_caller(
    scripted: Scripted, client_for: ClientFor, failure: BaseException
) -> None:
    """It happens on the supervising thread, which survives it."""
    server = scripted(expiring("AKID3"))
    provider = Provider()

    def moody() -> dict[str, str]:
        if provider.calls == 1:
            provider.calls += 1
            raise failure
        return provider()

    client = client_for(server.endpoint, credentials=moody, max_attempts=1)
    with pytest.raises(type(failure), match=str(failure)):
        client.get_object("bucket", "key").read()
    assert client.get_object("bucket", "key").read(10) == bytes(10)


def test_expired_token_of_a_profiles_process_is_renewed(
    scripted: Scripted, client_for: ClientFor, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    server = scripted(expiring("AKID2"))
    (tmp_path / "provide.py").write_text(
        "import json, pathlib\n"
        f"count = pathlib.Path({str(tmp_path / 'count')!r})\n"
        "count.write_text((count.read_text() if count.exists() else '') + '.')\n"
        "number = len(count.read_text())\n"
        "print(json.dumps({'Version': 1, 'AccessKeyId': f'AKID{number}',\n"
        "    'SecretAccessKey': 'secret', 'SessionToken': 'token'}))\n"
    )
    config = tmp_path / "config"
    config.write_text(
        f"[profile work]\ncredential_process = {sys.executable} {tmp_path / 'provide.py'}\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    client = client_for(server.endpoint, credentials=None, profile="work", max_attempts=1)
    assert client.get_object("bucket", "key").read(10) == bytes(10)
    assert client.head_object("bucket", "key").size == 3 * MIB
    assert client.stats()["retries"] == {"expired_token": 1}
    assert (tmp_path / "count").read_text() == ".."


def test_providers_failure_reaches_the_caller(client_for: ClientFor) -> None:
    def broken() -> dict[str, str]:
        raise LookupError("the vault is locked")

    with pytest.raises(LookupError, match="the vault is locked"):
        client_for("http://127.0.0.1:1", credentials=broken).head_object("bucket", "key")
