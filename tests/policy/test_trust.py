"""The order in which CA certificates are looked for, and that a user's choice is never skipped."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from s3reader import trust
from s3reader.config import S3ClientConfig
from s3reader.trust import resolve_ca_bundle

# From the one that wins to the one that is left.
ORDER = (
    "config",
    "AWS_CA_BUNDLE",
    "profile",
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "system",
    "shipped",
)


@pytest.fixture
def bundles(tmp_path: Path) -> dict[str, str]:
    for name in ORDER:
        (tmp_path / name).write_text("-----BEGIN CERTIFICATE-----\n")
    return {name: str(tmp_path / name) for name in ORDER}


def resolve(monkeypatch: pytest.MonkeyPatch, available: dict[str, str]) -> str | None:
    def listed(name: str) -> list[str]:
        return [available[name]] if name in available else []

    profile = {"ca_bundle": available["profile"]} if "profile" in available else {}
    monkeypatch.setattr(trust, "shared_config", lambda name, environ: profile)
    monkeypatch.setattr(trust, "SYSTEM_BUNDLES", ("/nonexistent", *listed("system")))
    monkeypatch.setattr(trust, "_shipped_bundles", lambda: listed("shipped"))
    environ = {name: path for name, path in available.items() if name.isupper()}
    return resolve_ca_bundle(S3ClientConfig(ca_bundle=available.get("config")), environ)


@pytest.mark.parametrize("position", range(len(ORDER)), ids=ORDER)
def test_nearest_bundle_holds(
    monkeypatch: pytest.MonkeyPatch, bundles: dict[str, str], position: int
) -> None:
    available = {name: bundles[name] for name in ORDER[position:]}
    assert resolve(monkeypatch, available) == bundles[ORDER[position]]


def test_nothing_found_leaves_it_to_libcurl(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve(monkeypatch, {}) is None


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("config", "ca_bundle takes a readable file"),
        ("AWS_CA_BUNDLE", "AWS_CA_BUNDLE takes a readable file"),
        ("profile", "the profile's ca_bundle takes a readable file"),
        ("SSL_CERT_FILE", "SSL_CERT_FILE takes a readable file"),
        ("REQUESTS_CA_BUNDLE", "REQUESTS_CA_BUNDLE takes a readable file"),
    ],
)
@pytest.mark.parametrize("what", ["missing", "directory"])
def test_bundle_the_user_set_is_never_passed_over(
    monkeypatch: pytest.MonkeyPatch, bundles: dict[str, str], name: str, words: str, what: str
) -> None:
    path = Path(bundles["system"]).with_name(what)
    if what == "directory":
        path.mkdir()
    available = {name: str(path), "system": bundles["system"]}
    with pytest.raises(ValueError, match=words) as caught:
        resolve(monkeypatch, available)
    assert repr(str(path)) in str(caught.value)


def test_home_directory_is_expanded(
    monkeypatch: pytest.MonkeyPatch, bundles: dict[str, str], tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert resolve(monkeypatch, {"AWS_CA_BUNDLE": "~/config"}) == bundles["config"]


def test_shipped_bundles_are_found_without_importing_their_packages(tmp_path: Path) -> None:
    program = (
        "import os, sys; from s3reader.trust import _shipped_bundles; found = _shipped_bundles();"
        "assert any(os.path.isfile(path) for path in found), found;"
        "assert not {'botocore', 'certifi'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60, cwd=tmp_path)
