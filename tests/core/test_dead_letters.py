"""What fails: how often it is tried, when it comes again, and what is left of it in the end."""

from __future__ import annotations

from typing import Any

import pytest

from broker.core.composite import CompositeRule
from broker.core.event import Event
from broker.core.policy import DEAD_LETTERS, Policies
from broker.core.queue import Queue
from broker.core.subscription import CLIENT, CLIENT_INDIVIDUAL
from broker.core.topic import TopicQueue
from broker.core.transaction import Transaction
from tests.core.house import Consumer, House, key

SECOND = 1000  # milliseconds


def house_with(*sections: tuple[str, dict[str, Any]], **settings: Any) -> House:
    return House(policies=Policies(sections), **settings)


def letters(house: House, name: str = DEAD_LETTERS) -> list[str]:
    """Return the dead letters, by consuming them."""
    consumer = house.consume(of=house.queue(name))
    house.settle()
    consumer.close()
    return consumer.bodies()


def pass_time(house: House, milliseconds: int) -> None:
    """Let it be later, and what is due then happen."""
    house.broker.now += milliseconds
    house.broker.schedule.tick(house.broker.now)
    house.settle()


# A consumer that goes.


def test_who_dies_has_failed_on_the_oldest_and_only_on_that() -> None:
    house = House()
    consumer = house.consume(CLIENT)
    house.put(*"123")
    consumer.close(died=True)
    heir = house.consume(CLIENT)
    house.settle()
    assert heir.bodies() == ["1", "2", "3"]
    assert [message.returns for message in heir.in_flight.values()] == [1, 0, 0]
    assert all(message.redelivered for message in heir.in_flight.values())


@pytest.mark.parametrize("died", [False, True])
def test_who_goes_with_empty_hands_has_not_failed(died: bool) -> None:
    house = House()
    consumer = house.consume(CLIENT_INDIVIDUAL)
    house.put("1")
    consumer.ack(key(1))
    consumer.close(died)
    consumer.close(died)
    assert house.queue().waiting == 0


def test_what_a_transaction_holds_was_acknowledged() -> None:
    """The one after it is to blame."""
    house = House(max_redeliveries=0)
    transaction = Transaction(house.broker.memory)
    consumer = house.consume(CLIENT_INDIVIDUAL)
    house.put(*"123")
    transaction.ack(consumer, key(1))
    consumer.stop()
    transaction.abort()
    consumer.close(died=True)
    house.settle()
    assert house.consume().bodies() == ["1", "3"]
    assert letters(house)[0].endswith("2")


def test_a_message_that_kills_everybody_is_given_up_and_the_rest_goes_on() -> None:
    house = House(max_redeliveries=2)
    house.put("poison", "1", "2")
    for _ in range(3):
        consumer = house.consume(CLIENT)
        house.settle()
        assert consumer.bodies() == ["poison", "1", "2"]
        consumer.close(died=True)
    house.settle()
    assert house.consume().bodies() == ["1", "2"]
    [letter] = letters(house)
    assert "delivered 3 times" in letter


# How often.


def test_without_a_limit_nothing_is_given_up() -> None:
    house = House(max_redeliveries=-1)
    consumer = house.consume(CLIENT)
    house.put("1")
    for _ in range(1000):
        consumer.nack(key(1), requeue=True)
        house.go_on()
    assert consumer.in_flight[key(1)].returns == 1000


def test_a_policy_limits_what_the_broker_does_not() -> None:
    house = house_with(("a", {"max_redeliveries": 1}), max_redeliveries=-1)
    consumer = house.consume(CLIENT)
    house.put("1")
    for _ in range(2):
        consumer.nack(key(1), requeue=True)
        house.go_on()
    assert len(letters(house)) == 1


# When.


@pytest.mark.parametrize("durable", [True, False])
def test_what_is_put_off_comes_then_as_it_was(durable: bool) -> None:
    house = House()
    consumer = house.consume(CLIENT)
    house.put("1", durable=durable, priority=7, expires=90 * SECOND)
    consumer.nack(key(1), requeue=True, delay=2 * SECOND)
    house.settle()
    assert house.queue().waiting == 0
    pass_time(house, 2 * SECOND - 1)
    assert consumer.bodies() == ["1"]
    pass_time(house, 1)
    assert consumer.bodies() == ["1"]
    [message] = consumer.in_flight.values()
    assert (message.priority, message.expires, message.returns) == (7, 90 * SECOND, 1)
    assert (message.redelivered, message.durable) == (True, durable)
    consumer.ack_all()
    house.settle()
    assert house.on_disk(house.queue()) == []
    assert house.in_memory() == 0


def test_what_is_put_off_returns_to_its_own_queue() -> None:
    """Not to all those that get what is sent there: they had it."""
    house = House()
    rule = CompositeRule("/queue/a", ("/queue/b",), forward_only=False)
    house.broker.routes.compose([rule])
    house.broker.routes.find("/queue/a").put(house.message("1"))
    consumer = house.consume(CLIENT)
    assert consumer.bodies() == ["1"]
    [each] = consumer.in_flight
    consumer.nack(each, requeue=True, delay=SECOND)
    pass_time(house, SECOND)
    assert consumer.bodies() == ["1"]
    assert house.queue("b").waiting == 1


def test_each_delay_follows_from_the_policy() -> None:
    house = house_with(
        ("a", {"redelivery_delay": 1.0, "redelivery_backoff": 2.0, "redelivery_delay_max": 3.0})
    )
    consumer = house.consume(CLIENT)
    house.put("1")
    for delay in (1, 2, 3, 3):
        [each] = consumer.in_flight
        consumer.nack(each, requeue=True)
        pass_time(house, delay * SECOND - 1)
        assert not consumer.in_flight
        pass_time(house, 1)
        assert len(consumer.in_flight) == 1


def test_the_subscriber_of_a_topic_gets_again_what_it_put_off() -> None:
    """It counts as memory meanwhile."""
    house = House()
    one, other = (house.consume(CLIENT, of=house.topic()) for _ in range(2))
    house.put("1", to=house.topic())
    one.nack(key(1), requeue=True, delay=SECOND)
    assert house.in_memory() == 1
    pass_time(house, SECOND)
    assert house.in_memory() == 0
    assert one.bodies() == ["1", "1"]
    assert other.bodies() == ["1"]
    assert one.in_flight[key(1)].returns == 1
    assert other.in_flight[key(1)].returns == 0


def test_a_subscriber_that_has_gone_leaves_nothing_that_was_put_off() -> None:
    house = House()
    consumer = house.consume(CLIENT, of=house.topic())
    house.put("1", "2", to=house.topic())
    consumer.nack(key(1), requeue=True, delay=SECOND)
    consumer.close()
    assert house.in_memory() == 0
    consumer = house.consume(CLIENT, of=house.topic())
    pass_time(house, SECOND)
    assert consumer.bodies() == []
    assert house.in_memory() == 0


def test_a_subscriber_cannot_put_off_more_than_may_wait_for_it() -> None:
    """The oldest comes at once then."""
    house = House()
    consumer = house.consume(CLIENT, 10, of=house.topic(), pending=2)
    house.put(*"123", to=house.topic())
    assert consumer.bodies() == ["1", "2", "3"]
    for seq in (1, 2, 3):
        consumer.nack(key(seq), requeue=True, delay=SECOND)
    house.settle()
    assert consumer.bodies() == ["1"]
    pass_time(house, SECOND)
    assert consumer.bodies() == ["2", "3"]


# What is left.


@pytest.mark.parametrize(
    ("name", "template"), [("a", "DLQ.{name}"), ("a", "a"), ("a", "{name}"), ("a", "")]
)
def test_where_it_goes(name: str, template: str) -> None:
    """Never to the queue in which it failed."""
    house = house_with((">", {"dead_letter_queue": template}))
    told: list[Event] = []
    house.broker.tell = told.append
    consumer = house.consume(CLIENT)
    house.put("1")
    consumer.nack(key(1), requeue=False)
    house.settle()
    assert house.queue().waiting == 0
    assert house.on_disk(house.queue()) == []
    buried = template == "DLQ.{name}"
    assert house.queue("DLQ.a").waiting == buried
    assert [event.kind for event in told].count("MessageDLQd") == buried


def test_a_letter_has_a_priority_if_its_queue_has_any() -> None:
    house = house_with((DEAD_LETTERS, {"priorities": False}))
    consumer = house.consume(CLIENT)
    house.put("1", priority=9)
    consumer.nack(key(1), requeue=False)
    assert taken(house, house.queue(DEAD_LETTERS)).priority == 4


@pytest.mark.parametrize("lifetime", [0, 5 * SECOND])
def test_a_letter_lives_for_ever_unless_the_policy_of_its_origin_says_otherwise(
    lifetime: int,
) -> None:
    """A lifetime that an operator gives to everything is not meant to lose what failed."""
    house = house_with(
        (">", {"ttl_default": SECOND, "ttl_max": SECOND}), ("a", {"dead_letter_ttl": lifetime})
    )
    house.broker.now = SECOND
    consumer = house.consume(CLIENT)
    house.put("1", expires=3 * SECOND)
    consumer.nack(key(1), requeue=False)
    letter = taken(house, house.queue(DEAD_LETTERS))
    assert letter.expires == (lifetime and SECOND + lifetime)
    assert (f"'expires': '{letter.expires}'" if lifetime else "'expires': None") in str(letter.tail)


def taken(house: House, queue: Queue) -> Any:
    """Return the one message of a queue."""
    consumer = house.consume(CLIENT, of=queue)
    house.settle()
    [message] = consumer.in_flight.values()
    return message


def test_a_letter_says_the_topic_it_was_sent_to() -> None:
    """Though its subscriber named a pattern."""
    house = house_with((">", {"dead_letter_non_persistent": True}))
    topic = house.topic("a.b")
    own = TopicQueue(house.broker, "a.*", topic.policy, 100, tells=True)
    own.bind(topic)
    consumer = Consumer(own, CLIENT)
    own.join(consumer)
    own.feed(consumer)
    house.put("1", to=topic)
    consumer.nack(key(1), requeue=False)
    letter = taken(house, house.queue(DEAD_LETTERS))
    assert b"'original-destination': '/topic/a.b'" in letter.tail
    assert letter.extra.destination == ""
    assert letter.durable


def test_a_letter_begins_anew_to_count() -> None:
    house = House(max_redeliveries=1)
    consumer = house.consume(CLIENT)
    house.put("1")
    for _ in range(2):
        consumer.nack(key(1), requeue=True)
        house.go_on()
    letter = taken(house, house.queue(DEAD_LETTERS))
    assert (letter.returns, letter.redelivered) == (0, False)
