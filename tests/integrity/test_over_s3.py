"""Checksums over a real server: stored by boto3, told by S3, verified by every reader."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from checksum_twins import ALGORITHMS, checksum
from servers.embedded_s3 import S3
from servers.faults import pattern
from servers.scripted import object_script

from s3reader import (
    ChecksumError,
    DCPOptimizedS3Reader,
    ItemRange,
    S3Client,
    S3ClientConfig,
    S3ReaderConstructor,
)

pytestmark = pytest.mark.usefixtures("every_algorithm")

PART = 64 * 1024
DATA = pattern(5 * PART + 3)


def whole_item(**arguments: Any) -> DCPOptimizedS3Reader:
    return DCPOptimizedS3Reader(item_ranges=[ItemRange(0, len(DATA))], **arguments)


readers = pytest.mark.parametrize(
    "constructor",
    [S3ReaderConstructor.sequential(), S3ReaderConstructor.range_based(), whole_item],
    ids=["sequential", "ranged", "checkpoint"],
)


def store(s3: S3, bucket: str, algorithm: str) -> str:
    """Puts `DATA` with a checksum that S3 has to check, and gives its key."""
    key = f"integrity/{algorithm}"
    name = algorithm.upper()
    told = {"ChecksumAlgorithm": name, f"Checksum{name}": checksum(algorithm, DATA)}
    s3.put(bucket, key, DATA, **told)
    return key


@readers
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_large_object_is_verified_with_what_a_head_told(
    constructor: Any, algorithm: str, s3: S3, bucket: str, new_client: Callable[..., Any]
) -> None:
    key = store(s3, bucket, algorithm)
    client = new_client(part_size=PART)
    info = client.head_object(bucket, key)
    assert info.checksums[algorithm] == checksum(algorithm, DATA)
    reader = client.get_object(bucket, key, object_info=info, reader_constructor=constructor)
    buffer = bytearray(len(DATA))
    assert reader.readinto(buffer) == len(DATA)
    assert buffer == DATA
    assert (reader.integrity.verified, reader.integrity.algorithm) == ("whole", algorithm)


def test_object_in_parts_has_a_composite_checksum_that_is_left_alone(
    s3: S3, bucket: str, new_client: Callable[..., Any]
) -> None:
    key = "integrity/parts"
    upload = s3.boto.create_multipart_upload(Bucket=bucket, Key=key, ChecksumAlgorithm="SHA256")
    parts = []
    pieces = [pattern(5 << 20), b"the last part"]
    for number, piece in enumerate(pieces, 1):
        answer = s3.boto.upload_part(
            Bucket=bucket,
            Key=key,
            UploadId=upload["UploadId"],
            PartNumber=number,
            Body=piece,
            ChecksumSHA256=checksum("sha256", piece),
        )
        parts.append(
            {
                "PartNumber": number,
                "ETag": answer["ETag"],
                "ChecksumSHA256": checksum("sha256", piece),
            }
        )
    s3.boto.complete_multipart_upload(
        Bucket=bucket, Key=key, UploadId=upload["UploadId"], MultipartUpload={"Parts": parts}
    )
    client = new_client()
    info = client.head_object(bucket, key)
    for known in (None, info):
        reader = client.get_object(bucket, key, object_info=known)
        assert reader.read() == b"".join(pieces)
        assert reader.integrity.verified == "none"


def test_proxy_that_changes_a_byte_is_found_out(
    s3: S3, bucket: str, scripted: Callable[..., Any], new_client: Callable[..., Any]
) -> None:
    key = store(s3, bucket, "crc32")
    info = new_client().head_object(bucket, key)
    wrong = bytearray(DATA)
    wrong[-1] ^= 1
    server = scripted(object_script(bytes(wrong), info.etag))
    config = S3ClientConfig(part_size=PART, credentials=s3.credentials)
    with S3Client(s3.region, endpoint=server.endpoint, s3client_config=config) as client:
        reader = client.get_object(bucket, key, object_info=info)
        with pytest.raises(ChecksumError, match="CRC-32"):
            reader.read()
        assert reader.tell() == 0
