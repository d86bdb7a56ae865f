"""What takes many turns gives way to others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from broker.admin.errand import Errand, durable, turn, until
from broker.core.broker import Broker
from broker.core.lane import Read
from tests.core.house import House


class Steps:
    """A coroutine that notes how far it has come."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.done = 0
        self.closed = False

    async def count(self, steps: int) -> None:
        """Take so many steps, with a turn for others before each."""
        try:
            for _ in range(steps):
                await turn()
                self.done += 1
        finally:
            self.closed = True


@pytest.fixture
def house() -> House:
    """Return a house."""
    return House()


def read(
    queue: int, priority: int, after: int, count: int, size: int
) -> list[tuple[int, bytes, bytes]]:
    """Read nothing."""
    return []


def test_it_goes_on_as_long_as_it_is_not_late(house: House) -> None:
    steps = Steps(house.broker)
    Errand(house.broker, steps.count(5))
    assert steps.done == 0
    house.broker.go_on(read)
    assert steps.done == 5
    assert not house.broker.again


def test_late_it_lets_others_have_their_turn() -> None:
    """Two get on side by side."""
    house = House()
    times = iter(range(10_000))
    house.broker.outside = replace(house.broker.outside, elapsed=lambda: float(next(times)))
    first, second = Steps(house.broker), Steps(house.broker)
    Errand(house.broker, first.count(50))
    Errand(house.broker, second.count(50))
    for _ in range(20):
        house.broker.go_on(read)
    assert 0 < first.done < 50
    assert abs(first.done - second.done) <= 2


def test_it_waits_for_what_it_asked_for(house: House) -> None:
    resumes: list[Callable[[], None]] = []
    said: list[str] = []

    async def work() -> None:
        await until(resumes.append)
        said.append("went on")

    Errand(house.broker, work())
    house.go_on()
    assert said == []
    [resume] = resumes
    resume()
    house.go_on()
    assert said == ["went on"]


def test_it_waits_for_the_disk(house: House) -> None:
    said: list[str] = []

    async def work() -> None:
        house.put("1")
        await durable(house.broker)
        said.append("durable")

    Errand(house.broker, work())
    house.go_on()
    house.begin_write()
    house.go_on()
    assert said == []
    house.end_write()
    house.go_on()
    assert said == ["durable"]


def test_cancelled_it_does_no_more(house: House) -> None:
    steps = Steps(house.broker)
    errand = Errand(house.broker, until_for_ever(steps))
    house.go_on()
    errand.cancel()
    errand.resume()
    house.go_on()
    assert steps.closed
    errand.cancel()


async def until_for_ever(steps: Steps) -> None:
    """Wait for what never happens."""
    try:
        await until(lambda resume: None)
    finally:
        steps.closed = True


def test_what_it_raises_is_raised_once(house: House) -> None:
    async def fail() -> Read:
        raise ZeroDivisionError

    Errand(house.broker, fail())  # type: ignore[arg-type]
    with pytest.raises(ZeroDivisionError):
        house.broker.go_on(read)
    assert not house.broker.again
