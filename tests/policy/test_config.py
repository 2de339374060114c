"""The configuration: its defaults, its checks, and what it shows."""

from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path
from typing import Any

import numpy
import pytest

from s3reader.config import S3ClientConfig

SECRET = "wJalrXUtnFEMI0K7MDENG0bPxRfiCYEXAMPLEKEY"
MAPPING = {"access_key_id": "AKIDEXAMPLE", "secret_access_key": SECRET}


def provider() -> dict[str, str]:
    return MAPPING


def test_positional_fields_are_those_of_s3torchconnector() -> None:
    config = S3ClientConfig(5.0, 16 << 20, True, True, 3, "profile", False)
    assert config == S3ClientConfig(
        throughput_target_gbps=5.0,
        part_size=16 << 20,
        unsigned=True,
        force_path_style=True,
        max_attempts=3,
        profile="profile",
        requester_pays=False,
    )
    with pytest.raises(TypeError):
        S3ClientConfig(5.0, 16 << 20, True, True, 3, "profile", False, 10.0)  # type: ignore[misc]


def test_defaults() -> None:
    assert dataclasses.asdict(S3ClientConfig()) == {
        "throughput_target_gbps": 10.0,
        "part_size": 8 << 20,
        "unsigned": False,
        "force_path_style": False,
        "max_attempts": 10,
        "profile": None,
        "requester_pays": False,
        "connect_timeout": 10.0,
        "first_byte_timeout": 30.0,
        "stall_timeout": 30.0,
        "retry_timeout": 300.0,
        "max_connections": None,
        "memory_limit": 1 << 30,
        "ca_bundle": None,
        "proxy": None,
        "credentials": None,
        "checksum_mode": True,
        "hedge": False,
    }


TIMEOUTS = ["connect_timeout", "first_byte_timeout", "stall_timeout", "retry_timeout"]
NUMBERS = ["throughput_target_gbps", *TIMEOUTS]
WHOLE = ["part_size", "max_attempts", "memory_limit", "max_connections"]
BOOLEANS = ["unsigned", "force_path_style", "requester_pays", "checksum_mode", "hedge"]


@pytest.mark.parametrize(
    ("field", "value", "kind"),
    [
        *((name, value, ValueError) for name in NUMBERS for value in (0, -1, float("nan"))),
        *((name, float("inf"), ValueError) for name in NUMBERS),
        *((name, value, TypeError) for name in NUMBERS for value in ("1", True, 1j)),
        *((name, value, ValueError) for name in WHOLE for value in (0, -1, 2**63)),
        *((name, value, TypeError) for name in WHOLE for value in ("1", True, 1.0)),
        *((name, value, TypeError) for name in BOOLEANS for value in (1, 0, "no", None)),
        ("throughput_target_gbps", None, TypeError),
        ("part_size", None, TypeError),
        ("part_size", 4095, ValueError),
        ("memory_limit", None, TypeError),
        ("memory_limit", (8 << 20) - 1, ValueError),
        ("profile", "", ValueError),
        ("profile", " ", ValueError),
        ("profile", "a\nb", ValueError),
        ("profile", 1, TypeError),
        ("ca_bundle", "", ValueError),
        ("ca_bundle", "a\0b", ValueError),
        ("ca_bundle", b"path", TypeError),
        ("ca_bundle", 1, TypeError),
        ("proxy", 1, TypeError),
        ("proxy", "http://", ValueError),
        ("proxy", "ftp://host:21", ValueError),
        ("proxy", "http://host:1/path", ValueError),
        ("proxy", "http://host\r\nX: y", ValueError),
        ("credentials", "AKID", TypeError),
        ("credentials", 1, TypeError),
        ("credentials", {}, ValueError),
        ("credentials", {"access_key_id": "A"}, ValueError),
        ("credentials", {**MAPPING, "sesion_token": "x"}, ValueError),
        ("credentials", {**MAPPING, "session_token": 1}, TypeError),
    ],
)
def test_impossible_value_is_refused_by_name(field: str, value: Any, kind: type) -> None:
    with pytest.raises(kind, match=field):
        S3ClientConfig(**{field: value})


def test_unknown_field_is_refused_by_name() -> None:
    with pytest.raises(TypeError, match="part_sise"):
        S3ClientConfig(part_sise=1)  # type: ignore[call-arg]


def test_requester_pays_excludes_unsigned() -> None:
    with pytest.raises(ValueError, match="requester_pays"):
        S3ClientConfig(unsigned=True, requester_pays=True)


@pytest.mark.parametrize("field", [*TIMEOUTS, "max_connections", "ca_bundle", "proxy", "profile"])
def test_none_is_taken_where_it_means_something(field: str) -> None:
    assert getattr(S3ClientConfig(**{field: None}), field) is None


@pytest.mark.parametrize(
    "proxy",
    ["", "http://host:3128", "https://u:p@host", "host:80", "socks5h://h:1", "http://[::1]:3"],
)
def test_proxies_are_taken(proxy: str) -> None:
    assert S3ClientConfig(proxy=proxy).proxy == proxy


def test_numbers_of_other_types_become_plain_ones(tmp_path: Path) -> None:
    config = S3ClientConfig(
        throughput_target_gbps=numpy.float32(2.5),  # type: ignore[arg-type]
        part_size=numpy.int64(1 << 20),  # type: ignore[arg-type]
        connect_timeout=1,
        ca_bundle=tmp_path,
    )
    assert type(config.throughput_target_gbps) is float
    assert type(config.part_size) is int
    assert type(config.connect_timeout) is float
    assert config.ca_bundle == str(tmp_path)


def test_is_frozen_and_keeps_a_copy_of_the_mapping() -> None:
    mapping = dict(MAPPING)
    config = S3ClientConfig(credentials=mapping)
    mapping.clear()
    assert config.credentials == MAPPING
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.part_size = 1  # type: ignore[misc]


@pytest.mark.parametrize("credentials", [None, MAPPING, provider])
def test_pickles_and_hashes(credentials: Any) -> None:
    config = S3ClientConfig(credentials=credentials, retry_timeout=None)
    twin = pickle.loads(pickle.dumps(config))
    assert twin == config
    assert hash(twin) == hash(config)


@pytest.mark.parametrize("credentials", [MAPPING, provider, lambda: MAPPING])
def test_shows_no_secret(credentials: Any) -> None:
    config = S3ClientConfig(credentials=credentials, proxy=f"http://user:{SECRET}@host:1")
    assert SECRET not in f"{config!r} {config}"
    assert "http://host:1" in repr(config)


@pytest.mark.parametrize(
    "wrong",
    [
        {"proxy": f"http://user:{SECRET}@host/path"},
        {"credentials": {"access_key_id": SECRET}},
        {"credentials": {**MAPPING, "secret_access_key": SECRET + "\n"}},
        {"credentials": {**MAPPING, "session_token": SECRET + " "}},
        {"credentials": {**MAPPING, "expiry_time": SECRET}},
        {"credentials": SECRET},
    ],
)
def test_refusal_shows_no_secret(wrong: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError)) as refusal:
        S3ClientConfig(**wrong)
    assert SECRET not in f"{refusal.value!r}"
