"""Which proxy holds for a host, with Python's own reading of no_proxy as a second opinion."""

from __future__ import annotations

import urllib.request

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3reader.config import S3ClientConfig
from s3reader.proxy import resolve_proxy

HOST = "my-bucket.s3.us-east-1.amazonaws.com"
PROXY = "http://proxy.example:3128"


def resolve(
    environ: dict[str, str], host: str = HOST, scheme: str = "https", proxy: str | None = None
) -> str | None:
    return resolve_proxy(S3ClientConfig(proxy=proxy), scheme, host, environ)


def test_no_proxy_by_default() -> None:
    assert resolve({}) is None


@pytest.mark.parametrize(
    ("scheme", "names"),
    [
        ("https", ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]),
        ("http", ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"]),
    ],
)
def test_nearest_variable_holds(scheme: str, names: list[str]) -> None:
    for position, name in enumerate(names):
        environ = {each: f"http://{each}:1" for each in names[position:]}
        assert resolve(environ, scheme=scheme) == f"http://{name}:1"


def test_variable_of_the_other_scheme_is_ignored() -> None:
    assert resolve({"http_proxy": PROXY}, scheme="https") is None
    assert resolve({"https_proxy": PROXY}, scheme="http") is None


def test_empty_variable_counts_as_unset() -> None:
    assert resolve({"https_proxy": " ", "HTTPS_PROXY": PROXY}) == PROXY


def test_http_proxy_in_capitals_is_ignored_in_a_cgi_program() -> None:
    environ = {"HTTP_PROXY": PROXY, "REQUEST_METHOD": "GET"}
    assert resolve(environ, scheme="http") is None
    assert resolve({**environ, "http_proxy": PROXY}, scheme="http") == PROXY


def test_given_proxy_beats_the_environment() -> None:
    environ = {"https_proxy": "http://other:1", "no_proxy": "*"}
    assert resolve(environ, proxy=PROXY) == PROXY


def test_empty_proxy_means_none_at_all() -> None:
    assert resolve({"https_proxy": PROXY}, proxy="") is None


@pytest.mark.parametrize(
    ("value", "proxy"),
    [
        ("proxy.example:3128", "http://proxy.example:3128"),
        ("user:pass@proxy.example", "http://user:pass@proxy.example"),
        ("https://proxy.example", "https://proxy.example"),
        ("socks5h://proxy.example:1080", "socks5h://proxy.example:1080"),
    ],
)
def test_proxy_without_scheme_speaks_http(value: str, proxy: str) -> None:
    assert resolve({"https_proxy": value}) == proxy


def test_unknown_scheme_is_refused_without_showing_the_password() -> None:
    with pytest.raises(ValueError, match="https_proxy takes 'http://host:port'") as caught:
        resolve({"https_proxy": "ftp://user:hunter2@proxy.example"})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("no_proxy", "host", "exempt"),
    [
        ("", HOST, False),
        ("*", HOST, True),
        ("amazonaws.com", HOST, True),
        (".amazonaws.com", HOST, True),
        ("*.amazonaws.com", HOST, True),
        ("AmazonAWS.com", HOST, True),
        ("amazonaws.com.", HOST, True),
        ("zonaws.com", HOST, False),
        ("s3.us-east-1.amazonaws.com", "s3.us-east-1.amazonaws.com", True),
        (HOST, "s3.us-east-1.amazonaws.com", False),
        ("other, amazonaws.com", HOST, True),
        ("other amazonaws.com", HOST, True),
        ("minio:9000", "minio:9000", True),
        ("minio:9000", "minio:9001", False),
        ("minio", "minio:9000", True),
        ("localhost,127.0.0.1", "127.0.0.1:9000", True),
        ("0.0.1", "127.0.0.1", False),
        ("10.0.0.0/8", "10.1.2.3:9000", True),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("10.0.0.0/8", "ten.example", False),
        ("::1", "[::1]:9000", True),
        ("[::1]", "[::1]", True),
        ("fd00::/8", "[fd12::1]:9000", True),
        ("0:0:0:0:0:0:0:1", "[::1]", True),
        (".", HOST, False),
        (",,", HOST, False),
    ],
)
@pytest.mark.parametrize("variable", ["no_proxy", "NO_PROXY"])
def test_no_proxy_exempts(no_proxy: str, host: str, exempt: bool, variable: str) -> None:
    environ = {"https_proxy": PROXY, variable: no_proxy}
    assert resolve(environ, host) == (None if exempt else PROXY)


labels = st.sampled_from(["a", "b", "ab", "example", "com"])
names = st.lists(labels, min_size=1, max_size=4).map(".".join)
hosts = names | st.tuples(names, st.sampled_from(["80", "9000"])).map(":".join)


@given(hosts, st.lists(hosts | names.map(".{}".format), max_size=3))
def test_no_proxy_is_read_as_python_reads_it(host: str, entries: list[str]) -> None:
    no_proxy = ",".join(entries)
    expected = urllib.request.proxy_bypass_environment(host, {"no": no_proxy})  # type: ignore[attr-defined]
    exempt = resolve({"https_proxy": PROXY, "no_proxy": no_proxy}, host) is None
    assert exempt == bool(expected)
