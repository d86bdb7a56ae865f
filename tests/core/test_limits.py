"""How much may wait in a queue, and what gives way."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from broker.core import lane as lane_module
from broker.core import queue as queue_module
from broker.core.policy import Policies
from broker.core.queue import Blocked
from broker.core.subscription import CLIENT, CLIENT_INDIVIDUAL
from broker.core.transaction import Transaction
from broker.errors import Refusal
from tests.core.house import House
from tests.core.test_queue import numbers


@pytest.fixture(autouse=True)
def window(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten messages of a lane are in memory, in these tests."""
    monkeypatch.setattr(lane_module, "WINDOW", 10)


def house_with(**changes: Any) -> House:
    return House(policies=Policies([(">", changes)]))


def waiting(house: House) -> list[str]:
    """Return what waits in queue `a`, by consuming it."""
    consumer = house.consume()
    house.settle()
    return consumer.bodies()


@pytest.mark.parametrize("durable", [True, False])
@pytest.mark.parametrize("most", [1, 5, 10, 25])
def test_the_oldest_give_way(durable: bool, most: int) -> None:
    """Also where the oldest are no longer in memory."""
    house = house_with(max_messages=most, at_limit="drop-oldest")
    for number in range(1, 101):
        house.put(str(number), durable=durable)
        if number % 3 == 0:
            house.settle()
    house.settle()
    queue = house.queue()
    assert (queue.waiting, queue.dropped) == (most, 100 - most)
    assert len(house.on_disk(queue)) == (most if durable else 0)
    assert waiting(house) == numbers(101 - most, 100)
    assert house.in_memory() == 0


def test_the_least_urgent_give_way_first() -> None:
    house = house_with(max_messages=4, at_limit="drop-oldest")
    house.put("high 1", "high 2", priority=9)
    house.put("low 1", "low 2", "low 3", priority=0)
    house.put("high 3", priority=9)
    house.settle()
    assert waiting(house) == ["high 1", "high 2", "high 3", "low 3"]


def test_a_lane_that_must_be_read_first_gives_way_all_the_same() -> None:
    """And those more urgent stay, though they are in memory."""
    house = house_with(max_messages=30, at_limit="drop-oldest")
    house.put("high", priority=9)
    house.put(*numbers(1, 100), priority=0)
    house.settle()
    assert waiting(house) == ["high", *numbers(72, 100)]


def test_what_is_in_a_consumers_hands_does_not_count_and_does_not_give_way() -> None:
    house = house_with(max_messages=2, at_limit="drop-oldest")
    consumer = house.consume(CLIENT, 2)
    house.put(*numbers(1, 6))
    house.settle()
    assert consumer.bodies() == ["1", "2"]
    assert house.queue().waiting == 2
    consumer.ack_all()
    house.settle()
    assert consumer.bodies() == ["5", "6"]


def test_a_backlog_of_another_life_shrinks_with_the_next_message(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In goes, so that others get their turn."""
    monkeypatch.setattr(queue_module, "ONE_GO", 7)
    before = House()
    before.put(*numbers(1, 50))
    before.settle()
    policies = Policies([(">", {"max_messages": 20, "at_limit": "drop-oldest"})])
    house = House(before.store, policies=policies)
    house.put("51")
    house.settle()
    assert waiting(house) == numbers(32, 51)


def test_a_limit_holds_while_somebody_chooses() -> None:
    house = house_with(max_messages=15, at_limit="drop-oldest")
    consumer = house.consume(CLIENT_INDIVIDUAL, wants=lambda message: message.tail == b"wanted")
    for number in range(1, 41):
        house.put(str(number))
        house.settle()
    assert house.queue().waiting == 15
    house.put("wanted")
    house.settle()
    assert consumer.bodies() == ["wanted"]
    consumer.ack_all()
    consumer.close()
    house.settle()
    assert waiting(house) == numbers(26, 40)


def test_memory_is_made_by_those_that_are_in_memory_only() -> None:
    """Stored messages cost no memory; they stay, though they are older."""
    house = house_with(memory_limit=30, at_limit="drop-oldest")
    house.put("stored 1", "stored 2")
    for number in range(1, 6):
        house.put(f"{number:010}", durable=False)
    house.put("stored 3")
    house.settle()
    assert house.in_memory() == 30
    assert waiting(house) == [
        "stored 1",
        "stored 2",
        *(f"{number:010}" for number in (3, 4, 5)),
        "stored 3",
    ]


def test_one_that_is_larger_than_the_limit_stays_alone() -> None:
    house = house_with(memory_limit=30, at_limit="drop-oldest")
    house.put("1", "x" * 50, durable=False)
    assert waiting(house) == ["x" * 50]


@pytest.mark.parametrize("at_limit", ["block", "error"])
def test_a_queue_is_full_when_it_has_as_much_as_it_may(at_limit: str) -> None:
    """So the last one may be larger than what was left: else it could never come."""
    house = house_with(memory_limit=30, max_messages=3, at_limit=at_limit)
    queue = house.queue()
    assert list(queue.limits()) == [queue]
    found = []
    for body, durable in (("x" * 29, False), ("x" * 29, False), ("1", True), ("2", True)):
        house.put(body, durable=durable)
        found.append(queue.full)
    assert found == [False, True, True, True]
    consumer = house.consume(CLIENT, 2)
    found = [queue.full]
    house.put("3")
    found.append(queue.full)
    consumer.close()
    found.append(queue.full)
    assert found == [False, True, True]


def test_who_waits_for_room_is_told_when_there_is_some() -> None:
    """Once, in the order in which they began to wait; who has gone meanwhile is not."""
    house = house_with(max_messages=1)
    queue = house.queue()
    house.put("1")
    told: list[str] = []

    def one() -> None:
        told.append("one")

    def gone() -> None:
        told.append("gone")

    def other() -> None:
        told.append("other")

    for each in (one, gone, other):
        house.broker.wait_for_room(queue, each)
    house.broker.wait_no_longer(gone)
    house.broker.relieve()
    assert told == []
    house.consume()
    house.broker.relieve()
    house.broker.relieve()
    assert told == ["one", "other"]


def test_a_limit_of_a_topic_drops_what_is_oldest_for_each_of_its_subscribers() -> None:
    house = house_with(max_messages=3, at_limit="drop-oldest")
    slow, fast = house.consume(CLIENT, 1, of=house.topic()), house.consume(of=house.topic())
    house.put(*numbers(1, 9), to=house.topic())
    assert fast.bodies() == numbers(1, 9)
    assert slow.bodies() == ["1"]
    slow.ack_all()
    assert slow.bodies() == ["7"]


def test_a_transaction_asks_for_room_first_and_once_for_each_queue() -> None:
    """If there is none it stays as it was, and may be tried again."""
    house = house_with(max_messages=1)
    transaction = Transaction(house.broker.memory)
    asked: list[str] = []

    def ask(name: str) -> None:
        asked.append(name)
        if house.queue(name).full:
            raise Blocked(house.queue(name))

    for name in "aba":
        transaction.send(partial(house.put, "x", to=house.queue(name)), 1, True)
        transaction.require(name, partial(ask, name))
    house.put("1", to=house.queue("b"))
    with pytest.raises(Blocked, match="b takes no more for now"):
        transaction.check()
    assert asked == ["a", "b"]
    house.consume(of=house.queue("b"))
    transaction.check()
    transaction.commit()
    assert house.queue("a").waiting == 2


def test_what_fails_in_a_transaction_keeps_nothing_else_from_being_done() -> None:
    house = House()
    transaction = Transaction(house.broker.memory)

    def fail() -> None:
        raise Refusal("nobody reads it")

    transaction.then(fail)
    transaction.send(lambda: house.put("1"), 1, True)
    with pytest.raises(Refusal, match="nobody reads it"):
        transaction.commit()
    assert waiting(house) == ["1"]
