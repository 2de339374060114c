"""What is measured: each case is one kind of work that every contender does in its own way."""

from __future__ import annotations

from case import Case
from checkpoint_cases import CHECKPOINT_CASES
from floors import Curl, Receive
from objects import (
    ARRAY,
    CHECKPOINT,
    GROWTH_CONNECTIONS,
    SPARSE,
    growth_requests,
    growth_sizes,
    random_gets,
    small_gets,
    split_gets,
)
from serving import SHAPED, TLS
from targets import (
    cost,
    cpu_of_floor,
    extra_megabytes,
    flat,
    part,
    share_of_latency,
    share_of_shape,
    time_of_floor,
    times_best_peer,
    times_peer,
)

READ_SIZE = 100
"""Bytes that the case of small reads asks for at once."""

TOUCHED = Receive("recv, touched memory", "touched")
FRESH = Receive("recv, fresh memory", "fresh")
SSL_TOUCHED = Receive("SSL_read, touched memory", "touched")
SSL_FRESH = Receive("SSL_read, fresh memory", "fresh")

READINTO_NOTE = "floor: `recv` in C straight into touched memory, one connection"


def _random_case(name: str, length: int) -> Case:
    return Case(
        f"random-{name}",
        f"{length // 1024} KiB reads at random offsets, one at a time",
        "pread",
        "requests",
        "floor: libcurl's easy interface in C, unsigned",
        ("s3reader ranged",),
        (cpu_of_floor(1.3), times_best_peer(1.0)),
        floors=(
            Curl(
                f"libcurl easy, {length // 1024} KiB",
                lambda sizes: random_gets(sizes, length, sizes.read_count),
            ),
        ),
        detail=length,
    )


def _ranges_case(name: str, length: int) -> Case:
    return Case(
        f"ranges-{name}",
        f"10 000 ranges of {length // 1024} KiB at once",
        "ranges",
        "ranges",
        "floor: libcurl's multi interface in C, one request for each range, 16 at once",
        ("s3reader ranged",),
        (times_best_peer(3.0),),
        floors=(
            Curl(
                f"libcurl multi, {length // 1024} KiB, 16 at once",
                lambda sizes: random_gets(sizes, length, sizes.range_count),
                at_once=16,
            ),
        ),
        detail=length,
    )


def _loader_case(workers: int) -> Case:
    plural = "s" if workers > 1 else ""
    return Case(
        f"loader-{workers}",
        f"torch DataLoader, {workers} worker{plural}, batches of 64 objects of 100 KiB",
        "dataset",
        "objects",
        "CPU of the workers included, memory of the workers not; "
        "their start is part of the time, as it is of training",
        ("s3reader",),
        (times_peer("s3torchconnector", 2.0),),
        detail=workers,
    )


CASES = (
    Case(
        "readinto",
        "Whole object into a touched buffer",
        "readinto",
        "bytes",
        READINTO_NOTE,
        ("s3reader sequential",),
        (cpu_of_floor(1.1), time_of_floor(1.1), extra_megabytes(16)),
        floors=(
            TOUCHED,
            Receive("recv, woken for 256 KiB", "touched", mark=256 * 1024),
            Receive("recv, 16 connections", "touched", connections=16),
        ),
    ),
    Case(
        "readinto-tls",
        "Whole object into a touched buffer, TLS",
        "readinto",
        "bytes",
        "floor: OpenSSL's `SSL_read` in C straight into touched memory, one connection",
        ("s3reader sequential",),
        (cpu_of_floor(1.1),),
        server=TLS,
        floors=(SSL_TOUCHED,),
    ),
    Case(
        "readinto-shaped",
        "Whole object into a touched buffer, server shaped like S3",
        "readinto",
        "bytes",
        "floor: 16 connections of libcurl's multi interface in C, a part each",
        ("s3reader sequential",),
        (share_of_shape(0.95), times_best_peer(1.25)),
        server=SHAPED,
        floors=(Curl("libcurl, 16 connections", lambda sizes: split_gets(sizes, 16), at_once=16),),
    ),
    Case(
        "read",
        "Whole object as new memory, `read()`",
        "read",
        "bytes",
        "floor: `recv` in C into freshly allocated memory, page faults included",
        ("s3reader sequential",),
        (cpu_of_floor(1.15),),
        floors=(FRESH,),
    ),
    Case(
        "read-tls",
        "Whole object as new memory, `read()`, TLS",
        "read",
        "bytes",
        "floor: OpenSSL's `SSL_read` in C into freshly allocated memory",
        ("s3reader sequential",),
        server=TLS,
        floors=(SSL_FRESH,),
    ),
    Case(
        "chunks",
        "Whole object piece by piece, none kept",
        "chunks",
        "bytes",
        READINTO_NOTE,
        ("s3reader sequential",),
        (cpu_of_floor(1.15),),
        floors=(TOUCHED,),
    ),
    Case(
        "torch-load",
        "`torch.load` through a reader",
        "load_torch",
        "bytes",
        "floor: `torch.load` of the same file from the page cache",
        ("s3reader sequential", "s3reader ranged"),
        (time_of_floor(1.15), times_best_peer(1.0)),
        needs=CHECKPOINT,
    ),
    Case(
        "numpy-load",
        "`numpy.load` through a reader",
        "load_numpy",
        "bytes",
        "floor: `numpy.load` of the same file from the page cache",
        ("s3reader sequential", "s3reader ranged"),
        (time_of_floor(1.15), times_best_peer(1.0)),
        needs=ARRAY,
    ),
    _random_case("4k", 4 * 1024),
    _random_case("64k", 64 * 1024),
    _ranges_case("4k", 4 * 1024),
    _ranges_case("64k", 64 * 1024),
    Case(
        "objects-together",
        "100 KiB objects together",
        "many",
        "requests",
        "floor: libcurl's multi interface in C, 16 at once, unsigned",
        ("s3reader",),
        (cost("CPU µs/request", 45), times_best_peer(2.0)),
        floors=(Curl("libcurl multi, 16 at once", small_gets, at_once=16),),
    ),
    Case(
        "objects-together-shaped",
        "100 KiB objects together, server shaped like S3",
        "many",
        "requests",
        "floor: libcurl's multi interface in C, 16 at once, unsigned",
        ("s3reader",),
        (share_of_latency(0.95),),
        server=SHAPED,
        floors=(Curl("libcurl multi, 16 at once", small_gets, at_once=16),),
    ),
    Case(
        "small-objects",
        "100 KiB objects into a touched array, one at a time",
        "small",
        "requests",
        "floor: libcurl's easy interface in C, unsigned; everyone else but pycurl signs",
        ("s3reader sequential", "s3reader ranged"),
        (cpu_of_floor(1.35),),
        floors=(Curl("libcurl easy", small_gets),),
    ),
    Case(
        "small-reads",
        f"`read({READ_SIZE})` from a filled buffer of 8 MiB",
        "buffered",
        "reads",
        "floor: `io.BufferedReader` over `io.BytesIO`",
        ("s3reader sequential", "s3reader ranged"),
        (time_of_floor(2.0),),
    ),
    _loader_case(1),
    _loader_case(4),
    Case(
        "cold",
        "Import, client and first byte from cold",
        "cold",
        "starts",
        "a fresh interpreter; the first byte is that of a small object over plain HTTP; "
        "CPU is that of client and first byte; no file with AWS configuration is there",
        ("s3reader",),
        (
            part("import", "import ms", 60, 1e3),
            part("client", "client ms", 3, 1e3),
        ),
    ),
    Case(
        "signing",
        "Signing",
        "signing",
        "requests",
        "one request of an object of its own, and one of many parts of the same object",
        ("s3reader",),
        (
            part("alone", "µs a request of its own", 8, 1e6),
            part("shared", "µs a part of one object", 1, 1e6),
        ),
    ),
    Case(
        "growth-size",
        "Objects of growing size, `readinto`",
        "grow_size",
        "bytes",
        "zeros from a sparse file into 64 MiB of touched memory, mapped over and over",
        ("1 MiB",),
        (flat(0.1),),
        needs=SPARSE,
        points=growth_sizes,
    ),
    Case(
        "growth-requests",
        "A growing number of objects of 1 KiB together",
        "grow_requests",
        "requests",
        "each point takes as many repetitions as make 10 000 requests",
        ("10 requests",),
        (flat(0.1),),
        points=growth_requests,
    ),
    Case(
        "growth-connections",
        "10 000 objects of 1 KiB together over a growing number of connections",
        "grow_connections",
        "requests",
        "`max_connections` of the client is the point",
        ("1 connection",),
        (flat(0.1),),
        points=lambda sizes: list(GROWTH_CONNECTIONS),
    ),
    *CHECKPOINT_CASES,
)

BY_NAME = {case.name: case for case in CASES}
