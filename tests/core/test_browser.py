"""Somebody looks at a queue and takes nothing: what is seen, in which order, and when it ends."""

from __future__ import annotations

import pytest

from broker.core import browser as browser_module
from broker.core import lane as lane_module
from broker.core.browser import Browser
from broker.core.message import Message
from broker.core.subscription import CLIENT_INDIVIDUAL, Wants
from tests.core.house import House, key

END = "end"


@pytest.fixture
def house() -> House:
    return House()


@pytest.fixture
def window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane_module, "WINDOW", 10)


class Watcher:
    """Somebody who looks."""

    def __init__(self, house: House, wants: Wants | None = None) -> None:
        self.saw: list[str] = []
        self.browser = Browser(house.queue(), self._see, lambda: self.saw.append(END), wants)
        self.browser.start()

    def _see(self, message: Message) -> str:
        self.saw.append(message.tail.decode())
        return ""


def test_it_sees_all_that_waits_and_then_the_end(house: House) -> None:
    house.put("low", priority=0)
    house.put("one", "two")
    house.put("high", durable=False, priority=9)
    watcher = Watcher(house)
    house.settle()
    assert watcher.saw == ["high", "one", "two", "low", END]
    assert house.consume().bodies() == ["high", "one", "two", "low"]


def test_of_an_empty_queue_it_sees_the_end(house: House) -> None:
    watcher = Watcher(house)
    house.settle()
    assert watcher.saw == [END]


def test_it_sees_a_backlog_and_keeps_none_of_it(house: House, window: None) -> None:
    house.put(*map(str, range(200)))
    house.write()
    watcher = Watcher(house)
    house.settle()
    assert watcher.saw == [*map(str, range(200)), END]
    [lane] = house.queue().lanes
    assert (len(lane.head), lane.behind) == (10, 190)


def test_it_waits_for_what_is_still_being_written(house: House, window: None) -> None:
    house.put(*map(str, range(20)))
    watcher = Watcher(house)
    house.go_on()
    assert watcher.saw == [*map(str, range(10))]
    house.settle()
    assert watcher.saw == [*map(str, range(20)), END]


def test_it_does_not_see_what_comes_later(house: House) -> None:
    house.put("one")
    watcher = Watcher(house)
    house.put("two")
    house.put("urgent", priority=9)
    house.settle()
    assert watcher.saw == ["one", END]


def test_a_lane_that_comes_while_another_is_shown_changes_nothing(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lanes are gone through by priority, whatever lanes there come to be."""
    monkeypatch.setattr(browser_module, "ONE_GO", 2)
    monkeypatch.setattr(browser_module, "FEW", 2)
    house.put("one", "two", "three")
    watcher = Watcher(house)
    house.broker.go_on(house.store.read)
    assert watcher.saw == ["one", "two"]
    house.put("urgent", priority=9)
    house.settle()
    assert watcher.saw == ["one", "two", "three", END]


def test_what_a_consumer_has_is_not_there(house: House) -> None:
    consumer = house.consume(CLIENT_INDIVIDUAL, prefetch=1)
    house.put("one", "two")
    watcher = Watcher(house)
    house.settle()
    assert watcher.saw == ["two", END]
    assert consumer.bodies() == ["one"]


def test_what_was_given_back_is(house: House, window: None) -> None:
    """Also if consumers choose, and also if the rest is only in the store."""
    house.put(*map(str, range(30)))
    house.write()
    consumer = house.consume(CLIENT_INDIVIDUAL, 15, wants=lambda message: True)
    other = house.consume(CLIENT_INDIVIDUAL, 1, wants=lambda message: False)
    house.settle()
    consumer.nack(key(15), requeue=True)
    consumer.pause()
    consumer.nack(key(3), requeue=True)
    watcher = Watcher(house)
    house.settle()
    waiting = sorted({*range(30)} - {int(each.tail) for each in consumer.in_flight.values()})
    assert watcher.saw == [*map(str, waiting), END]
    assert other.bodies() == []


def test_it_sees_what_it_asks_for(house: House) -> None:
    house.put("a1", "b1", "a2")
    watcher = Watcher(house, lambda message: message.tail.startswith(b"a"))
    house.settle()
    assert watcher.saw == ["a1", "a2", END]


def test_what_has_expired_is_not_shown(house: House) -> None:
    house.put("old", expires=5)
    house.put("new")
    house.broker.now = 5
    watcher = Watcher(house)
    house.settle()
    assert watcher.saw == ["new", END]


def test_others_get_their_turn(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(browser_module, "ONE_GO", 10)
    monkeypatch.setattr(browser_module, "FEW", 10)
    house.put(*map(str, range(25)))
    watcher = Watcher(house)
    lengths = []
    while house.broker.again:
        house.broker.go_on(house.store.read)
        lengths.append(len(watcher.saw))
    assert lengths == [10, 20, 26]


def test_so_many_bytes_are_enough_for_one_go(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(browser_module, "BYTES", 100)
    monkeypatch.setattr(browser_module, "FEW", 1)
    house.put(*["x" * 60] * 4)
    watcher = Watcher(house)
    house.broker.go_on(house.store.read)
    assert len(watcher.saw) == 2


def test_it_goes_on_when_its_client_reads_on(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(browser_module, "ONE_GO", 2)
    monkeypatch.setattr(browser_module, "FEW", 2)
    house.put("one", "two", "three")
    watcher = Watcher(house)
    house.broker.go_on(house.store.read)
    watcher.browser.pause()
    house.settle()
    assert watcher.saw == ["one", "two"]
    watcher.browser.resume()
    house.settle()
    assert watcher.saw == ["one", "two", "three", END]


def test_it_can_be_ended(house: House) -> None:
    house.put("one")
    watcher = Watcher(house)
    watcher.browser.close()
    house.settle()
    assert watcher.saw == []
