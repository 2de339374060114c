"""Endpoints against S3's published endpoint rules, as botocore carries and evaluates them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from botocore.endpoint_provider import EndpointProvider
from botocore.session import Session
from hypothesis import given
from hypothesis import strategies as st

from s3reader import endpoint as endpoint_module
from s3reader.config import S3ClientConfig
from s3reader.endpoint import EndpointResolver, Target, resolve_region

REGIONS = [
    "us-east-1",
    "us-west-2",
    "eu-central-1",
    "ap-southeast-5",
    "mx-central-1",
    "cn-north-1",
    "cn-northwest-1",
    "us-gov-west-1",
    "us-gov-east-1",
    "us-iso-east-1",
    "us-isob-east-1",
    "us-isof-south-1",
    "eu-isoe-west-1",
    "eusc-de-east-1",
    "xx-future-1",
]
BUCKETS = [
    "my-bucket",
    "abc",
    "b" * 63,
    "a--b",
    "with.dots",
    "with..dots",
    "a-.b",
    "10.0.0.1",
    "1.2.3.999",
    "Upper_Case",
    "-leading",
    "ab",
    "tenant:bucket",
    "alias-0123456789-s3alias",
]


@pytest.fixture(autouse=True)
def _no_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    use_profile(monkeypatch, {})


def use_profile(monkeypatch: pytest.MonkeyPatch, settings: Mapping[str, Any]) -> None:
    monkeypatch.setattr(endpoint_module, "shared_config", lambda profile, environ: settings)


def resolver(
    region: str | None = None,
    endpoint: str | None = None,
    environ: Mapping[str, str] | None = None,
    **config: Any,
) -> EndpointResolver:
    return EndpointResolver(region, endpoint, S3ClientConfig(**config), environ or {})


@pytest.fixture(scope="module")
def rules() -> EndpointProvider:
    loader = Session().get_component("data_loader")
    return EndpointProvider(
        loader.load_service_model("s3", "endpoint-rule-set-1"), loader.load_data("partitions")
    )


def by_the_rules(rules: EndpointProvider, bucket: str, region: str, **parameters: Any) -> str:
    switches = dict.fromkeys(
        (
            "UseFIPS",
            "UseDualStack",
            "ForcePathStyle",
            "Accelerate",
            "UseGlobalEndpoint",
            "DisableMultiRegionAccessPoints",
        ),
        False,
    )
    resolved = rules.resolve_endpoint(Bucket=bucket, Region=region, **{**switches, **parameters})
    assert resolved.properties["authSchemes"][0]["signingRegion"] == region
    return str(resolved.url)


@pytest.mark.parametrize("path_style", [False, True], ids=["", "path-style"])
@pytest.mark.parametrize("dualstack", [False, True], ids=["", "dualstack"])
@pytest.mark.parametrize("fips", [False, True], ids=["", "fips"])
@pytest.mark.parametrize("region", REGIONS)
def test_aws_endpoint_follows_the_rules(
    rules: EndpointProvider, region: str, fips: bool, dualstack: bool, path_style: bool
) -> None:
    environ = {
        "AWS_USE_FIPS_ENDPOINT": str(fips),
        "AWS_USE_DUALSTACK_ENDPOINT": str(dualstack).lower(),
    }
    ours = resolver(region, environ=environ, force_path_style=path_style)
    assert not ours.custom
    if fips and region.startswith("cn-"):
        with pytest.raises(ValueError, match="has no FIPS endpoints"):
            ours.bucket("my-bucket")
        return
    for bucket in BUCKETS:
        url = by_the_rules(
            rules,
            bucket,
            region,
            UseFIPS=fips,
            UseDualStack=dualstack,
            ForcePathStyle=path_style,
        )
        assert ours.object(bucket, "a key").url == f"{url}/a%20key"
        listing = ours.bucket(bucket)
        assert listing.url in (url, f"{url}/")
        assert listing.region == region


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://s3.example.com",
        "http://s3.example.com:9000",
        "https://s3.example.com:9443/with/prefix",
        "http://s3.example.com/prefix/",
        "http://10.0.0.1:9000",
        "https://127.0.0.1/prefix",
        "https://bucket.vpce-1a2b3c4d.s3.us-east-1.vpce.amazonaws.com",
    ],
)
@pytest.mark.parametrize("path_style", [False, True], ids=["", "path-style"])
def test_custom_endpoint_follows_the_rules(
    rules: EndpointProvider, endpoint: str, path_style: bool
) -> None:
    ours = resolver("us-east-1", endpoint, force_path_style=path_style)
    assert ours.custom
    for bucket in BUCKETS:
        if endpoint.startswith("http://10.") and bucket == "with.dots" and not path_style:
            continue  # the rules ask for with.dots.10.0.0.1, which names no host
        url = by_the_rules(rules, bucket, "us-east-1", Endpoint=endpoint, ForcePathStyle=path_style)
        assert ours.object(bucket, "key").url == f"{url.rstrip('/')}/key"


@given(
    bucket=st.from_regex(r"[a-zA-Z0-9._-]{3,63}", fullmatch=True),
    scheme=st.sampled_from(["http", "https"]),
)
def test_bucket_is_placed_by_the_rules(rules: EndpointProvider, bucket: str, scheme: str) -> None:
    if bucket in ("..", "...") or "--" in bucket or bucket.endswith(".mrap"):
        return
    endpoint = f"{scheme}://s3.example.com"
    url = by_the_rules(rules, bucket, "us-east-1", Endpoint=endpoint)
    assert resolver("us-east-1", endpoint).object(bucket, "key").url == f"{url}/key"


def test_us_east_1_is_regional() -> None:
    assert resolver().object("my-bucket", "key") == Target(
        "https", "my-bucket.s3.us-east-1.amazonaws.com", "/key", "us-east-1"
    )


@pytest.mark.parametrize(
    ("endpoint", "host"),
    [
        ("http://localhost:9000", "localhost:9000"),
        ("http://LocalHost", "localhost"),
        ("http://s3.localhost:4566", "s3.localhost:4566"),
        ("http://minio:9000", "minio:9000"),
        ("http://my_minio:9000", "my_minio:9000"),
        ("http://[::1]:9000", "[::1]:9000"),
        ("http://[::1]", "[::1]"),
        ("https://192.168.1.2", "192.168.1.2"),
        ("http://127.1", "127.1"),
    ],
)
def test_host_without_subdomains_gets_path_style(endpoint: str, host: str) -> None:
    target = resolver(endpoint=endpoint).object("my-bucket", "key")
    assert (target.host, target.path) == (host, "/my-bucket/key")


@pytest.mark.parametrize(
    ("endpoint", "host"),
    [
        ("http://s3.example.com:80", "my-bucket.s3.example.com"),
        ("https://s3.example.com:443/", "my-bucket.s3.example.com"),
        ("https://s3.example.com:80", "my-bucket.s3.example.com:80"),
        ("HTTPS://S3.Example.COM", "my-bucket.s3.example.com"),
        ("https://s3.example.com:", "my-bucket.s3.example.com"),
    ],
)
def test_host_is_what_the_host_header_says(endpoint: str, host: str) -> None:
    assert resolver(endpoint=endpoint).bucket("my-bucket").host == host


def test_bucket_with_dots_is_not_put_before_an_address() -> None:
    target = resolver(endpoint="http://10.0.0.1:9000").bucket("with.dots")
    assert target.url == "http://10.0.0.1:9000/with.dots"


def test_prefix_of_an_endpoint_is_kept_and_encoded_once() -> None:
    ours = resolver(endpoint="http://10.0.0.1/a b/%7Ec/")
    assert ours.object("my-bucket", "../key").path == "/a%20b/%7Ec/my-bucket/../key"
    assert ours.bucket("my-bucket").path == "/a%20b/%7Ec/my-bucket"


@pytest.mark.parametrize(
    ("endpoint", "words"),
    [
        ("", "endpoint takes a URL"),
        ("s3.example.com", "write 'https://s3.example.com'"),
        ("localhost:9000", "write 'https://localhost:9000'"),
        ("ftp://s3.example.com", "http or https"),
        ("https://", "endpoint takes a URL"),
        ("https://s3.example.com:99999", "endpoint takes a URL"),
        ("https://s3.example.com:0", "endpoint takes a URL"),
        ("https://s3.example.com:port", "endpoint takes a URL"),
        ("https://s3.example.com/?x=1", "no query"),
        ("https://s3.example.com/#x", "no query"),
        ("https://s3 .example.com", "endpoint takes a URL"),
        ("https://s3.example.com\r\nX: y", "endpoint takes a URL"),
        ("https://s3.example.com/a\nb", "endpoint takes a URL"),
        ("https://[::1", "endpoint takes a URL"),
        ("https://b\u00fccher.example", "endpoint takes a URL"),
    ],
)
def test_impossible_endpoint_is_refused(endpoint: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        resolver(endpoint=endpoint)


def test_password_in_an_endpoint_is_refused_and_not_shown() -> None:
    with pytest.raises(ValueError, match="without a user name or password") as caught:
        resolver(environ={"AWS_ENDPOINT_URL": "https://user:hunter2@s3.example.com"})
    assert "AWS_ENDPOINT_URL" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_query_of_an_endpoint_is_not_shown() -> None:
    with pytest.raises(ValueError, match="no query") as caught:
        resolver(endpoint="https://s3.example.com/key?X-Amz-Signature=5ec7e7")
    assert "5ec7e7" not in str(caught.value)


def test_endpoint_of_another_type_is_refused() -> None:
    with pytest.raises(TypeError, match=r"endpoint takes a URL .* not int"):
        resolver(endpoint=9000)  # type: ignore[arg-type]


PROFILE = {
    "region": "eu-west-3",
    "endpoint_url": "http://profile.example",
    "services": {"s3": {"endpoint_url": "http://profile-s3.example"}},
}
ENVIRON = {
    "AWS_ENDPOINT_URL_S3": "http://environ-s3.example",
    "AWS_ENDPOINT_URL": "http://environ.example",
}


@pytest.mark.parametrize(
    ("given_endpoint", "missing", "host"),
    [
        ("http://given.example", (), "given.example"),
        (None, (), "environ-s3.example"),
        (None, ("AWS_ENDPOINT_URL_S3",), "environ.example"),
        (None, tuple(ENVIRON), "profile-s3.example"),
        (None, (*ENVIRON, "services"), "profile.example"),
        (None, (*ENVIRON, "services", "endpoint_url"), "s3.eu-west-3.amazonaws.com"),
    ],
)
def test_most_specific_endpoint_holds(
    monkeypatch: pytest.MonkeyPatch, given_endpoint: str | None, missing: tuple[str, ...], host: str
) -> None:
    use_profile(monkeypatch, {k: v for k, v in PROFILE.items() if k not in missing})
    environ = {k: v for k, v in ENVIRON.items() if k not in missing}
    ours = resolver(endpoint=given_endpoint, environ=environ)
    assert ours.bucket("my-bucket").host == f"my-bucket.{host}"
    assert ours.custom == (not host.endswith("amazonaws.com"))


@pytest.mark.parametrize(
    ("environ", "profile"),
    [
        ({"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"}, {}),
        ({}, {"ignore_configured_endpoint_urls": "true"}),
    ],
)
def test_configured_endpoints_can_be_ignored(
    monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], profile: dict[str, str]
) -> None:
    use_profile(monkeypatch, {**PROFILE, **profile})
    ours = resolver(environ={**ENVIRON, **environ})
    assert ours.bucket("my-bucket").host == "my-bucket.s3.eu-west-3.amazonaws.com"
    given = resolver(endpoint="http://given.example", environ={**ENVIRON, **environ})
    assert given.bucket("my-bucket").host == "my-bucket.given.example"


@pytest.mark.parametrize(
    ("region", "environ", "profile", "expected"),
    [
        ("r-1", {"AWS_REGION": "r-2", "AWS_DEFAULT_REGION": "r-3"}, {"region": "r-4"}, "r-1"),
        (None, {"AWS_REGION": "r-2", "AWS_DEFAULT_REGION": "r-3"}, {"region": "r-4"}, "r-2"),
        (None, {"AWS_REGION": "", "AWS_DEFAULT_REGION": "r-3"}, {"region": "r-4"}, "r-3"),
        (None, {}, {"region": "r-4"}, "r-4"),
        (None, {}, {}, None),
    ],
)
def test_nearest_region_holds(
    monkeypatch: pytest.MonkeyPatch,
    region: str | None,
    environ: dict[str, str],
    profile: dict[str, str],
    expected: str | None,
) -> None:
    use_profile(monkeypatch, profile)
    assert resolve_region(region, S3ClientConfig(), environ) == expected
    assert resolver(region, environ=environ).region == (expected or "us-east-1")


def test_profile_settings_for_s3_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    use_profile(
        monkeypatch,
        {
            "use_fips_endpoint": "true",
            "s3": {"addressing_style": "path", "use_dualstack_endpoint": "true"},
        },
    )
    target = resolver("us-west-2").object("my-bucket", "key")
    assert target.url == "https://s3-fips.dualstack.us-west-2.amazonaws.com/my-bucket/key"
    off = {"AWS_USE_FIPS_ENDPOINT": "false", "AWS_USE_DUALSTACK_ENDPOINT": "false"}
    target = resolver("us-west-2", environ=off).object("my-bucket", "key")
    assert target.url == "https://s3.us-west-2.amazonaws.com/my-bucket/key"


def test_settings_come_from_the_shared_configuration_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.undo()
    file = tmp_path / "config"
    file.write_text(
        "[profile lab]\nregion = RegionOne\nservices = lab-services\n"
        "s3 =\n  addressing_style = path\n"
        "[services lab-services]\ns3 =\n  endpoint_url = https://s3.lab.example:9443\n"
    )
    ours = resolver(environ={"AWS_CONFIG_FILE": str(file)}, profile="lab")
    assert ours.custom
    assert ours.object("my-bucket", "key") == Target(
        "https", "s3.lab.example:9443", "/my-bucket/key", "RegionOne"
    )


def test_fips_and_dualstack_change_no_custom_endpoint() -> None:
    environ = {"AWS_USE_FIPS_ENDPOINT": "true", "AWS_USE_DUALSTACK_ENDPOINT": "true"}
    ours = resolver(endpoint="http://s3.example.com", environ=environ)
    assert ours.bucket("my-bucket").host == "my-bucket.s3.example.com"


@pytest.mark.parametrize(
    ("bucket", "words"),
    [
        ("name--use1-az4--x-s3", "directory bucket"),
        ("name--xa-s3", "access point of a directory bucket"),
        ("name--op-s3", "Outposts"),
        ("name.mrap", "multi-region"),
    ],
)
def test_bucket_of_another_service_is_refused_on_aws_only(bucket: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        resolver().bucket(bucket)
    assert resolver(endpoint="http://10.0.0.1").bucket(bucket).path == f"/{bucket}"
