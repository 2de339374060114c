"""SigV4 against what AWS publishes, against botocore's signer, and the rules of its arguments."""

from __future__ import annotations

import calendar
import sys
import threading
import time
from collections.abc import Iterable

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.utils import percent_encode
from hypothesis import example, given
from hypothesis import strategies as st

from s3reader._ext import sigv4

Pairs = list[tuple[str, str]]

# "Authenticating Requests: Using the Authorization Header", Amazon S3 API Reference.
ACCESS_KEY = "AKIAIOSFODNN7EXAMPLE"
SECRET_KEY = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
HOST = "examplebucket.s3.amazonaws.com"
NOW = float(calendar.timegm((2013, 5, 24, 0, 0, 0)))


def sign(
    path: str = "/",
    query: str = "",
    headers: Iterable[tuple[str, str]] = (),
    *,
    method: str = "GET",
    host: str = HOST,
    access_key: str = ACCESS_KEY,
    secret_key: str = SECRET_KEY,
    token: str | None = None,
    region: str = "us-east-1",
    now: float = NOW,
) -> dict[str, str]:
    signed = sigv4.sign(
        method, host, path, query, list(headers), access_key, secret_key, token, region, now
    )
    assert len(dict(signed)) == len(signed)
    return dict(signed)


def botocore_headers(
    path: str,
    pairs: Pairs,
    headers: Pairs,
    method: str,
    host: str,
    token: str | None,
    now: float,
    secret_key: str = SECRET_KEY,
) -> dict[str, str]:
    """The headers botocore sends for the same request, with the clock held still."""
    request = AWSRequest(
        method=method,
        url=f"https://{host}{path}",
        headers=dict(headers),
        params=dict(pairs),
    )
    request.context["timestamp"] = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    signer = S3SigV4Auth(Credentials(ACCESS_KEY, secret_key, token), "s3", "us-east-1")
    signer._modify_request_before_signing(request)
    canonical = signer.canonical_request(request)
    signature = signer.signature(signer.string_to_sign(request, canonical), request)
    signer._inject_signature_to_request(request, signature)
    return dict(request.headers.items())


@pytest.mark.parametrize(
    ("path", "pairs", "headers", "signed_names", "signature"),
    [
        pytest.param(
            "/test.txt",
            [],
            [("Range", "bytes=0-9")],
            "host;range;x-amz-content-sha256;x-amz-date",
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
            id="get-object",
        ),
        pytest.param(
            "/",
            [("lifecycle", "")],
            [],
            "host;x-amz-content-sha256;x-amz-date",
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
            id="get-bucket-lifecycle",
        ),
        pytest.param(
            "/",
            [("prefix", "J"), ("max-keys", "2")],
            [],
            "host;x-amz-content-sha256;x-amz-date",
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
            id="list-objects",
        ),
    ],
)
def test_published_example(
    path: str, pairs: Pairs, headers: Pairs, signed_names: str, signature: str
) -> None:
    signed = sign(path, sigv4.canonical_query(pairs), headers)
    assert signed["Authorization"] == (
        f"AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/20130524/us-east-1/s3/aws4_request,"
        f"SignedHeaders={signed_names},Signature={signature}"
    )
    assert signed["x-amz-date"] == "20130524T000000Z"
    assert signed["x-amz-content-sha256"] == (
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    )


def test_session_token_is_sent_and_signed() -> None:
    signed = sign("/test.txt", token="FwoGZXIvYXdzEXAMPLETOKEN==")
    assert signed["x-amz-security-token"] == "FwoGZXIvYXdzEXAMPLETOKEN=="
    assert (
        "SignedHeaders=host;x-amz-content-sha256;x-amz-date;x-amz-security-token,"
        in signed["Authorization"]
    )
    assert signed["Authorization"] != sign("/test.txt", token="another")["Authorization"]


def test_empty_session_token_means_none() -> None:
    assert sign(token="") == sign(token=None)


ODD_KEYS = [
    "a key with spaces",
    "plus+equals=tilde~percent%20",
    "sch\u00f6n/\u65e5\u672c/\U0001f40d",
    "double//slash",
    "/leading",
    "./dot/../dotdot/.",
    "..",
    "k" * 1024,
    "\u65e5" * 341,
    "!*'();:@&$,?#[]\\\"<>^`{|}\x7f\x01",
]
# What HTTP lets through in a value; S3's own headers never use more.
header_values = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E))


@given(
    key=st.one_of(
        st.sampled_from(ODD_KEYS), st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
    ),
    query=st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
        st.text(st.characters(exclude_categories=["Cs"])),
        max_size=4,
    ),
    headers=st.dictionaries(st.from_regex(r"x-amz-[a-z0-9-]{1,20}", fullmatch=True), header_values),
    method=st.sampled_from(["GET", "HEAD"]),
    host=st.sampled_from([HOST, "localhost:9000", "[::1]:9000", "10.0.0.1"]),
    token=st.none() | st.from_regex(r"[A-Za-z0-9+/]{1,40}={0,2}", fullmatch=True),
    now=st.integers(0, 4102444800),
)
@example(key="a b", query={"list-type": "2", "prefix": "a+b c/~"}, headers={}, method="GET",
         host=HOST, token=None, now=0)  # fmt: skip
def test_agrees_with_botocore(
    key: str,
    query: dict[str, str],
    headers: dict[str, str],
    method: str,
    host: str,
    token: str | None,
    now: int,
) -> None:
    headers = {n: v for n, v in headers.items() if n not in sigv4.RESERVED_HEADERS}
    path = "/" + percent_encode(key, safe="/~")
    pairs = list(query.items())
    ours = sign(
        path,
        sigv4.canonical_query(pairs),
        headers.items(),
        method=method,
        host=host,
        token=token,
        now=float(now),
    )
    theirs = botocore_headers(path, pairs, list(headers.items()), method, host, token, float(now))
    assert ours.pop("Authorization") == theirs.pop("Authorization").replace(", ", ",")
    assert ours == {name.lower(): value for name, value in theirs.items()}


@pytest.mark.parametrize("key", ODD_KEYS)
def test_odd_key_agrees_with_botocore(key: str) -> None:
    path = "/" + percent_encode(key, safe="/~")
    theirs = botocore_headers(path, [], [], "GET", HOST, None, NOW)
    assert sign(path)["Authorization"] == theirs["Authorization"].replace(", ", ",")


@pytest.mark.parametrize("length", [1, 59, 60, 61, 64, 200])
def test_secret_of_any_length_agrees_with_botocore(length: int) -> None:
    """HMAC takes a key that is longer than its block, after "AWS4", by its hash."""
    secret = "s" * length
    theirs = botocore_headers("/key", [], [], "GET", HOST, None, NOW, secret)
    ours = sign("/key", secret_key=secret)
    assert ours["Authorization"] == theirs["Authorization"].replace(", ", ",")


@pytest.mark.parametrize(
    ("pairs", "query"),
    [
        ([], ""),
        ([("b", "2"), ("a", "1")], "a=1&b=2"),
        ([("a", "2"), ("a", "1")], "a=1&a=2"),
        ([("p", "a b+c~d/e")], "p=a%20b%2Bc~d%2Fe"),
        # Sorted as encoded: %C3 comes before any letter.
        ([("a", ""), ("\u00e9", "")], "%C3%A9=&a="),
    ],
)
def test_query_is_encoded_then_sorted(pairs: Pairs, query: str) -> None:
    assert sigv4.canonical_query(pairs) == query


def test_repeated_header_is_signed_once_with_all_values() -> None:
    once = sign(headers=[("x-amz-optional-object-attributes", "a,b")])
    twice = dict(
        sigv4.sign(
            "GET", HOST, "/", "",
            [("x-amz-optional-object-attributes", "a"), ("X-Amz-Optional-Object-Attributes", "b")],
            ACCESS_KEY, SECRET_KEY, None, "us-east-1", NOW,
        )
    )  # fmt: skip
    assert once["Authorization"] == twice["Authorization"]


def test_signing_key_follows_day_region_and_secret() -> None:
    signatures = [
        sign()["Authorization"],
        sign(now=NOW + 86400)["Authorization"],
        sign(region="eu-central-1")["Authorization"],
        sign(secret_key="another")["Authorization"],
    ]
    assert len(set(signatures)) == 4
    for secret in range(2 * sigv4.DERIVED_KEYS_KEPT):
        sign(secret_key=str(secret))
    assert sign()["Authorization"] == signatures[0]


@pytest.mark.parametrize("bad", ["a\nb", "a\rb", "a\0b", "secret\n", "\x7f"])
def test_control_characters_never_reach_a_header(bad: str) -> None:
    with pytest.raises(ValueError, match="control character") as in_header:
        sign(headers=[("x-amz-meta", bad)])
    with pytest.raises(ValueError, match="session token contains a control") as in_token:
        sign(token=bad)
    with pytest.raises(ValueError, match="access key contains a control") as in_key:
        sign(access_key=bad)
    for caught in (in_header, in_token, in_key):
        assert bad not in str(caught.value)


@pytest.mark.parametrize("name", [*sorted(sigv4.RESERVED_HEADERS), "X-Amz-Date", "Host"])
def test_reserved_header_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="made by the signature"):
        sign(headers=[(name, "x")])


@pytest.mark.parametrize("name", ["", "a b", "a:b", "a\n", "-", "x-\u00e9"])
def test_malformed_header_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="malformed header name"):
        sign(headers=[(name, "x")])


def test_relative_path_is_refused() -> None:
    with pytest.raises(ValueError, match="path must start with"):
        sign("test.txt")


def test_signing_keeps_the_gil() -> None:
    """OpenSSL takes locks that a fork must not find taken; a fork needs the GIL."""
    interval = sys.getswitchinterval()
    turns = 0
    over = False

    def take_turns() -> None:
        nonlocal turns
        while not over:
            turns += 1
            time.sleep(0)

    thread = threading.Thread(target=take_turns)
    try:
        sys.setswitchinterval(1000.0)  # others run only while somebody lets the GIL go
        thread.start()
        time.sleep(0.01)
        before = turns
        for number in range(2000):
            sign(secret_key=f"secret {number}")
        after = turns
    finally:
        over = True
        sys.setswitchinterval(interval)
        thread.join()
    assert before > 0
    assert after == before
