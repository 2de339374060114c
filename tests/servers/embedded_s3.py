"""The S3 that tests read from: moto in a subprocess by default, any other by environment.

``EmbeddedS3`` starts ``moto_app.py`` and records requests. ``ExternalS3`` is whatever
``S3READER_TEST_ENDPOINT``, ``S3READER_TEST_ACCESS_KEY``, ``S3READER_TEST_SECRET_KEY`` and
``S3READER_TEST_REGION`` describe (the endpoint ``aws`` means AWS itself); it keeps no record a
test could ask for, so a test that asks is skipped. Both fill buckets of random names and remove
them at the end.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import secrets
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

import pytest

from servers.record import FIXTURE_AGENT, RECORD_PATH, RecordedRequest

STOP_TIMEOUT = 10  # seconds for the child to end by itself


class S3(ABC):
    """A running S3 and what a test needs to know of it. `endpoint` is None for AWS."""

    def __init__(
        self, endpoint: str | None, access_key: str, secret_key: str, region: str = "us-east-1"
    ) -> None:
        self.endpoint = endpoint
        self.access_key = access_key
        self.secret_key = secret_key
        self.region = region
        self._buckets: list[str] = []

    @property
    def credentials(self) -> dict[str, str]:
        """As ``S3ClientConfig(credentials=...)`` takes them."""
        return {"access_key_id": self.access_key, "secret_access_key": self.secret_key}

    @cached_property
    def boto(self) -> Any:
        """A boto3 S3 client; its requests do not appear in the record."""
        return self.boto_client("s3")

    def boto_client(
        self, service: str, *, region: str = "", secret_key: str = "", **options: Any
    ) -> Any:
        """A new boto3 client; `options` go to botocore's ``Config``."""
        import boto3
        from botocore.config import Config

        return boto3.client(
            service,
            endpoint_url=self.endpoint,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=secret_key or self.secret_key,
            region_name=region or self.region,
            config=Config(
                user_agent_extra=FIXTURE_AGENT,
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                **options,
            ),
        )

    def create_bucket(self, region: str | None = None, prefix: str = "s3reader-test-") -> str:
        """Create a bucket of a random name, in `region` if it is not the server's own."""
        region = region or self.region
        client = self.boto if region == self.region else self.boto_client("s3", region=region)
        options: dict[str, Any] = {}
        if region != "us-east-1":
            options["CreateBucketConfiguration"] = {"LocationConstraint": region}
        bucket = prefix + secrets.token_hex(8)
        client.create_bucket(Bucket=bucket, **options)
        self._buckets.append(bucket)
        return bucket

    def put(self, bucket: str, key: str, data: bytes | bytearray | memoryview, **kw: Any) -> str:
        """Upload `data`; `kw` goes to boto3's ``put_object``. Returns the ETag, in its quotes."""
        etag: str = self.boto.put_object(Bucket=bucket, Key=key, Body=bytes(data), **kw)["ETag"]
        return etag

    @abstractmethod
    def requests(self, operation: str | None = None) -> list[RecordedRequest]:
        """The requests since the last `reset`, in order of their responses' beginning."""

    @abstractmethod
    def reset(self) -> None:
        """Forget the requests recorded so far."""

    def close(self) -> None:
        """Remove the buckets created here and end what was started here."""
        for bucket in self._buckets:
            for page in self.boto.get_paginator("list_objects_v2").paginate(Bucket=bucket):
                for item in page.get("Contents", []):
                    self.boto.delete_object(Bucket=bucket, Key=item["Key"])
            for page in self.boto.get_paginator("list_object_versions").paginate(Bucket=bucket):
                for item in page.get("Versions", []) + page.get("DeleteMarkers", []):
                    name = {"Key": item["Key"], "VersionId": item["VersionId"]}
                    self.boto.delete_object(Bucket=bucket, **name)
            self.boto.delete_bucket(Bucket=bucket)
        self._buckets.clear()


class EmbeddedS3(S3):
    """Moto in a child process that ends when this object is closed, or this process dies."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("moto_app.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        introduction = json.loads(self._process.stdout.readline())
        self.port: int = introduction["port"]
        self.url = f"http://127.0.0.1:{self.port}"
        super().__init__(self.url, introduction["access_key"], introduction["secret_key"])

    def requests(self, operation: str | None = None) -> list[RecordedRequest]:
        entries = [RecordedRequest(**entry) for entry in json.loads(self._control("GET"))]
        return [entry for entry in entries if operation in (None, entry.operation)]

    def reset(self) -> None:
        self._control("DELETE")

    def close(self) -> None:
        """Everything in it dies with the process, so nothing needs removing."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        if "boto" in self.__dict__:
            self.boto.close()
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def _control(self, method: str) -> bytes:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port)) as connection:
            connection.request(method, RECORD_PATH)
            return connection.getresponse().read()


class ExternalS3(S3):
    """An S3 somewhere else."""

    def requests(self, operation: str | None = None) -> list[RecordedRequest]:
        self._no_record()

    def reset(self) -> None:
        """Nothing is recorded, so there is nothing to forget."""

    def _no_record(self) -> NoReturn:
        pytest.skip(f"asserts on the server's record of requests; {self.endpoint} keeps none")


def external_s3(environ: Mapping[str, str]) -> ExternalS3 | None:
    """The S3 that the environment names, if it names one."""
    endpoint = environ.get("S3READER_TEST_ENDPOINT")
    if not endpoint:
        return None
    return ExternalS3(
        None if endpoint == "aws" else endpoint,
        environ["S3READER_TEST_ACCESS_KEY"],
        environ["S3READER_TEST_SECRET_KEY"],
        environ.get("S3READER_TEST_REGION") or "us-east-1",
    )
