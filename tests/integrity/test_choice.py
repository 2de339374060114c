"""Which of the checksums that S3 tells is verified; composite ones never are."""

from __future__ import annotations

import pickle

import pytest
from checksum_twins import ALGORITHMS, checksum

from s3reader import ChecksumError, IncompleteDataError, S3Exception, checksums

DATA = b"some bytes"
WHOLE_ETAG = '"9e107d9d372bb6826bd81d3542a419d6"'
PARTS_ETAG = '"9e107d9d372bb6826bd81d3542a419d6-7"'


@pytest.mark.usefixtures("every_algorithm")
@pytest.mark.parametrize("name", ALGORITHMS)
@pytest.mark.parametrize("kind", ["FULL_OBJECT", None])
def test_full_object_checksum_is_chosen(name: str, kind: str | None) -> None:
    text = checksum(name, DATA)
    chosen = checksums.choose({name: text}, kind, WHOLE_ETAG)
    assert chosen == (name, "FULL_OBJECT", text, "")


@pytest.mark.usefixtures("every_algorithm")
@pytest.mark.parametrize(
    ("text", "kind", "etag", "reason"),
    [
        (checksum("sha256", DATA) + "-7", "COMPOSITE", PARTS_ETAG, "composite"),
        (checksum("sha256", DATA) + "-7", None, PARTS_ETAG, "composite"),
        (checksum("sha256", DATA), "COMPOSITE", PARTS_ETAG, "composite"),
        (checksum("sha256", DATA), None, PARTS_ETAG, "may be composite"),
        ("", "FULL_OBJECT", WHOLE_ETAG, "is no SHA-256 of 32 bytes"),
        ("%%%", "FULL_OBJECT", WHOLE_ETAG, "is no SHA-256 of 32 bytes"),
        (checksum("crc32", DATA), "FULL_OBJECT", WHOLE_ETAG, "is no SHA-256 of 32 bytes"),
    ],
)
def test_what_the_bytes_do_not_tell_is_not_verified(
    text: str, kind: str | None, etag: str, reason: str
) -> None:
    chosen = checksums.choose({"sha256": text}, kind, etag)
    assert reason in chosen.reason
    assert chosen.algorithm == "sha256"


@pytest.mark.usefixtures("every_algorithm")
def test_full_object_checksum_of_parts_is_chosen() -> None:
    text = checksum("crc32c", DATA)
    assert checksums.choose({"crc32c": text}, "FULL_OBJECT", PARTS_ETAG).reason == ""
    # CRC-64/NVME is never composite, whatever a server leaves out.
    text = checksum("crc64nvme", DATA)
    assert checksums.choose({"crc64nvme": text}, None, PARTS_ETAG).reason == ""


def test_what_can_be_computed_is_chosen_over_what_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checksums, "crc_function", lambda name: None)
    told = {name: checksum(name, DATA) for name in ("crc64nvme", "sha1")}
    assert checksums.choose(told, "FULL_OBJECT", WHOLE_ETAG).algorithm == "sha1"
    del told["sha1"]
    chosen = checksums.choose(told, "FULL_OBJECT", WHOLE_ETAG)
    assert "CRC-64/NVME: pip install s3reader[checksums]" in chosen.reason


def test_function_of_a_missing_package_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> object:
        raise ImportError(name)

    monkeypatch.setattr(checksums.importlib, "import_module", missing)
    assert checksums.crc_function.__wrapped__("crc32c") is None


def test_error_survives_the_way_between_processes() -> None:
    error = ChecksumError("words", algorithm="crc32", expected="a", computed="b", key="key")
    copy = pickle.loads(pickle.dumps(error))
    assert isinstance(copy, IncompleteDataError)
    assert isinstance(copy, S3Exception)
    assert vars(copy) == vars(error)
    assert str(copy) == "words"
