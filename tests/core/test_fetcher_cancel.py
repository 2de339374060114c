"""Cancelling and closing: afterwards the memory is the caller's, and nobody waits on."""

from __future__ import annotations

import dataclasses
import gc
import time
from collections.abc import Callable
from typing import Any

import pytest
from servers.faults import PART, FaultyObject, pattern, status
from transfers import Bench, silent, stays_poisoned, wait_until

from s3reader._ext.counters import Counters
from s3reader._ext.fetcher import FetcherClosed
from s3reader._ext.transfer import Lane

DATA = pattern(3 * PART)
LARGE = bytes(32 * 1024 * 1024)


class TestCancel:
    def test_queued(self, bench: Callable[..., Bench]) -> None:
        faulty = FaultyObject(DATA)
        b = bench(faulty, connections=1)
        faulty.go_wrong(silent)
        blocking, lane = b.lane(), b.lane()
        first = b.transfer(blocking, 0, 10)
        b.fetcher.submit([first])
        buffer = bytearray(100)
        queued = b.transfer(lane, 0, 100, buffer)
        b.fetcher.submit([queued])
        b.fetcher.cancel(lane)
        assert queued.settled
        assert not queued.done
        faulty.go_wrong(None)
        b.fetcher.cancel(blocking)
        assert stays_poisoned(buffer)
        assert len(b.server.requests) <= 1

    def test_running_without_an_answer(self, bench: Callable[..., Bench]) -> None:
        faulty = FaultyObject(DATA)
        b = bench(faulty)
        faulty.go_wrong(silent)
        lane = b.lane()
        transfer = b.transfer(lane, 0, 100, bytearray(100))
        b.fetcher.submit([transfer])
        wait_until(lambda: len(b.server.requests) == 1)
        began = time.monotonic()
        b.fetcher.cancel(lane)
        assert time.monotonic() - began < 0.5
        assert transfer.settled

    def test_running_while_bytes_come(self, bench: Callable[..., Bench]) -> None:
        """Once cancel is back the memory is the caller's again, whatever the server still sends."""
        b = bench(FaultyObject(LARGE), connections=4)
        buffer = bytearray(len(LARGE))
        for least in (1, 100_000, 1_000_000, 5_000_000, 20_000_000):
            lane = b.lane()
            transfers = [b.transfer(lane, 0, len(LARGE), buffer) for _ in range(2)]
            b.fetcher.submit(transfers)
            b.fetcher.wait_received(transfers[0], least)
            b.fetcher.cancel(lane)
            assert stays_poisoned(buffer)
            assert all(transfer.settled for transfer in transfers)
            assert lane.outstanding == 0

    def test_judged_meanwhile_touches_nothing_that_its_lane_let_go(
        self, bench: Callable[..., Bench]
    ) -> None:
        """A lane that collects has a list of its settled transfers, and does not keep them alive
        once it is cancelled. What is written there then is another transfer's."""
        faulty = FaultyObject(DATA)
        b = bench(faulty, connections=1)
        lane = Lane(Counters(), b.counters, collects=True)
        settled = b.transfer(lane, 0, 10)
        b.fetcher.submit([settled])
        b.fetcher.wait_done(settled)
        faulty.go_wrong(status(500))
        judged = b.transfer(lane, 10, 20)
        b.fetcher.submit([judged])
        assert b.fetcher.next_report() is judged
        faulty.go_wrong(silent)
        blocking = b.lane()
        b.fetcher.submit([b.transfer(blocking, 20, 30)])
        b.fetcher.cancel(lane)
        del settled
        waiting = b.lane()
        others = [b.transfer(waiting, 30, 40) for _ in range(20)]  # some of them in its memory
        b.fetcher.submit(others)
        b.fetcher.resubmit(judged)
        faulty.go_wrong(None)
        b.fetcher.cancel(blocking)
        wait_until(lambda: all(other.done for other in others))
        assert [each.range for each in b.server.requests].count((10, 20)) == 1

    def test_waiting_to_be_judged(self, bench: Callable[..., Bench]) -> None:
        faulty = FaultyObject(DATA)
        b = bench(faulty)
        faulty.go_wrong(status(500))
        lane = b.lane()
        transfer = b.transfer(lane, 0, 100)
        b.fetcher.submit([transfer])
        wait_until(lambda: transfer.status == 500)
        b.fetcher.cancel(lane)
        assert transfer.settled

    @pytest.mark.parametrize("then", ["resubmit", "delay", "fail", "finish"])
    def test_being_judged(self, bench: Callable[..., Bench], then: str) -> None:
        """Cancel does not wait for the judge, and what it decides comes too late."""
        faulty = FaultyObject(DATA)
        b = bench(faulty)
        faulty.go_wrong(status(500), times=1)
        lane = b.lane()
        buffer = bytearray(100)
        transfer = b.transfer(lane, 0, 100, buffer)
        b.fetcher.submit([transfer])
        assert b.fetcher.next_report() is transfer
        b.fetcher.cancel(lane)
        assert not transfer.settled
        if then == "fail":
            b.fetcher.fail(transfer, ValueError("too late"))
        elif then == "finish":
            b.fetcher.finish(transfer)
        else:
            b.fetcher.resubmit(transfer, 0.05 if then == "delay" else 0)
        assert transfer.settled
        assert not transfer.done
        assert not transfer.failed
        assert lane.outstanding == 0
        assert stays_poisoned(buffer)
        assert len(b.server.requests) == 1

    def test_delayed(self, bench: Callable[..., Bench]) -> None:
        faulty = FaultyObject(DATA)
        b = bench(faulty)
        faulty.go_wrong(status(500), times=1)
        lane, other = b.lane(), b.lane()
        transfer = b.transfer(lane, 0, 100)
        b.fetcher.submit([transfer])
        b.fetcher.next_report()
        b.fetcher.resubmit(transfer, 0.1)
        b.fetcher.cancel(lane)
        assert transfer.settled
        kept = b.transfer(other, 0, 100)
        b.fetcher.submit([kept])
        b.fetcher.wait_done(kept)
        assert kept.done

    def test_one_lane_leaves_the_others(self, bench: Callable[..., Bench]) -> None:
        faulty = FaultyObject(DATA)
        b = bench(faulty, connections=2)
        faulty.go_wrong(lambda request, reply: dataclasses.replace(reply, delay=0.1))
        lanes = [b.lane() for _ in range(6)]
        transfers = [b.transfer(lane, n, n + 50) for n, lane in enumerate(lanes)]
        b.fetcher.submit(transfers)
        for lane in lanes[::2]:
            b.fetcher.cancel(lane)
        for lane in lanes[1::2]:
            b.fetcher.wait_settled(lane)
        assert [transfer.done for transfer in transfers[1::2]] == [True] * 3

    def test_twice_and_before_anything_ran(self, bench: Callable[..., Bench]) -> None:
        b = bench(FaultyObject(DATA))
        lane = b.lane()
        b.fetcher.cancel(lane)
        b.fetcher.submit([])
        b.fetcher.cancel(lane)
        b.fetcher.cancel(lane)
        late = b.transfer(lane, 0, 10)
        b.fetcher.submit([late])
        assert late.settled
        assert b.server.requests == []

    def test_wakes_who_waits(
        self, bench: Callable[..., Bench], in_thread: Callable[..., Callable[[], Any]]
    ) -> None:
        faulty = FaultyObject(DATA)
        b = bench(faulty)
        faulty.go_wrong(silent)
        lane = b.lane()
        transfer = b.transfer(lane, 0, 100)
        b.fetcher.submit([transfer])
        waits = [
            in_thread(lambda: b.fetcher.wait_head(transfer)),
            in_thread(lambda: b.fetcher.wait_received(transfer, 10)),
            in_thread(lambda: b.fetcher.wait_done(transfer)),
            in_thread(lambda: b.fetcher.wait_settled(lane)),
        ]
        wait_until(lambda: len(b.server.requests) == 1)
        b.fetcher.cancel(lane)
        for result in waits:
            with pytest.raises(FetcherClosed, match="closed"):
                result()

    def test_transfer_that_is_dropped_is_cancelled(self, bench: Callable[..., Bench]) -> None:
        faulty = FaultyObject(DATA)
        b = bench(faulty)
        faulty.go_wrong(silent)
        lane = b.lane()
        b.fetcher.submit([b.transfer(lane, 0, 100)])
        wait_until(lambda: lane.outstanding == 0)

    def test_transfers_in_a_reference_cycle_are_collected(
        self, bench: Callable[..., Bench]
    ) -> None:
        b = bench(FaultyObject(LARGE), connections=4)
        for _ in range(5):
            lane = b.lane()
            transfers = [b.transfer(lane, 0, len(LARGE)) for _ in range(3)]
            b.fetcher.submit(transfers)
            b.fetcher.wait_received(transfers[0], 1000)
            transfers[0].notes = [transfers, lane, transfers[0].view(0, 1000)]
            del transfers, lane
            gc.collect()
        wait_until(lambda: b.pool.in_use == 0)


class TestClose:
    def test_with_transfers_in_flight(
        self, bench: Callable[..., Bench], in_thread: Callable[..., Callable[[], Any]]
    ) -> None:
        b = bench(FaultyObject(LARGE), connections=2)
        lane = b.lane()
        buffers = [bytearray(len(LARGE)) for _ in range(4)]
        transfers = [b.transfer(lane, 0, len(LARGE), buffer) for buffer in buffers]
        b.fetcher.submit(transfers)
        b.fetcher.wait_received(transfers[0], 100_000)
        waiting = in_thread(lambda: b.fetcher.wait_settled(lane))
        began = time.monotonic()
        b.fetcher.close()
        assert time.monotonic() - began < 1.0
        assert all(transfer.settled for transfer in transfers)
        assert all(stays_poisoned(buffer, 0.02) for buffer in buffers)
        with pytest.raises(FetcherClosed):
            waiting()

    def test_twice_from_many_threads(
        self, bench: Callable[..., Bench], in_thread: Callable[..., Callable[[], Any]]
    ) -> None:
        b = bench(FaultyObject(DATA))
        b.fetcher.submit([b.transfer(b.lane(), 0, 10)])
        results = [in_thread(b.fetcher.close) for _ in range(4)]
        for result in results:
            result()

    def test_ends_whoever_waits_for_reports(
        self, bench: Callable[..., Bench], in_thread: Callable[..., Callable[[], Any]]
    ) -> None:
        b = bench(FaultyObject(DATA))
        waiting = in_thread(b.fetcher.next_report)
        b.fetcher.close()
        assert waiting() is None

    def test_refuses_what_comes_later(self, bench: Callable[..., Bench]) -> None:
        b = bench(FaultyObject(DATA))
        lane = b.lane()
        transfer = b.transfer(lane, 0, 10)
        b.fetcher.close()
        with pytest.raises(ValueError, match="closed"):
            b.fetcher.submit([transfer])
        b.fetcher.cancel(lane)

    def test_while_others_submit(
        self, bench: Callable[..., Bench], in_thread: Callable[..., Callable[[], Any]]
    ) -> None:
        for _ in range(10):
            b = bench(FaultyObject(DATA), connections=2)

            def submit_on(b: Bench = b) -> int:
                for count in range(100_000):
                    lane = b.lane()
                    transfer = b.transfer(lane, 0, 10)
                    try:
                        b.fetcher.submit([transfer])
                        b.fetcher.wait_done(transfer)
                    except FetcherClosed:
                        return count
                return -1

            results = [in_thread(submit_on) for _ in range(2)]
            wait_until(lambda b=b: len(b.server.requests) > 3)
            b.fetcher.close()
            assert all(result() >= 0 for result in results)


class TestHeldBack:
    """Long exchanges wait until a server was seen to be worth more connections (`width`)."""

    def test_short_ones_pass(self, bench: Callable[..., Bench]) -> None:
        b = bench(FaultyObject(LARGE), connections=4)
        lane = b.lane()
        b.fetcher.submit(b.transfer(lane, 0, len(LARGE), bytearray(len(LARGE))) for _ in range(8))
        others = [b.lane() for _ in range(3)]
        short = [b.transfer(each, 0, 100, bytearray(100)) for each in others]
        b.fetcher.submit(short)
        for transfer in short:
            b.fetcher.wait_done(transfer)
        assert all(transfer.done for transfer in short)
        b.fetcher.cancel(lane)

    @pytest.mark.parametrize("moment", [0, 0.001, 0.003, 0.005, 0.008])
    def test_cancelled(self, bench: Callable[..., Bench], moment: float) -> None:
        b = bench(FaultyObject(LARGE), connections=3)
        for _ in range(5):
            lanes = [b.lane() for _ in range(4)]
            buffer = bytearray(len(LARGE))
            long = [b.transfer(lane, 0, len(LARGE), buffer) for lane in lanes for _ in range(2)]
            b.fetcher.submit(long)
            time.sleep(moment)
            for lane in lanes[::2] + lanes[1::2]:
                b.fetcher.cancel(lane)
            assert all(transfer.settled for transfer in long)
            assert stays_poisoned(buffer, 0.01)
        again, lane = bytearray(len(LARGE)), b.lane()
        last = b.transfer(lane, 0, len(LARGE), again)
        b.fetcher.submit([last])
        b.fetcher.wait_done(last)
        assert again == LARGE

    def test_fetcher_closes(self, bench: Callable[..., Bench]) -> None:
        b = bench(FaultyObject(LARGE), connections=3)
        lane = b.lane()
        long = [b.transfer(lane, 0, len(LARGE), bytearray(len(LARGE))) for _ in range(6)]
        b.fetcher.submit(long)
        b.fetcher.close()
        assert all(transfer.settled for transfer in long)
