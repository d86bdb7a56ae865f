"""Who waits for the end of a message: how many at once, how long, and what is left of them. Time is the test's."""

from __future__ import annotations

import pytest

from broker.admin import inquiries
from broker.core.reports import FAILED, PROCESSED
from broker.core.tracking import Part
from tests.admin.house import Staffed


class Tracked(Staffed):
    """A house with one message whose sender wants to know."""

    def __init__(self) -> None:
        super().__init__()
        self.part = self.add("/queue/a")

    def add(self, destination: str) -> Part:
        part = self.broker.tracking.add(
            "job", "", destination, "m-1", "", ["processed"], self.broker.now, True, False
        )
        assert part is not None
        return part

    def wait(self, count: int = 1) -> None:
        """Let somebody wait, as many times."""
        for _ in range(count):
            self.ask("tracked", id="job", wait=30.0)
        self.settle_all()

    def end(self, part: Part, status: str) -> None:
        self.broker.tracking.change(part, status)
        self.settle_all()

    def told(self) -> list[str]:
        return [answer.get("status") or answer["message"] for answer in self.answers()]


@pytest.fixture
def house() -> Tracked:
    """Return a house."""
    return Tracked()


def test_all_who_wait_are_told_the_end(house: Tracked) -> None:
    house.wait(3)
    assert house.told() == []
    house.end(house.part, PROCESSED)
    assert house.told() == ["PROCESSED"] * 3


def test_the_end_is_that_of_all_parts_or_the_first_failure(house: Tracked) -> None:
    others = [house.add(f"/queue/{name}") for name in "bc"]
    house.wait()
    house.end(house.part, PROCESSED)
    assert house.told() == []
    house.end(others[0], FAILED)
    assert house.told() == ["FAILED"]
    house.wait()
    assert house.told() == ["FAILED"]


def test_when_the_time_is_up_it_is_told_how_far_it_is(house: Tracked) -> None:
    house.wait()
    [time_is_up] = house.timers
    time_is_up()
    house.settle_all()
    assert house.told() == ["QUEUED"]
    house.end(house.part, PROCESSED)
    assert house.told() == []


def test_who_has_been_told_hears_nothing_when_the_time_is_up(house: Tracked) -> None:
    house.wait()
    house.end(house.part, PROCESSED)
    assert house.told() == ["PROCESSED"]
    house.timers.pop()()
    house.settle_all()
    assert house.told() == []


def test_so_many_may_wait_and_those_who_leave_make_room(
    house: Tracked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inquiries, "MOST_WAITING", 2)
    house.wait(3)
    assert house.told() == ["Too many wait for the end of messages"]
    house.call("rpc.cancel", "1")
    house.wait()
    assert house.told() == []
    house.end(house.part, PROCESSED)
    assert house.told() == ["PROCESSED"] * 2
