"""The pace of requests against a server that admits so many a second, on the test's own clock."""

from __future__ import annotations

import ctypes

import pytest
from compiled import function, struct

from s3reader._ext import pace as compiled

CEILING = 64  # transfers at once
LATENCY = 0.05  # seconds
STEP = 0.002  # seconds between turns of the simulated loop

Pace = struct(compiled, "Pace")
PACE = ctypes.POINTER(Pace)

room = function(compiled, "pace_room", ctypes.c_int, PACE, ctypes.c_int, ctypes.c_double)
started = function(compiled, "pace_started", None, PACE)
succeeded = function(compiled, "pace_succeeded", None, PACE, ctypes.c_double)
throttled = function(compiled, "pace_throttled", None, PACE, ctypes.c_double)
wait = function(compiled, "pace_wait", ctypes.c_double, PACE, ctypes.c_double)


class Simulation:
    """A client with endless work, a server, and their time in seconds."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.pace = Pace(ceiling=CEILING, limit=CEILING)
        self.running: list[float] = []
        self.admitted = 0.0

    def run(self, seconds: float, capacity: float) -> tuple[float, float]:
        """Successes and refusals a second of a server that admits ``capacity`` a second."""
        successes = refusals = 0
        end = self.now + seconds
        while self.now < end:
            self.now += STEP
            self.admitted = min(self.admitted + capacity * STEP, max(1.0, capacity * LATENCY))
            done = [at for at in self.running if at <= self.now]
            self.running = [at for at in self.running if at > self.now]
            for _ in done:
                if self.admitted >= 1:
                    self.admitted -= 1
                    successes += 1
                    succeeded(self.pace, self.now)
                else:
                    refusals += 1
                    throttled(self.pace, self.now)
            for _ in range(room(self.pace, len(self.running), self.now)):
                started(self.pace)
                self.running.append(self.now + LATENCY)
        return successes / seconds, refusals / seconds


def test_nothing_is_bounded_until_the_server_refuses() -> None:
    successes, refusals = Simulation().run(5, capacity=1e6)
    assert refusals == 0
    assert successes > 0.9 * CEILING / (LATENCY + STEP)


@pytest.mark.parametrize("capacity", [50, 200, 800])
def test_throttling_server_is_asked_for_about_what_it_bears(capacity: int) -> None:
    simulation = Simulation()
    simulation.run(10, capacity)
    successes, refusals = simulation.run(60, capacity)
    assert successes > 0.6 * capacity
    assert refusals < 0.25 * successes


def test_all_requests_run_again_when_throttling_ends() -> None:
    simulation = Simulation()
    simulation.run(20, capacity=100)
    assert simulation.pace.rate > 0
    simulation.run(60, capacity=1e6)
    assert (simulation.pace.rate, simulation.pace.limit) == (0, CEILING)
    assert wait(simulation.pace, simulation.now) == 0


def test_next_start_is_told_as_it_comes() -> None:
    simulation = Simulation()
    simulation.run(20, capacity=100)
    pace, now = simulation.pace, simulation.now
    while room(pace, 0, now) > 0:
        started(pace)
    delay = wait(pace, now)
    assert 0 < delay <= 1 / pace.rate
    assert room(pace, 0, now + 0.9 * delay) == 0
    assert room(pace, 0, now + 1.1 * delay) == 1


def test_few_refusals_among_many_answers_do_not_set_a_rate() -> None:
    simulation = Simulation()
    for number in range(1000):
        simulation.now += 0.01
        (throttled if number % 10 == 0 else succeeded)(simulation.pace, simulation.now)
    assert simulation.pace.rate == 0
    assert 1 <= simulation.pace.limit < CEILING


def test_many_refusals_set_a_rate_at_once() -> None:
    """A server near by would have refused thousands before the limit's fall shows."""
    simulation = Simulation()
    pace = simulation.pace
    for number in range(40):
        simulation.now += 0.0005
        (succeeded if number < 10 else throttled)(pace, simulation.now)
    assert 0 < pace.rate <= 100
    assert pace.limit == CEILING // 2
    assert room(pace, 0, simulation.now) == 0
