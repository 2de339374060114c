"""The width of a fetcher whose loop can move so much, before servers of several kinds."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field

import pytest
from compiled import function, struct

from s3reader._ext import width as compiled

CEILING = 15  # long exchanges at once
STEP = 0.0005  # seconds between turns of the simulated loop
MOVED = 2.4e9  # bytes a second that the loop can move

Width = struct(compiled, "Width")
WIDTH = ctypes.POINTER(Width)
DOUBLE = ctypes.c_double

bound = function(compiled, "width_bound", None, WIDTH, ctypes.c_int)
room = function(compiled, "width_room", ctypes.c_int, WIDTH)
held = function(compiled, "width_held", None, WIDTH, DOUBLE, DOUBLE, ctypes.c_int64)
wait = function(compiled, "width_wait", DOUBLE, WIDTH, DOUBLE)
answered = function(compiled, "width_answered", None, WIDTH, ctypes.c_int64)
free = function(compiled, "width_free", None, WIDTH)


@dataclass
class Simulation:
    """A loop with endless long exchanges before a server.

    Args:
        latency: seconds to the first byte.
        connection: bytes a second of each connection.
        server: bytes a second of all together.
        crowding: by what share of the work for a byte each connection beyond the first adds to it.
    """

    latency: float
    connection: float
    server: float = 1e12
    crowding: float = 0.0
    now: float = 1000.0
    busy: float = 0.0
    received: float = 0.0
    began: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.width = Width()
        bound(self.width, CEILING)
        self.at_once: list[int] = []

    def run(self, seconds: float) -> int:
        """Go on for so long; how many exchanges run then."""
        until = self.now + seconds
        while self.now < until:
            held(self.width, self.now, self.busy, int(self.received))
            # An exchange is over soon, so what is not to run any more ends.
            now = self.width.running + room(self.width)
            self.began = self.began[:now]
            self.began += [self.now] * (now - len(self.began))
            self.width.running = len(self.began)
            assert room(self.width) == 0
            assert wait(self.width, self.now) >= 0.001
            flowing = sum(self.now - began >= self.latency for began in self.began)
            came = min(self.server, flowing * self.connection)
            movable = MOVED / (1 + self.crowding * (len(self.began) - 1))
            self.received += STEP * min(came, movable)
            self.busy += STEP * min(came / movable, 1.0)
            self.now += STEP
            self.at_once.append(len(self.began))
        return len(self.began)


def test_begins_with_one() -> None:
    simulation = Simulation(latency=0.0002, connection=3e9)
    assert simulation.run(STEP) == 1


@pytest.mark.parametrize("latency", [0.0002, 0.003])
def test_one_connection_that_brings_all_that_the_loop_moves_stays_alone(latency: float) -> None:
    simulation = Simulation(latency, connection=3e9)
    assert simulation.run(10) == 1
    assert max(simulation.at_once) == 1


def test_one_connection_at_hand_that_half_fills_the_loop_is_left_alone() -> None:
    simulation = Simulation(0.0002, connection=0.55 * MOVED)
    simulation.run(5)
    assert max(simulation.at_once) == 1


@pytest.mark.parametrize(("connection", "needed"), [(0.9e9, 3), (0.5e9, 5)])
def test_connections_are_added_until_the_loop_is_busy(connection: float, needed: int) -> None:
    simulation = Simulation(0.0002, connection)
    assert needed - 1 <= simulation.run(0.1) <= needed + 1
    assert simulation.run(2) * connection >= 0.85 * MOVED


def test_server_far_away_gets_every_connection_before_it_answered() -> None:
    simulation = Simulation(latency=0.025, connection=90e6)
    assert simulation.run(0.006) == CEILING
    assert simulation.run(5) == CEILING


def test_answers_that_came_late_tell_beforehand_that_the_server_is_far_away() -> None:
    simulation = Simulation(latency=0.025, connection=90e6)
    answered(simulation.width, -1)  # there was none
    assert simulation.run(STEP) == 1
    free(simulation.width)
    answered(simulation.width, 25_000)
    assert simulation.run(STEP) == CEILING


def test_what_one_late_answer_told_is_taken_back_by_one_that_came_soon() -> None:
    simulation = Simulation(latency=0.0002, connection=3e9)
    answered(simulation.width, 40_000)
    assert simulation.run(0.1) == CEILING
    answered(simulation.width, 300)
    assert simulation.run(0.1) == 1


def test_one_late_answer_of_several_does_not() -> None:
    simulation = Simulation(latency=0.0002, connection=3e9)
    for waited in (300, 40_000):
        answered(simulation.width, waited)
    assert simulation.run(1) == 1


def test_slow_server_nearby_gets_every_connection() -> None:
    simulation = Simulation(latency=0.001, connection=90e6)
    assert simulation.run(0.012) == CEILING


def test_connections_that_bring_nothing_are_given_up_and_tried_rarely() -> None:
    simulation = Simulation(latency=0.0002, connection=1.1e9, server=1.1e9)
    simulation.run(0.2)
    assert max(simulation.at_once) > 1
    simulation.at_once.clear()
    simulation.run(30)
    more = sum(count > 1 for count in simulation.at_once)
    assert 0 < more < 0.02 * len(simulation.at_once)


def test_connections_that_bring_more_at_no_more_work_stay() -> None:
    # Three could bring three times as much, and bring 1.8 times.
    simulation = Simulation(latency=0.0002, connection=0.9e9, server=1.6e9)
    simulation.run(0.2)
    assert simulation.run(2) > 1


def test_connections_that_bring_a_little_for_much_work_are_given_up() -> None:
    simulation = Simulation(latency=0.0002, connection=1.1e9, server=1.4e9, crowding=0.3)
    simulation.run(0.2)
    assert max(simulation.at_once) > 1
    assert simulation.run(0.2) == 1


def test_loop_at_work_is_no_sign_of_a_server_far_away() -> None:
    width = Width()
    bound(width, CEILING)
    width.running = 1
    for step in range(20):  # as it is while certificates are read: 20 ms, no byte
        held(width, 1000 + 0.001 * step, 0.001 * step, 0)
    assert width.allowed == 1
    for step in range(20, 30):  # and now it waits
        held(width, 1000 + 0.001 * step, 0.019, 0)
    assert width.allowed == CEILING


def test_the_next_one_starts_as_soon_as_one_has_ended() -> None:
    simulation = Simulation(latency=0.0002, connection=3e9)
    simulation.run(1)
    simulation.width.running -= 1
    assert wait(simulation.width, simulation.now) == 0


def test_width_stays_for_later_reads() -> None:
    simulation = Simulation(latency=0.025, connection=90e6)
    simulation.run(1)
    free(simulation.width)
    simulation.began.clear()
    simulation.now += 60
    assert simulation.run(STEP) == CEILING


def test_bound_is_kept() -> None:
    simulation = Simulation(latency=0.025, connection=90e6)
    simulation.run(1)
    bound(simulation.width, 4)
    assert simulation.run(1) == 4
    bound(simulation.width, CEILING)
    assert simulation.run(1) == CEILING
