"""Regions: what can be one, and where a bucket in another one is asked for."""

from __future__ import annotations

import pytest

from s3reader.config import S3ClientConfig
from s3reader.endpoint import EndpointResolver

IMPOSSIBLE = ["evil.example/", "a b", "a\n", "", "x" * 64]


def resolver(region: str | None = None, endpoint: str | None = None) -> EndpointResolver:
    return EndpointResolver(region, endpoint, S3ClientConfig(), {})


def test_bucket_in_another_region_moves_the_aws_host() -> None:
    target = resolver("us-east-1").object("my-bucket", "key", region="cn-north-1")
    assert target.host == "my-bucket.s3.cn-north-1.amazonaws.com.cn"
    assert target.region == "cn-north-1"


def test_bucket_in_another_region_leaves_a_custom_host() -> None:
    target = resolver("us-east-1", "http://s3.example.com").bucket("my-bucket", region="RegionOne")
    assert (target.host, target.region) == ("my-bucket.s3.example.com", "RegionOne")


def test_aws_global_means_us_east_1() -> None:
    assert resolver("aws-global").bucket("my-bucket").region == "us-east-1"


@pytest.mark.parametrize("region", ["US-EAST-1", "-a", *filter(None, IMPOSSIBLE)])
def test_impossible_region_is_refused(region: str) -> None:
    with pytest.raises(ValueError, match="region takes a name such as"):
        resolver(region)
    with pytest.raises(ValueError, match="region takes a name such as"):
        resolver().object("my-bucket", "key", region=region)


def test_region_of_another_type_is_refused() -> None:
    with pytest.raises(TypeError, match=r"region takes .* not int"):
        resolver(1)  # type: ignore[arg-type]


def test_region_that_a_server_names_is_taken_by_the_same_rules() -> None:
    aws, custom = resolver(), resolver(endpoint="http://s3.example.com")
    assert all(each.takes_region("eu-west-3") for each in (aws, custom))
    assert custom.takes_region("RegionOne")
    for region in ("US-EAST-1", "RegionOne", "evil.example", *IMPOSSIBLE):
        assert not aws.takes_region(region)
    for region in IMPOSSIBLE:
        assert not custom.takes_region(region)


def test_only_aws_over_plain_http_is_exposed() -> None:
    assert resolver(endpoint="http://s3.eu-west-3.amazonaws.com").exposed
    assert resolver(endpoint="http://s3.cn-north-1.amazonaws.com.cn:80").exposed
    for endpoint in (None, "https://s3.eu-west-3.amazonaws.com", "http://localhost:9000"):
        assert not resolver(endpoint=endpoint).exposed
