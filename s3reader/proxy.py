"""Which proxy a request goes through, decided here so that libcurl need not guess.

libcurl, botocore and Python each read ``http_proxy`` and its relatives a little differently. This
module keeps what they agree on and, where they differ, what asks for less surprise; the transfer
hands the answer to libcurl and tells it to look at no environment of its own.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping

from .config import S3ClientConfig

_SCHEMES = ("http", "https", "socks4", "socks4a", "socks5", "socks5h")


def resolve_proxy(
    config: S3ClientConfig, scheme: str, host: str, environ: Mapping[str, str] = os.environ
) -> str | None:
    """The proxy's URL for requests to a host, or None to connect directly.

    Args:
        config: its `proxy` decides for every host, ``""`` for none; None asks the environment.
        scheme: "http" or "https".
        host: the Host header, with or without a port.
        environ: the environment to read. The first of ``https_proxy``, ``HTTPS_PROXY``,
            ``all_proxy`` and ``ALL_PROXY`` that is not empty holds, unless ``no_proxy``
            (``NO_PROXY``) names the host: by name (and all names below it), name and port,
            address, network in CIDR form, or ``*``. ``HTTP_PROXY`` in capitals is ignored in a
            CGI program, where it is a header that the client sent.

    Raises:
        ValueError: the proxy has a scheme that libcurl does not speak. The value, which may hold a
            password, is not shown.
    """
    if config.proxy is not None:
        return _normalised(config.proxy, "proxy") if config.proxy else None
    for name in (f"{scheme}_proxy", f"{scheme}_proxy".upper(), "all_proxy", "ALL_PROXY"):
        value = environ.get(name, "").strip()
        if not value or (name == "HTTP_PROXY" and "REQUEST_METHOD" in environ):
            continue
        return None if _is_exempt(host, environ) else _normalised(value, name)
    return None


def _normalised(proxy: str, origin: str) -> str:
    scheme, separator, _ = proxy.partition("://")
    if not separator:
        return f"http://{proxy}"
    if scheme.lower() not in _SCHEMES:
        raise ValueError(f"{origin} takes 'http://host:port' (or {', '.join(_SCHEMES[1:])})")
    return proxy


def _is_exempt(host: str, environ: Mapping[str, str]) -> bool:
    exempt = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    name, port = _split_port(host.lower())
    address = _address(name)
    for entry in exempt.lower().replace(",", " ").split():
        if entry == "*":
            return True
        if address is not None and _holds(entry, address):
            return True
        entry_name, entry_port = _split_port(entry)
        entry_name = entry_name.removeprefix("*").strip(".")
        if entry_port not in ("", port) or not entry_name:
            continue
        if name == entry_name or (address is None and name.endswith(f".{entry_name}")):
            return True
    return False


def _split_port(host: str) -> tuple[str, str]:
    """Name without brackets and trailing dot, and port or ""; a bare IPv6 address has no port."""
    if host.startswith("["):
        name, _, port = host[1:].partition("]")
        return name, port.removeprefix(":")
    if host.count(":") > 1:
        return host, ""
    name, _, port = host.partition(":")
    return name.rstrip("."), port


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None


def _holds(entry: str, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    try:
        return address in ipaddress.ip_network(entry.strip("[]"), strict=False)
    except ValueError:
        return False
