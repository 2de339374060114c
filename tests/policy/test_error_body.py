"""The error body parser: it understands S3, and nothing upsets it."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3reader.error_body import ErrorBody, parse_error_body

NOTHING = ErrorBody()


def test_all_fields_are_read() -> None:
    body = b"""<?xml version="1.0" encoding="UTF-8"?>
    <Error><Code>InvalidRange</Code><Message>The range &lt;x&gt; is not satisfiable</Message>
    <Region>eu-west-1</Region><Endpoint>b.s3.eu-west-1.amazonaws.com</Endpoint>
    <ActualObjectSize>1234</ActualObjectSize><ServerTime>2026-11-22T08:00:00Z</ServerTime>
    <RequestId>R</RequestId><HostId>H=</HostId></Error>"""
    assert parse_error_body(body) == ErrorBody(
        code="InvalidRange",
        message="The range <x> is not satisfiable",
        region="eu-west-1",
        endpoint="b.s3.eu-west-1.amazonaws.com",
        actual_size=1234,
        server_time=1795334400.0,
        request_id="R",
        host_id="H=",
    )


def test_namespaces_and_wrappers_do_not_matter() -> None:
    body = b'<ErrorResponse xmlns="http://x/"><Error><Code>A</Code></Error></ErrorResponse>'
    assert parse_error_body(body).code == "A"


def test_text_in_deeper_elements_is_not_a_field() -> None:
    assert parse_error_body(b"<Error><Details><Code>A</Code></Details></Error>") == NOTHING


def test_what_came_before_a_cut_counts() -> None:
    assert parse_error_body(b"<Error><Code>SlowDown</Code><Mess").code == "SlowDown"


@pytest.mark.parametrize(
    "region", [b"evil.example/", b"eu-west-1.example.com", b"a@b", b"-a", b"A", b"x" * 100]
)
def test_region_that_cannot_be_one_is_refused(region: bytes) -> None:
    assert parse_error_body(b"<Error><Region>" + region + b"</Region></Error>") == NOTHING


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"{}",
        b"<html><body>Bad gateway<br></body></html>",
        b"<Error><ActualObjectSize>-1</ActualObjectSize></Error>",
        b"<Error><ActualObjectSize>99999999999999999999999</ActualObjectSize></Error>",
        b"<Error><ServerTime>yesterday</ServerTime></Error>",
        b"<?xml version='1.0' encoding='no-such'?><Error><Code>A</Code></Error>",
        b"<?xml version='1.0' encoding='idna'?><Error><Code>A</Code></Error>",
    ],
)
def test_nonsense_says_nothing(body: bytes) -> None:
    assert parse_error_body(body) == NOTHING


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_document_types_are_refused(encoding: str) -> None:
    text = (
        "<!DOCTYPE Error [<!ENTITY a 'aaaaaaaaaa'><!ENTITY b '&a;&a;&a;'>"
        "<!ENTITY f SYSTEM 'file:///etc/hostname'>]><Error><Code>&b;</Code>"
        "<Message>&f;</Message></Error>"
    )
    assert parse_error_body(text.encode(encoding)) == NOTHING


def test_huge_bodies_cost_little() -> None:
    began = time.process_time()
    parsed = parse_error_body(b"<Error><Message>" + b"a" * 50_000_000)
    deep = parse_error_body(b"<Error>" * 3_000_000)
    assert parsed == deep == NOTHING
    assert time.process_time() - began < 1


def test_long_fields_are_cut() -> None:
    body = b"<Error><Code>" + b"a&amp;" * 5000 + b"</Code></Error>"
    assert len(parse_error_body(body).code or "") == 2048


PIECES = st.sampled_from(
    [b"<Error>", b"</Error>", b"<Code>", b"</Code>", b"<Region>", b"</Region>", b"&", b"<!", b"]]>"]
)


@given(st.lists(st.one_of(PIECES, st.binary(max_size=20)), max_size=30).map(b"".join))
def test_never_raises(body: bytes) -> None:
    assert isinstance(parse_error_body(body), ErrorBody)
