"""The broker's time of day is the system's, but for its jumps."""

from __future__ import annotations

import time
from typing import cast

import pytest
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher

from broker.net.wall import STEADY, Wall

DAY = 86_400.0
NOON = 1_800_000_000.0


class Clocks:
    """The system's two clocks; the test lets them run."""

    def __init__(self) -> None:
        self.steady = 1000.0
        self.system = NOON

    def run(self, seconds: float, rate: float = 1.0) -> None:
        """Let time pass."""
        self.steady += seconds
        self.system += seconds * rate


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Clocks:
    """Return the clocks that the broker reads."""
    clocks = Clocks()

    def gettime(clock: int) -> float:
        assert clock == STEADY
        return clocks.steady

    monkeypatch.setattr(time, "time", lambda: clocks.system)
    monkeypatch.setattr(time, "clock_gettime", gettime)
    return clocks


def test_it_is_the_systems(clocks: Clocks) -> None:
    wall = Wall()
    for _ in range(10):
        assert wall() == clocks.system
        clocks.run(0.1)


def test_small_corrections_are_taken_over_at_once(clocks: Clocks) -> None:
    """A time server keeps the system's clock right; the broker's is no other."""
    wall = Wall()
    for _ in range(1000):
        clocks.run(1.0, 1.0005)
        assert wall() == clocks.system


@pytest.mark.parametrize("jump", [DAY, -DAY, 3600.0, -1.0])
def test_a_jump_is_followed_slowly(clocks: Clocks, jump: float) -> None:
    wall = Wall()
    wall()
    clocks.run(1.0)
    clocks.system += jump
    last = wall()
    assert last == pytest.approx(NOON + 1.0, abs=0.02)
    for second in range(2, 50):
        clocks.run(1.0)
        now = wall()
        assert now - last == pytest.approx(1.0, abs=0.0101)
        assert now == pytest.approx(
            NOON + second + 0.01 * second * (1 if jump > 0 else -1), abs=0.05
        )
        last = now
    clocks.run(101 * abs(jump))
    wall()
    assert wall() == clocks.system


def test_a_clock_that_runs_too_fast(clocks: Clocks) -> None:
    """However often it is read, a second in a hundred is the most."""
    wall = Wall()
    wall()
    for _ in range(10_000):
        clocks.run(0.001, 10.0)
        now = wall()
    assert now == pytest.approx(NOON + 10.1, abs=0.06)


def test_the_operator_is_told_once(clocks: Clocks) -> None:
    told: list[LogEvent] = []
    globalLogPublisher.addObserver(cast(ILogObserver, told.append))
    try:
        wall = Wall()
        for jump in (0.0, 5.0, DAY, 0.0, 0.0):
            clocks.system += jump
            wall()
            clocks.run(1.0)
    finally:
        globalLogPublisher.removeObserver(cast(ILogObserver, told.append))
    [event] = [event for event in told if event["log_namespace"] == "broker.net.wall"]
    assert event["off"] == pytest.approx(DAY + 5.0, abs=0.1)
