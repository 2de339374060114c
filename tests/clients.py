"""Clients of scripted servers, and the secrets that nothing may show."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from s3reader import S3Client, S3ClientConfig

SECRET = "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY"
TOKEN = "FwoGZXIvYXdzEBYaDOtheSessionTokenItself"
KEYS = {"access_key_id": "AKIDEXAMPLE", "secret_access_key": SECRET, "session_token": TOKEN}

EMPTY_BODY_HASH = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
_SIGNATURE = re.compile(r"[0-9a-f]{64}|AWS4-HMAC|Signature=")


@pytest.fixture
def client_for() -> Iterator[Callable[..., S3Client]]:
    """Makes an ``S3Client`` for an endpoint; keyword arguments go to ``S3ClientConfig``."""
    clients = []

    def make(
        endpoint: str | None, region: str = "us-east-1", user_agent: Any = None, **settings: Any
    ) -> S3Client:
        settings.setdefault("credentials", None if settings.get("unsigned") else KEYS)
        settings.setdefault("max_attempts", 2)
        config = S3ClientConfig(**settings)
        client = S3Client(region, endpoint=endpoint, user_agent=user_agent, s3client_config=config)
        clients.append(client)
        return client

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def hides_secrets(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[..., None]]:
    """Asserts that texts, and at the test's end the log at DEBUG, show nothing secret."""
    caplog.set_level(logging.DEBUG)

    def check(*texts: object, also: tuple[str, ...] = ()) -> None:
        for text in map(str, texts):
            for secret in (SECRET, TOKEN, *also):
                assert secret not in text, text
            assert not _SIGNATURE.search(text.replace(EMPTY_BODY_HASH, "")), text

    yield check
    for record in caplog.get_records("call"):
        if record.name.startswith("s3reader"):
            check(record.getMessage(), record.args)
