"""The fetcher by itself: lanes, connections, and what it refuses."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
from servers.faults import PART, FaultyObject, pattern
from transfers import FOREVER, Bench, wait_until

from s3reader._ext.counters import Counters
from s3reader._ext.destination import Destination
from s3reader._ext.fetcher import Fetcher
from s3reader._ext.transfer import HeaderLines, SignedRequest, Transfer

DATA = pattern(3 * PART)
LARGE = bytes(32 * 1024 * 1024)


def test_bytes_arrive_in_the_destination(bench: Callable[..., Bench]) -> None:
    b = bench(FaultyObject(DATA))
    buffer = bytearray(2000)
    lane = b.lane()
    transfers = [
        Transfer(
            lane, None, b.pool, start, start + 500, destination=Destination(buffer), offset=start
        )
        for start in range(0, 2000, 500)
    ]
    for transfer in transfers:
        transfer.sign(SignedRequest(f"{b.server.endpoint}/b/k".encode(), HeaderLines([]), FOREVER))
    b.fetcher.submit(transfers)
    b.fetcher.wait_settled(lane)
    assert all(transfer.done for transfer in transfers)
    assert buffer == DATA[:2000]
    assert lane.outstanding == 0


def test_bytes_arrive_in_a_block_and_can_be_viewed_while_they_come(
    bench: Callable[..., Bench],
) -> None:
    faulty = FaultyObject(DATA)
    b = bench(faulty)
    faulty.go_wrong(lambda request, reply: dataclasses.replace(reply, delay_at=700, pause=30.0))
    transfer = b.transfer(b.lane(), 0, 1000)
    b.fetcher.submit([transfer])
    b.fetcher.wait_head(transfer)
    assert transfer.total == len(DATA)
    b.fetcher.wait_received(transfer, 600)
    view = transfer.view(100, 600)
    assert view == DATA[100:600]
    assert view.readonly
    assert not transfer.settled
    with pytest.raises(ValueError, match="not received"):
        transfer.view(0, 701)


@pytest.mark.parametrize(
    ("start", "stop", "offset"), [(0, 101, 0), (0, 100, 1), (0, 10, -1), (5, 4, 0), (0, None, 0)]
)
def test_transfer_that_does_not_fit_its_destination_is_refused(
    bench: Callable[..., Bench], start: int, stop: int | None, offset: int
) -> None:
    b = bench([])
    with pytest.raises(ValueError, match="do not fit"):
        Transfer(
            b.lane(),
            None,
            b.pool,
            start,
            stop,
            destination=Destination(bytearray(100)),
            offset=offset,
        )


def test_lanes_take_turns(bench: Callable[..., Bench]) -> None:
    faulty = FaultyObject(DATA)
    b = bench(faulty, connections=1)
    faulty.go_wrong(lambda request, reply: dataclasses.replace(reply, delay=0.2), times=1)
    gate, first, second = b.lane(), b.lane(), b.lane()
    blocking = b.transfer(gate, 0, 1)
    b.fetcher.submit([blocking])
    wait_until(lambda: len(b.server.requests) == 1)
    earlier = [b.transfer(first, 10 + n, 20 + n) for n in range(3)]
    b.fetcher.submit(earlier)
    later = [b.transfer(second, 30 + n, 40 + n) for n in range(2)]
    b.fetcher.submit(later)
    b.fetcher.wait_settled(first)
    b.fetcher.wait_settled(second)
    starts = [request.range[0] for request in b.server.requests if request.range]
    assert starts == [0, 10, 30, 11, 31, 12]


def test_no_more_transfers_at_once_than_connections(bench: Callable[..., Bench]) -> None:
    b = bench(FaultyObject(DATA), connections=3)
    lane = b.lane()
    transfers = [b.transfer(lane, n, n + 10) for n in range(50)]
    b.fetcher.submit(transfers)
    b.fetcher.wait_settled(lane)
    assert b.server.connections <= 3
    assert [bytes(t.view(0, 10)) for t in transfers] == [DATA[n : n + 10] for n in range(50)]
    counted = b.counters.snapshot()
    assert counted["connections_opened"] == b.server.connections
    assert counted["connections_opened"] + counted["connections_reused"] == 50


@pytest.mark.parametrize(("delay", "width"), [(0.0, 1), (0.02, 3)])
def test_a_short_answer_tells_how_many_long_ones_are_asked_for_at_once(
    bench: Callable[..., Bench], delay: float, width: int
) -> None:
    served = FaultyObject(DATA)
    served.go_wrong(lambda request, reply: dataclasses.replace(reply, delay=delay))
    b = bench(served, connections=3)
    assert b.fetcher.width(8 << 20) == 1
    for _ in range(10):  # one of them at least comes as soon as it is sent
        transfer = b.transfer(b.lane(), 0, 10)
        b.fetcher.submit([transfer])
        b.fetcher.wait_done(transfer)
    assert b.fetcher.width(8 << 20) == width


def test_how_long_a_head_took_tells_nothing_of_objects(bench: Callable[..., Bench]) -> None:
    served = FaultyObject(DATA)
    served.go_wrong(lambda request, reply: dataclasses.replace(reply, delay=0.02))
    b = bench(served, connections=3)
    signed = b.transfer(b.lane(), 0, 10).signed
    assert signed is not None
    transfer = Transfer(b.lane(), None, b.pool, head=True)
    transfer.sign(signed)
    b.fetcher.submit([transfer])
    b.fetcher.wait_done(transfer)
    assert transfer.done
    assert b.fetcher.width(8 << 20) == 1


class TestMisuse:
    def test_unsigned_transfer(self, bench: Callable[..., Bench]) -> None:
        b = bench([])
        with pytest.raises(RuntimeError, match="signed"):
            b.fetcher.submit([Transfer(b.lane(), None, b.pool, 0, 10)])

    def test_transfer_on_its_way_or_settled(self, bench: Callable[..., Bench]) -> None:
        b = bench(FaultyObject(DATA))
        transfer = b.transfer(b.lane(), 0, 10)
        signed = transfer.signed
        assert signed is not None
        b.fetcher.submit([transfer])
        b.fetcher.wait_done(transfer)
        with pytest.raises(RuntimeError, match="submitted once"):
            b.fetcher.submit([transfer])
        with pytest.raises(RuntimeError, match="cannot be signed"):
            transfer.sign(signed)
        for settle in (b.fetcher.finish, lambda t: b.fetcher.fail(t, ValueError())):
            with pytest.raises(RuntimeError, match="reported"):
                settle(transfer)
        assert transfer.done

    @pytest.mark.parametrize("value", ["a\r\nEvil: 1", "a\nb", "a\0b"])
    def test_header_with_a_line_break(self, value: str) -> None:
        with pytest.raises(ValueError, match="line break"):
            SignedRequest(b"http://h/", HeaderLines([("x-amz-thing", value)]), FOREVER)

    def test_no_connections(self) -> None:
        with pytest.raises(ValueError, match="at least 1"):
            Fetcher(Counters(), 0, "agent")
