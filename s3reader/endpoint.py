"""Where requests go: from bucket, key and region to scheme, host and path.

The client asks an `EndpointResolver` once for an object or a listing; the transfer sends what the
returned `Target` says and signs exactly that, so nothing on the way may encode or normalise it
again. AWS's own endpoints follow S3's endpoint rules (regions, partitions, dual-stack, FIPS); an
endpoint given by the caller, the environment or the profile is used as it stands. The bucket
goes into the host name, as S3 asks, where that gives a host that resolves and has a certificate,
and into the path where it does not.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

from .config import S3ClientConfig
from .credentials import shared_config
from .names import check_bucket, quote_key

DEFAULT_REGION = "us-east-1"

# AWS's partitions by the prefix of their regions' names; every other region, GovCloud's too, is
# under amazonaws.com. Longer prefixes need not come first: none is a prefix of another.
_DNS_SUFFIXES = {
    "cn-": "amazonaws.com.cn",
    "eusc-": "amazonaws.eu",
    "us-iso-": "c2s.ic.gov",
    "us-isob-": "sc2s.sgov.gov",
    "us-isof-": "csp.hci.ic.gov",
    "eu-isoe-": "cloud.adc-e.uk",
}

# Endings of bucket names that are not plain S3 buckets and follow rules of their own.
_OTHER_SERVICES = {
    "--x-s3": "a directory bucket (S3 Express One Zone)",
    "--xa-s3": "an access point of a directory bucket (S3 Express One Zone)",
    "--op-s3": "an S3 on Outposts access point",
    ".mrap": "a multi-region access point",
}

_AWS_REGION = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
# Other systems name their regions freely: "RegionOne", "default", "eu.west_1".
_ANY_REGION = re.compile(r"[A-Za-z0-9._-]{1,63}")
_HOST = re.compile(r"[a-z0-9_]([a-z0-9._-]{0,251}[a-z0-9_])?\.?|\[[0-9a-f:.]+\]")
_DNS_BUCKET = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
_LABEL = "[a-z0-9](?:[a-z0-9-]*[a-z0-9])?"
_DOTTED_QUAD = r"(?:[0-9]{1,3}\.){3}[0-9]{1,3}"
_DOTTED_DNS_BUCKET = re.compile(rf"(?=.{{3,63}}$)(?!{_DOTTED_QUAD}$){_LABEL}(?:\.{_LABEL})*")

_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Target:
    """What one request is sent to, as sent and as signed."""

    scheme: str
    host: str  # as in the Host header: with the port unless it is the scheme's own
    path: str  # absolute and percent-encoded, dot segments and all
    region: str  # to sign for

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.host}{self.path}"


class EndpointResolver:
    """Builds targets for one client's region, endpoint and settings.

    Args:
        region: region of the buckets; None looks into the environment and the profile.
        endpoint: ``https://host[:port][/prefix]`` of an S3; None looks into
            ``AWS_ENDPOINT_URL_S3``, ``AWS_ENDPOINT_URL`` and the profile, and ends at AWS's own for
            the region. Dual-stack and FIPS settings are about AWS's own and change no other.
        config: the client's settings, of which `profile` and `force_path_style` matter here.
        environ: the environment to read.

    Raises:
        ValueError: a region or an endpoint that cannot be one; the message says where it is from.
    """

    region: str
    custom: bool

    def __init__(
        self,
        region: str | None,
        endpoint: str | None,
        config: S3ClientConfig,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        profile = shared_config(config.profile, environ)
        endpoint, origin = _configured_endpoint(endpoint, profile, environ)
        self.custom = endpoint is not None
        self.region = self._checked_region(
            _configured_region(region, profile, environ) or DEFAULT_REGION
        )
        self._scheme, self._host, self._prefix = "https", "", ""
        if endpoint is not None:
            self._scheme, self._host, self._prefix = _split_endpoint(endpoint, origin)
        s3_settings = _section(profile, "s3")
        self._path_style = (
            config.force_path_style
            or s3_settings.get("addressing_style") == "path"
            or (self.custom and not _takes_subdomains(self._host))
        )
        self._fips = _switch("AWS_USE_FIPS_ENDPOINT", "use_fips_endpoint", environ, profile)
        self._dualstack = _switch(
            "AWS_USE_DUALSTACK_ENDPOINT", "use_dualstack_endpoint", environ, s3_settings, profile
        )

    @property
    def exposed(self) -> bool:
        """Whether requests go to AWS, but over plain http."""
        name = self._host.partition(":")[0]
        return self._scheme == "http" and name.endswith((".amazonaws.com", ".amazonaws.com.cn"))

    def object(self, bucket: str, key: str, region: str | None = None) -> Target:
        """The target of an object, in `region` if S3 said that the bucket is there."""
        return self._target(bucket, f"/{quote_key(key)}", region)

    def objects(self, bucket: str, region: str | None = None) -> Target:
        """What the targets of all objects of a bucket begin with: their quoted keys follow."""
        return self._target(bucket, "/", region)

    def bucket(self, bucket: str, region: str | None = None) -> Target:
        """The target of a bucket, for listing it."""
        return self._target(bucket, "", region)

    def takes_region(self, region: str) -> bool:
        """Whether `region` can be a region's name, which becomes part of hosts and signatures."""
        pattern = _ANY_REGION if self.custom else _AWS_REGION
        return pattern.fullmatch(region) is not None

    def follows_to(self, region: str) -> bool:
        """Whether a request may go on to a region that a server named.

        AWS's other partitions have hosts elsewhere and credentials of their own.
        """
        same_owner = self.custom or _dns_suffix(region) == _dns_suffix(self.region)
        return same_owner and self.takes_region(region)

    def _target(self, bucket: str, tail: str, region: str | None) -> Target:
        check_bucket(bucket)
        region = self.region if region is None else self._checked_region(region)
        host = self._host or self._aws_host(bucket, region)
        if self._in_host_name(bucket):
            return Target(self._scheme, f"{bucket}.{host}", self._prefix + (tail or "/"), region)
        path = f"{self._prefix}/{quote(bucket, safe='')}{tail}"
        return Target(self._scheme, host, path, region)

    def _aws_host(self, bucket: str, region: str) -> str:
        for ending, meaning in _OTHER_SERVICES.items():
            if bucket.endswith(ending):
                raise ValueError(
                    f"bucket {bucket!r} names {meaning}, which s3reader does not support; "
                    "use a general purpose bucket or an access point alias"
                )
        suffix = _dns_suffix(region)
        if self._fips and suffix == "amazonaws.com.cn":
            raise ValueError(
                f"region {region!r} has no FIPS endpoints: unset AWS_USE_FIPS_ENDPOINT "
                "(or the profile's use_fips_endpoint)"
            )
        service = "s3-fips" if self._fips else "s3"
        return f"{service}{'.dualstack' if self._dualstack else ''}.{region}.{suffix}"

    def _in_host_name(self, bucket: str) -> bool:
        if self._path_style:
            return False
        # A certificate's wildcard covers one label, so over TLS a bucket with dots would not match.
        pattern = _DNS_BUCKET if self._scheme == "https" else _DOTTED_DNS_BUCKET
        return pattern.fullmatch(bucket) is not None

    def _checked_region(self, region: str) -> str:
        expected = "region takes a name such as 'eu-central-1'"
        if not isinstance(region, str):
            raise TypeError(f"{expected}, not {type(region).__name__}")
        if not self.takes_region(region):
            raise ValueError(f"{expected}, got {region!r}")
        # AWS's name for "no region in particular", which signs for us-east-1.
        return DEFAULT_REGION if region == "aws-global" else region


def _dns_suffix(region: str) -> str:
    """Under which name AWS's partition with a region has its hosts."""
    names = (name for prefix, name in _DNS_SUFFIXES.items() if region.startswith(prefix))
    return next(names, "amazonaws.com")


def resolve_region(
    region: str | None, config: S3ClientConfig, environ: Mapping[str, str] = os.environ
) -> str | None:
    """The region that is configured: given, in the environment, or the profile's."""
    return _configured_region(region, shared_config(config.profile, environ), environ)


def _configured_region(
    region: str | None, profile: Mapping[str, Any], environ: Mapping[str, str]
) -> str | None:
    return (
        region
        or environ.get("AWS_REGION")
        or environ.get("AWS_DEFAULT_REGION")
        or profile.get("region")
        or None
    )


def _configured_endpoint(
    endpoint: str | None, profile: Mapping[str, Any], environ: Mapping[str, str]
) -> tuple[str | None, str]:
    """The endpoint to use and where it is from, for a message about it."""
    if endpoint is not None:
        return endpoint, "endpoint"
    ignored = _switch(
        "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "ignore_configured_endpoint_urls", environ, profile
    )
    if not ignored:
        for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"):
            if environ.get(name):
                return environ[name], name
        service = _section(_section(profile, "services"), "s3")
        for settings in (service, profile):
            if settings.get("endpoint_url"):
                return settings["endpoint_url"], "the profile's endpoint_url"
    return None, ""


def _split_endpoint(endpoint: str, origin: str) -> tuple[str, str, str]:
    """Scheme, host as in the Host header, and path prefix without a slash at its end."""
    expected = f"{origin} takes a URL such as 'https://s3.example.com'"
    if not isinstance(endpoint, str):
        raise TypeError(f"{expected}, not {type(endpoint).__name__}")
    if "@" in endpoint:
        # What stands before it may be a password, so it is not shown.
        raise ValueError(f"{expected}, without a user name or password")
    # Nor is a query, in case someone gave a presigned URL.
    shown = endpoint.partition("?")[0]
    if "://" not in shown:
        raise ValueError(f"{expected}: write 'https://{shown}', got {shown!r}")
    try:
        parts = urlsplit(endpoint)
        port = parts.port
    except ValueError:
        raise ValueError(f"{expected}, got {shown!r}") from None
    scheme = parts.scheme
    host = parts.netloc.rpartition(":")[0] if port is not None else parts.netloc.rstrip(":")
    host = host.lower()
    if (
        scheme not in _DEFAULT_PORTS
        or not _HOST.fullmatch(host)
        or port == 0
        or parts.query
        or parts.fragment
        or not endpoint.isprintable()
    ):
        raise ValueError(f"{expected}, with http or https and no query, got {shown!r}")
    if port is not None and port != _DEFAULT_PORTS[scheme]:
        host = f"{host}:{port}"
    return scheme, host, quote(parts.path.rstrip("/"), safe="/%~!$&'()*+,;=:")


def _takes_subdomains(host: str) -> bool:
    """Whether names below a host can exist: not below an address, nor below a bare name."""
    if host.startswith("["):
        return False
    _, dot, last_label = host.partition(":")[0].rstrip(".").rpartition(".")
    # Only an address ends in a number: no top-level domain is one.
    return bool(dot) and last_label != "localhost" and not last_label.isdigit()


def _switch(
    variable: str, setting: str, environ: Mapping[str, str], *profile: Mapping[str, Any]
) -> bool:
    """A yes-or-no setting: the environment's if it is there, else the first of the profile's."""
    for value in (environ.get(variable), *(section.get(setting) for section in profile)):
        if value not in (None, ""):
            return str(value).strip().lower() == "true"
    return False


def _section(settings: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    section = settings.get(name)
    return section if isinstance(section, Mapping) else {}
