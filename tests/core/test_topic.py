"""A topic: everybody who is there gets a copy, and nobody suffers from a slow one."""

from __future__ import annotations

import pytest

from broker.core import topic as topic_module
from broker.core.message import Message
from broker.core.policy import DEAD_LETTERS
from broker.core.subscription import AUTO, CLIENT, CLIENT_INDIVIDUAL
from broker.core.topic import TopicQueue
from broker.core.transaction import Transaction
from tests.core.house import Consumer, House, key


@pytest.fixture
def house() -> House:
    return House()


def dropped(consumer: Consumer) -> int:
    """Return how many messages a subscriber has lost."""
    assert isinstance(consumer.queue, TopicQueue)
    return consumer.queue.dropped


def publish(house: House, *bodies: str, priority: int = 4) -> None:
    house.put(*bodies, to=house.topic(), priority=priority)


def test_everybody_who_is_there_gets_it(house: House) -> None:
    early, also = house.consume(of=house.topic()), house.consume(CLIENT, of=house.topic())
    publish(house, "1")
    late = house.consume(of=house.topic())
    publish(house, "2")
    assert (early.bodies(), also.bodies(), late.bodies()) == (["1", "2"], ["1", "2"], ["2"])


def test_without_subscribers_a_message_is_gone(house: House) -> None:
    publish(house, "1")
    assert house.in_memory() == 0
    assert not house.journal


def test_a_topic_never_touches_the_disk(house: House) -> None:
    consumer = house.consume(CLIENT, 1, of=house.topic())
    publish(house, "1", "2", "3")
    consumer.nack(key(1), True)
    consumer.ack_all()
    assert not house.journal


def test_each_subscriber_has_its_own_credit_and_pace(house: House) -> None:
    slow = house.consume(CLIENT_INDIVIDUAL, 1, of=house.topic())
    fast = house.consume(of=house.topic())
    publish(house, "1", "2", "3")
    assert (slow.bodies(), fast.bodies()) == (["1"], ["1", "2", "3"])
    assert house.in_memory() == 2
    slow.ack(key(1))
    slow.ack(key(2))
    assert slow.bodies() == ["2", "3"]
    assert house.in_memory() == 0


def test_given_back_by_one_is_not_marked_for_another(house: House) -> None:
    one = house.consume(CLIENT_INDIVIDUAL, 9, of=house.topic())
    other = house.consume(CLIENT_INDIVIDUAL, 1, of=house.topic())
    publish(house, "1", "2")
    one.nack(key(2), True)
    house.go_on()
    assert [delivery.redelivered for delivery in one.got] == [False, False, True]
    other.ack(key(1))
    assert [delivery.redelivered for delivery in other.got] == [False, False]


def test_how_often_one_refuses_does_not_count_for_another(house: House) -> None:
    house = House(max_redeliveries=1)
    subscribers = [house.consume(CLIENT_INDIVIDUAL, of=house.topic()) for _ in range(4)]
    publish(house, "1")
    for subscriber in subscribers:
        subscriber.nack(key(1), True)
        house.go_on()
        assert subscriber.bodies() == ["1", "1"]
        subscriber.nack(key(1), True)
        house.go_on()
        assert subscriber.bodies() == []


def test_nothing_of_a_topic_becomes_a_dead_letter(house: House) -> None:
    consumer = house.consume(CLIENT, of=house.topic())
    publish(house, "1")
    consumer.nack(key(1), False)
    assert house.queue(DEAD_LETTERS).waiting == 0
    assert house.in_memory() == 0


def test_what_waited_for_a_subscriber_goes_with_it(house: House) -> None:
    consumer = house.consume(CLIENT, 1, of=house.topic())
    publish(house, "1", "2")
    publish(house, "3", priority=9)
    consumer.close()
    assert house.in_memory() == 0
    assert not house.topic().bound
    publish(house, "4")
    assert house.in_memory() == 0


def test_what_a_transaction_held_goes_with_its_subscriber_too(house: House) -> None:
    consumer = house.consume(CLIENT, of=house.topic())
    publish(house, "1", "2")
    transaction = Transaction(house.broker.memory)
    transaction.ack(consumer, key(1))
    consumer.close()
    transaction.abort()
    house.go_on()
    assert house.in_memory() == 0
    assert not consumer.queue.owed


def test_a_slow_subscriber_loses_its_oldest_messages(house: House) -> None:
    slow = house.consume(CLIENT_INDIVIDUAL, 1, of=house.topic(), pending=3)
    fast = house.consume(AUTO, of=house.topic())
    publish(house, *"1234567")
    assert fast.bodies() == list("1234567")
    assert dropped(slow) == 3
    assert house.in_memory() == 3
    for _ in range(4):
        slow.ack_all()
    assert slow.bodies() == ["1", "5", "6", "7"]
    assert house.in_memory() == 0


def test_messages_wait_as_they_came_whatever_their_numbers(house: House) -> None:
    """A subscriber of several topics gets what each has kept, and advisories before what they are of."""
    consumer = house.consume(CLIENT_INDIVIDUAL, 1, of=house.topic(), pending=2)
    assert isinstance(consumer.queue, TopicQueue)
    messages = [house.message(body) for body in "01234"]
    for number in (0, 4, 3, 2, 1):
        consumer.queue.put(messages[number])
    publish(house, "5")
    for _ in range(3):
        consumer.ack_all()
    assert consumer.bodies() == ["0", "1", "5"]
    assert dropped(consumer) == 3
    assert (consumer.queue.waiting, house.in_memory()) == (0, 0)


def test_the_least_urgent_go_first(house: House) -> None:
    slow = house.consume(CLIENT_INDIVIDUAL, 1, of=house.topic(), pending=3)
    publish(house, "in flight")
    for number, priority in enumerate((9, 4, 0, 9, 9)):
        publish(house, f"{number}", priority=priority)
    slow.ack_all()
    slow.ack_all()
    slow.ack_all()
    assert slow.bodies() == ["in flight", "0", "3", "4"]


def test_a_large_message_pushes_out_as_many_as_it_takes(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(topic_module, "PENDING_BYTES", 100)
    slow = house.consume(CLIENT_INDIVIDUAL, 1, of=house.topic())
    publish(house, "in flight", *["x" * 10] * 10, "y" * 95)
    assert house.in_memory() == 95
    assert dropped(slow) == 10


def test_the_newest_stays_however_large(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topic_module, "PENDING_BYTES", 100)
    slow = house.consume(CLIENT_INDIVIDUAL, 1, of=house.topic())
    publish(house, "in flight", "small", "y" * 200)
    slow.ack_all()
    assert slow.bodies() == ["in flight", "y" * 200]
    assert house.in_memory() == 0


def test_a_copy_is_like_the_original() -> None:
    message = Message(7, b"tail", False, False, 9, 1234)
    message.mark_redelivered()
    message.returns = 3
    copy = message.copy()
    assert copy is not message
    for name in Message.__slots__:
        assert getattr(copy, name) == getattr(message, name)
