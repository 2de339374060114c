"""Which certificates to trust: the one file of CA certificates that libcurl is given.

The libcurl that pycurl brings along looks for certificates where the machine that built it had
them, which is seldom where this one has them. So the client always names a file: what the user
set, else what the system keeps, else what a Python package ships.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from .config import S3ClientConfig
from .credentials import shared_config

# Where systems keep all their CA certificates in one file.
SYSTEM_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Arch, Alpine
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",  # Fedora, RHEL, Amazon Linux
    "/etc/pki/tls/certs/ca-bundle.crt",  # older RHEL and CentOS
    "/etc/ssl/ca-bundle.pem",  # openSUSE
    "/etc/ssl/cert.pem",  # macOS, the BSDs
)

# Packages that ship a bundle as cacert.pem; certifi is the one that is renewed for its own sake.
_SHIPPING_PACKAGES = ("certifi", "botocore")


def resolve_ca_bundle(
    config: S3ClientConfig, environ: Mapping[str, str] = os.environ
) -> str | None:
    """The file of CA certificates to trust, or None for libcurl's own idea of it.

    The first of: `config.ca_bundle`, ``AWS_CA_BUNDLE``, the profile's ``ca_bundle``,
    ``SSL_CERT_FILE``, ``REQUESTS_CA_BUNDLE``, the system's, certifi's, botocore's.

    Raises:
        ValueError: what the user set is not a readable file. It is never passed over for the next:
            that could trust more than the user meant to.
    """
    for origin, path in _chosen(config, environ):
        if path:
            return _user_file(origin, path)
    return next((path for path in (*SYSTEM_BUNDLES, *_shipped_bundles()) if _is_file(path)), None)


def _chosen(config: S3ClientConfig, environ: Mapping[str, str]) -> Iterator[tuple[str, str | None]]:
    yield "ca_bundle", None if config.ca_bundle is None else os.fspath(config.ca_bundle)
    yield "AWS_CA_BUNDLE", environ.get("AWS_CA_BUNDLE")
    yield "the profile's ca_bundle", shared_config(config.profile, environ).get("ca_bundle")
    yield "SSL_CERT_FILE", environ.get("SSL_CERT_FILE")
    yield "REQUESTS_CA_BUNDLE", environ.get("REQUESTS_CA_BUNDLE")


def _user_file(origin: str, path: str) -> str:
    expanded = os.path.expanduser(path)
    if not _is_file(expanded):
        raise ValueError(
            f"{origin} takes a readable file of CA certificates in PEM format, got {path!r}"
        )
    return expanded


def _is_file(path: str) -> bool:
    return os.path.isfile(path) and os.access(path, os.R_OK)


def _shipped_bundles() -> list[str]:
    # Found without importing: botocore alone would take longer than everything else here.
    specs = [importlib.util.find_spec(package) for package in _SHIPPING_PACKAGES]
    return [
        str(Path(spec.origin).with_name("cacert.pem")) for spec in specs if spec and spec.origin
    ]
