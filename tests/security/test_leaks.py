"""Secrets, tokens and signatures stay where they are used: not in errors, logs or pickles."""

from __future__ import annotations

import copy
import io
import logging
import pickle
import pprint
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from asking import DATA, anything, ask_all
from clients import KEYS, SECRET, TOKEN
from servers.certificates import Certificates
from servers.scripted import Reply, Request, ScriptedServer, object_script

from s3reader import S3Client, S3ClientConfig, S3Exception, S3ReaderConstructor

CUSTOMER_KEY = b"thirty-two-bytes-of-customer-key"
ENCODED_KEY = "dGhpcnR5LXR3by1ieXRlcy1vZi1jdXN0b21lci1rZXk="
PASSWORD = "hunter2hunter2"

Scripted = Callable[..., ScriptedServer]
ClientFor = Callable[..., S3Client]
Hides = Callable[..., None]


def spiteful(request: Request) -> Reply:
    """Says back everything it was sent, in the words, the code, the ids and the headers."""
    sent = request.raw.decode("latin-1").replace("<", "(").replace("&", "+")
    flat = " ".join(sent.split())
    body = f"<Error><Code>{flat[:900]}</Code><Message>{sent}</Message></Error>"
    return Reply(400, {"x-amz-request-id": flat, "x-amz-id-2": flat, "Server": flat}, body.encode())


ANSWERS: dict[str, Any] = {
    "echo": spiteful,
    "echo as text": lambda request: Reply(500, {}, request.raw),
    "echo as page": lambda request: Reply(200, {"ETag": '"v"'}, request.raw, cut_after=30),
    "echo as etag": lambda request: Reply(
        206,
        {"ETag": request.headers["authorization"], "Content-Range": "bytes 0-4/5"},
        b"hello",
        cut_body_after=2,
    ),
    "echo as range": lambda request: Reply(
        206, {"ETag": '"v"', "Content-Range": request.headers["authorization"]}, b"hello"
    ),
    "echo as redirect": lambda request: Reply(
        301, {"Location": "https://x/?" + request.headers["authorization"]}
    ),
    "echo as region": lambda request: Reply(
        301, {"x-amz-bucket-region": request.headers["x-amz-security-token"]}
    ),
    "reset": [Reply(raw=b"", reset=True)],
    "garbage": [Reply(raw=b"\x00\x01garbage\r\n\r\n")],
}

ASKS: dict[str, Callable[[S3Client], Any]] = {
    "get": lambda client: client.get_object("bucket", "key").read(),
    "ranged": lambda client: client.get_object(
        "bucket", "key", reader_constructor=S3ReaderConstructor.range_based()
    ).readinto(bytearray(10)),
    "head": lambda client: client.head_object("bucket", "key"),
    "list": lambda client: next(client.list_objects("bucket")),
}


@pytest.mark.parametrize("ask", ASKS.values(), ids=ASKS.keys())
@pytest.mark.parametrize("script", ANSWERS.values(), ids=ANSWERS.keys())
def test_error_shows_no_secret_however_it_is_looked_at(
    scripted: Scripted,
    client_for: ClientFor,
    hides_secrets: Hides,
    script: Any,
    ask: Callable[[S3Client], Any],
) -> None:
    client = client_for(scripted(script).endpoint, max_attempts=1)
    with pytest.raises(S3Exception) as caught:
        ask(client)
    error = caught.value
    told = traceback.TracebackException.from_exception(error, capture_locals=True)
    views = [
        str(error),
        repr(error),
        repr(error.args),
        pprint.pformat(vars(error)),
        pickle.dumps(error).decode("latin-1"),
        repr(vars(copy.copy(error))),
        "".join(told.format()),
    ]
    # The locals of the tests' own frames are what the test put there.
    hides_secrets(*(view.replace(repr(script), "") for view in views))


def everything(client: S3Client) -> Iterator[Any]:
    """What a script may hold and print."""
    reader = client.get_object("bucket", "key")
    yield from (client, client.s3client_config, client.stats(), reader, reader.stats())
    stream = reader._get_stream()
    next(stream)
    yield from (stream, reader._get_stream, stream.stats() if hasattr(stream, "stats") else None)
    yield from (client.list_objects("bucket"), client.head_object("bucket", "key"))
    session = client._session
    yield from (session, session.signer, session.signer._credentials, session.fetcher)
    request = reader._get_stream.request
    yield from (request, request.signed, request.signed.made_with, session.signer.sign(request))


def test_nothing_that_a_script_holds_shows_a_secret(
    scripted: Scripted, client_for: ClientFor, hides_secrets: Hides
) -> None:
    client = client_for(scripted(anything).endpoint)
    for each in everything(client):
        for look in (repr, str, "{}".format, pprint.pformat):
            hides_secrets(look(each))


@pytest.mark.parametrize("kind", ["environment", "provider"])
def test_pickles_hold_no_secret_that_was_not_given(
    scripted: Scripted,
    client_for: ClientFor,
    hides_secrets: Hides,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_SESSION_TOKEN", TOKEN)
    credentials = provide if kind == "provider" else None
    client = client_for(scripted(anything).endpoint, credentials=credentials)
    reader = client.get_object("bucket", "key")
    assert reader.read(10) == DATA[:10]
    pages = client.list_objects("bucket")
    for each in (client, client.s3client_config, reader, reader._get_stream, pages):
        for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
            hides_secrets(pickle.dumps(each, protocol).decode("latin-1"))


def provide() -> dict[str, str]:
    return dict(KEYS)


@pytest.mark.parametrize("name", ["signer", "fetcher", "_judge"])
def test_core_does_not_leave_the_process(
    scripted: Scripted, client_for: ClientFor, name: str
) -> None:
    client = client_for(scripted(anything).endpoint)
    assert client.get_object("bucket", "key").read() == DATA
    with pytest.raises(TypeError):
        pickle.dumps(getattr(client._session, name))
    request = client.get_object("bucket", "key")._get_stream.request
    with pytest.raises(TypeError):
        pickle.dumps(client._session.signer.sign(request))


def test_log_at_its_most_talkative_shows_no_secret(
    scripted: Scripted, client_for: ClientFor, hides_secrets: Hides
) -> None:
    said = io.StringIO()
    handler = logging.StreamHandler(said)
    root = logging.getLogger()
    root.addHandler(handler)
    level = root.level
    root.setLevel(1)
    try:
        good = object_script(DATA)
        bad = [Reply(503), spiteful, Reply(raw=b"", reset=True), Reply(206, {}, b"x")]

        def answer(request: Request) -> Reply:
            if request.index < len(bad):
                reply = bad[request.index]
                return reply if isinstance(reply, Reply) else Reply(500, {}, request.raw)
            return good(request)

        client = client_for(scripted(answer).endpoint, max_attempts=6)
        client.get_object("bucket", "key").read()
        ask_all(client_for(scripted(anything).endpoint))
    except S3Exception:
        pass  # which of them is fatal is the policy's
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
    assert "s3://bucket/key" in said.getvalue()
    hides_secrets(said.getvalue())


def test_customer_key_is_sent_and_not_shown(
    scripted: Scripted, certificates: Certificates, client_for: ClientFor, hides_secrets: Hides
) -> None:
    def echo(request: Request) -> Reply:
        told = "\n".join(f"{name}: {value}" for name, value in request.headers.items())
        return Reply(400, {}, f"<Error><Code>Odd</Code><Message>{told}</Message></Error>".encode())

    server = scripted(echo, (certificates.chain, certificates.key))
    client = client_for(server.endpoint, ca_bundle=certificates.authority)
    for ask in (
        lambda: client.get_object("bucket", "key", sse_customer_key=CUSTOMER_KEY).read(),
        lambda: client.head_object("bucket", "key", sse_customer_key=CUSTOMER_KEY),
    ):
        with pytest.raises(S3Exception) as caught:
            ask()
        error = caught.value
        hides_secrets(str(error), repr(error), vars(error), also=(ENCODED_KEY, str(CUSTOMER_KEY)))
    assert ENCODED_KEY in server.requests[0].raw.decode()
    reader = client.get_object("bucket", "key", sse_customer_key=CUSTOMER_KEY)
    hides_secrets(repr(reader), repr(reader._get_stream), also=(ENCODED_KEY, str(CUSTOMER_KEY)))


def test_settings_show_neither_keys_nor_the_proxys_password() -> None:
    config = S3ClientConfig(credentials=KEYS, proxy=f"http://user:{PASSWORD}@127.0.0.1:1")
    client = S3Client("us-east-1", s3client_config=config)
    for look in (repr(config), str(config), repr(client), repr([config])):
        assert SECRET not in look
        assert TOKEN not in look
        assert PASSWORD not in look


def test_refused_settings_are_not_repeated_where_they_may_be_secret() -> None:
    for field, value in (
        ("credentials", {"access_key_id": "AKID", "secret_access_key": f"{SECRET}\n"}),
        ("credentials", {"access_key_id": "AKID", "secret_acess_key": SECRET}),
        ("credentials", f"AKID:{SECRET}"),
        ("credentials", [("secret_access_key", SECRET)]),
        ("proxy", f"gopher://user:{SECRET}@127.0.0.1"),
        ("proxy", f"http://user:{SECRET}\r\n@127.0.0.1"),
        ("proxy", (SECRET,)),
    ):
        with pytest.raises((ValueError, TypeError)) as caught:  # noqa: PT012, the later the better
            config = S3ClientConfig(**{field: value})
            client = S3Client("us-east-1", endpoint="http://127.0.0.1:1", s3client_config=config)
            client.head_object("bucket", "key")
        assert SECRET not in str(caught.value), field
