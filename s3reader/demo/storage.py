"""Where the demo's objects are: put there with boto3, read with `S3Client`, remembered here."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

import boto3

from s3reader import S3Client, S3ClientConfig
from s3reader.demo.server import EmbeddedS3

BUCKET = "demo"
REGION = "us-east-1"
# Moto takes any pair; naming one keeps the user's own out of it.
ACCESS_KEY, SECRET_KEY = "demo-access-key", "demo-secret-key"


class Storage:
    """A bucket in an embedded S3.

    Attributes:
        source: what was put, by key; what is read is compared with it.
        client: reads it.
    """

    def __init__(self) -> None:
        self.source: dict[str, bytes] = {}
        self._server = EmbeddedS3()
        self._writer: Any = boto3.client(
            "s3",
            endpoint_url=self._server.endpoint,
            region_name=REGION,
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
        )
        self._writer.create_bucket(Bucket=BUCKET)
        credentials = {"access_key_id": ACCESS_KEY, "secret_access_key": SECRET_KEY}
        self.client = S3Client(
            REGION,
            endpoint=self._server.endpoint,
            s3client_config=S3ClientConfig(credentials=credentials),
        )

    def put(self, key: str, data: bytes) -> None:
        """Upload `data` and remember it."""
        self.source[key] = data
        self._writer.put_object(Bucket=BUCKET, Key=key, Body=data)

    def put_folder(self, prefix: str, folder: Path, last: str) -> None:
        """Upload a folder's files; the one named `last` is there only when all others are."""
        for file in sorted(folder.iterdir(), key=lambda file: (file.name == last, file.name)):
            self.put(f"{prefix}/{file.name}", file.read_bytes())

    def __enter__(self) -> Storage:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.client.close()
        self._writer.close()
        self._server.close()
