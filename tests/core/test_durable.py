"""Durable topic subscriptions: nothing is missed, however long a subscriber stays away."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import count
from typing import Protocol, TypeVar

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from broker.core.durable import NAME_BYTES, Durables, log
from broker.core.durable import queue as durable_queue
from broker.core.durable.log import Inlet, Log
from broker.core.durable.progress import Progress, What
from broker.core.durable.queue import DurableQueue
from broker.core.message import Message, UnknownFormat
from broker.core.policy import Policies
from broker.core.subscription import AUTO, CLIENT, CLIENT_INDIVIDUAL, Subscription
from broker.core.transaction import Transaction
from broker.errors import Refusal
from tests.core.house import Consumer, House, key


class DurableHouse(House):
    """A core with durable subscriptions."""

    @property
    def durables(self) -> Durables:
        """All of them."""
        return self.broker.durables

    def crash(self) -> DurableHouse:
        """Return the house that is built on what is on disk."""
        return DurableHouse(self.store)

    def restart(self) -> DurableHouse:
        """Return the house after an orderly stop."""
        self.settle()
        self.store.close()
        return DurableHouse(self.store)

    def subscription(
        self,
        name: str = "s",
        topic: str = "a",
        selector: str = "",
        client_id: str = "c",
        no_local: bool = False,
        shared: bool = False,
    ) -> DurableQueue:
        """Make or find a subscription."""
        return self.durables.subscribe(client_id, name, topic, selector, no_local, shared)

    def come(self, name: str = "s", mode: str = CLIENT_INDIVIDUAL, prefetch: int = 100) -> Consumer:
        """Let the consumer of a subscription come."""
        return self.attend(self.subscription(name), mode, prefetch)

    def attend(
        self, queue: DurableQueue, mode: str = CLIENT_INDIVIDUAL, prefetch: int = 100
    ) -> Consumer:
        """Let a consumer join."""
        consumer = Consumer(queue, mode, prefetch)
        queue.join(consumer)
        queue.feed(consumer)
        return consumer

    def publish(self, *bodies: str, durable: bool = True, expires: int = 0) -> None:
        """Send to topic a."""
        self.put(*bodies, to=self.topic(), durable=durable, expires=expires)

    def records(self, topic: str = "a") -> int:
        """Return how many records of a topic's log are in the store."""
        number = self.broker.routes.hidden(f"\0log/{topic}")
        return len(self.store.read(number, 4, -1, 1 << 30, 1 << 30))


@pytest.fixture
def house() -> DurableHouse:
    return DurableHouse()


# What it is for.


def test_what_comes_while_nobody_is_there_waits(house: DurableHouse) -> None:
    consumer = house.come()
    house.publish("1")
    assert consumer.bodies() == ["1"]
    consumer.ack_all()
    consumer.close()
    house.publish("2", "3")
    assert house.subscription().waiting == 2
    again = house.come()
    house.settle()
    assert again.bodies() == ["2", "3"]


def test_what_was_sent_before_it_was_made_is_not_for_it(house: DurableHouse) -> None:
    house.come("early")
    house.publish("1")
    late = house.come("late")
    house.publish("2")
    house.settle()
    assert late.bodies() == ["2"]


def test_a_message_is_stored_once_for_all(house: DurableHouse) -> None:
    for name in "xyz":
        house.subscription(name)
    house.publish("1", "2")
    house.settle()
    assert house.records() == 2
    for name in "xyz":
        consumer = house.come(name)
        house.settle()
        assert consumer.bodies() == ["1", "2"]
        assert house.records() == 2
        consumer.ack_all()
        house.settle()
    assert house.records() == 0


def test_what_is_acknowledged_before_it_was_written_is_never_written(house: DurableHouse) -> None:
    consumers = [house.come(name) for name in "xyz"]
    house.settle()
    house.publish("1", "2")
    for consumer in consumers:
        consumer.ack_all()
    batch = house.write()
    assert (batch.puts, batch.deletes) == ([], [])
    assert house.journal.waiting == 0


def test_state_is_written_once_a_batch(house: DurableHouse) -> None:
    consumer = house.come()
    house.settle()
    for body in range(50):
        house.publish(str(body))
        consumer.ack_all()
    assert [key for key, _ in house.write().marks] == [b"durable/1/progress", b"durable-log/1"]


def test_a_live_subscriber_that_is_not_durable_is_not_stored_for(house: DurableHouse) -> None:
    live, durable = house.consume(of=house.topic()), house.come()
    house.publish("1")
    assert (live.bodies(), durable.bodies()) == (["1"], ["1"])
    house.settle()
    assert house.records() == 1


def test_what_is_not_persistent_is_stored_too(house: DurableHouse) -> None:
    house.subscription()
    house.publish("1", durable=False)
    house = house.restart()
    consumer = house.come()
    house.settle()
    [message] = consumer.in_flight.values()
    assert (message.tail, message.durable) == (b"1", False)


def test_without_room_what_is_not_persistent_is_dropped(house: DurableHouse) -> None:
    queue = house.subscription()
    house.journal.set_room(3)
    house.publish("1234", "567", durable=False)
    assert (queue.log.dropped, queue.waiting) == (1, 1)


def test_the_order_of_arrival_goes_before_priority(house: DurableHouse) -> None:
    house.subscription()
    house.put("1", to=house.topic(), priority=1)
    house.put("9", to=house.topic(), priority=9)
    house = house.restart()
    consumer = house.come()
    house.settle()
    assert [(each.body, each.priority) for each in consumer.got] == [("1", 1), ("9", 9)]


# Across a restart.


def test_after_a_restart_it_goes_on(house: DurableHouse) -> None:
    consumer = house.come()
    house.publish("1", "2", "3", "4")
    consumer.ack(next(iter(consumer.in_flight)))
    consumer.nack([*consumer.in_flight][1], True)
    house.go_on()
    consumer.close()
    house.publish("5")
    house = house.restart()
    queue = house.subscription()
    assert queue.waiting == 4
    consumer = house.attend(queue)
    house.settle()
    assert [(each.body, each.redelivered) for each in consumer.got] == [
        *[("2", True), ("3", True), ("4", True), ("5", False)]
    ]
    assert [message.returns for message in consumer.in_flight.values()] == [0, 1, 0, 0]


def test_after_a_crash_whatever_was_not_acknowledged_comes_again(house: DurableHouse) -> None:
    consumer = house.come()
    house.publish("1", "2", "3")
    house.write()
    consumer.ack([*consumer.in_flight][1])
    house.write()
    consumer.ack(next(iter(consumer.in_flight)))
    house = house.crash()
    consumer = house.come()
    house.settle()
    assert [(each.body, each.redelivered) for each in consumer.got] == [("1", True), ("3", True)]


def test_what_somebody_had_comes_before_what_is_new(house: DurableHouse) -> None:
    consumer = house.come()
    house.publish("1")
    house.write()
    consumer.close()
    consumer = house.come()
    house.publish("2")
    house.settle()
    assert consumer.bodies() == ["1", "2"]
    consumer.nack([*consumer.in_flight][1], True, 500)
    house.broker.now = 500
    house.broker.schedule.tick(500)
    house.publish("3")
    house.settle()
    assert consumer.bodies() == ["2", "3"]


def test_a_topic_with_a_subscription_is_there_after_a_restart(house: DurableHouse) -> None:
    house.subscription()
    house = house.restart()
    assert house.broker.routes.topics.keys() == {"a"}
    for _ in range(3):
        house.broker.sweep()
    assert house.topic().durable
    house.publish("1")
    assert house.subscription().waiting == 1


def test_a_subscription_that_was_never_used_is_there_after_a_restart(house: DurableHouse) -> None:
    house.subscription(selector="x", no_local=True)
    created = house.subscription(selector="x", no_local=True).what
    house = house.restart()
    assert [queue.what for queue in house.durables.list()] == [created]


def test_what_nobody_needs_is_deleted_after_a_restart_too(
    house: DurableHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "ONE_GO", 3)
    house.subscription()
    house.publish(*map(str, range(10)))
    house.settle()
    house.durables.unsubscribe("c", "s")
    house.go_on()
    house.write()  # killed in the midst of it
    house = house.crash()
    house.settle()
    assert [queue.name for queue in house.store.load().queues] == []
    assert not [key for key in house.store.load().marks if key.startswith(b"durable")]


def test_subscriptions_are_counted_right_after_a_restart(house: DurableHouse) -> None:
    slow, fast = house.subscription("slow"), house.come("fast", AUTO)
    house.publish(*map(str, range(7)))
    consumer = house.attend(slow, CLIENT_INDIVIDUAL, 2)
    house.settle()
    consumer.ack_all()
    house = house.restart()
    waiting = {queue.what.name: queue.waiting for queue in house.durables.list()}
    assert waiting == {"slow": 5, "fast": 0}
    assert (fast.bodies(), house.records()) == ([*"0123456"], 5)


def test_what_came_is_counted(house: DurableHouse) -> None:
    house.subscription()
    house.publish("1", "2")
    house = house.restart()
    queue = house.subscription()
    house.publish("3")
    assert (queue.before, queue.enqueued, queue.waiting) == (2, 1, 3)
    queue.enqueued = 0
    house.publish("4")
    assert (queue.enqueued, queue.waiting) == (1, 4)


# Whose it is.


def test_one_consumer_at_a_time(house: DurableHouse) -> None:
    consumer = house.come()
    with pytest.raises(Refusal) as caught:
        house.subscription()
    text = "Durable consumer is in use for client: c and subscriptionName: s"
    assert caught.value.text == text
    with pytest.raises(Refusal) as caught:
        house.subscription(selector="other")
    assert caught.value.text == text
    house.subscription(client_id="d")
    consumer.close()
    house.come()


def test_a_shared_one_is_served_in_turns(house: DurableHouse) -> None:
    one = house.attend(house.subscription(shared=True))
    other = house.attend(house.subscription(shared=True))
    house.publish("1", "2", "3", "4")
    assert (one.bodies(), other.bodies()) == (["1", "3"], ["2", "4"])
    with pytest.raises(Refusal):
        house.subscription()
    one.close()
    house.settle()
    assert other.bodies() == ["1", "3"]
    other.close()
    assert not house.subscription().what.shared
    assert not house.restart().subscription().what.shared


@pytest.mark.parametrize("change", [{"topic": "b"}, {"selector": "2"}, {"no_local": True}])
def test_with_another_topic_or_selector_it_is_another_one(
    house: DurableHouse, change: dict[str, str]
) -> None:
    house.subscription()
    house.publish("1")
    house.settle()
    queue = house.subscription(**change)  # type: ignore[arg-type]
    assert queue.waiting == 0
    consumer = house.attend(queue)
    house.put("2", to=house.topic(change.get("topic", "a")))
    assert consumer.bodies() == ["2"]
    consumer.ack_all()
    house.settle()
    house = house.restart()
    assert [each.what for each in house.durables.list()] == [queue.what]
    assert house.records() == 0


def test_ended_is_ended(house: DurableHouse) -> None:
    consumer = house.come()
    house.publish("1", "2")
    with pytest.raises(Refusal) as caught:
        house.durables.unsubscribe("c", "s")
    assert caught.value.text == "Durable consumer is in use"
    consumer.close()
    house.durables.unsubscribe("c", "s")
    house.settle()
    with pytest.raises(Refusal) as caught:
        house.durables.unsubscribe("c", "s")
    assert caught.value.text == (
        "No durable subscription exists for clientID: c and subscriptionName: s"
    )
    assert not house.topic().durable
    stored = house.store.load()
    assert (stored.queues, stored.marks) == ([], {})
    house = house.restart()
    assert house.durables.list() == []
    assert house.come().bodies() == []


def test_what_a_transaction_still_held_when_it_ended_is_no_matter(house: DurableHouse) -> None:
    consumer = house.come()
    house.publish("1", "2", "3")
    committed, aborted = Transaction(house.broker.memory), Transaction(house.broker.memory)
    first, second, third = consumer.in_flight
    committed.ack(consumer, first)
    committed.nack(consumer, second, True)
    aborted.ack(consumer, third)
    consumer.close()
    queue = house.subscription()
    house.durables.unsubscribe("c", "s")
    committed.commit()
    aborted.abort()
    house.settle()
    assert (queue.waiting, house.store.load().marks) == (0, {})


def test_what_a_transaction_holds_is_not_delivered_meanwhile(house: DurableHouse) -> None:
    consumer = house.come()
    house.publish("1", "2")
    transaction = Transaction(house.broker.memory)
    transaction.ack(consumer, next(iter(consumer.in_flight)))
    consumer.close()
    again = house.come()
    house.settle()
    assert again.bodies() == ["2"]
    transaction.abort()
    house.settle()
    assert again.bodies() == ["1"]


def test_names_that_are_too_long_are_refused(house: DurableHouse) -> None:
    with pytest.raises(Refusal):
        house.subscription("n" * (NAME_BYTES + 1))
    with pytest.raises(Refusal):
        house.subscription(topic="")
    assert house.durables.list() == []


def test_after_a_while_it_is_forgotten() -> None:
    policies = Policies([("a", {"offline_timeout": 10.0})])
    house = DurableHouse(policies=policies)
    consumer = house.come()
    house.subscription("other", topic="b")
    house.publish("1")
    house.broker.now += 20_000
    house.durables.sweep(house.broker.now)
    consumer.close()
    house.broker.now += 9_999
    house.durables.sweep(house.broker.now)
    house.settle()
    assert len(house.durables.list()) == 2
    house.broker.now += 1
    house.durables.sweep(house.broker.now)
    assert [queue.what.name for queue in house.durables.list()] == ["other"]
    house.settle()
    assert house.records() == 0


def test_who_was_there_when_the_broker_was_killed_is_not_forgotten_at_once() -> None:
    policies = Policies([("a", {"offline_timeout": 10.0})])
    house = DurableHouse(policies=policies)
    house.broker.now = 1
    house.subscription()
    house.broker.now = 50_000
    house.come()
    house.write()
    house = DurableHouse(house.store, policies=policies)
    for now, there in ((100_000, True), (109_999, True), (110_000, False)):
        house.durables.sweep(now)
        assert bool(house.durables.list()) == there


# What it wants.


def test_a_selector_passes_over_the_rest(house: DurableHouse) -> None:
    queue = house.subscription(selector="x")
    consumer = house.attend(queue)
    house.publish("1", "x2", "3", "x4", "5")
    assert consumer.bodies() == ["x2", "x4"]
    consumer.ack_all()
    house.settle()
    assert house.records() == 0
    consumer.close()
    house.publish("6", "x7", "8")
    house = house.restart()
    consumer = house.attend(house.subscription(selector="x"))
    house.settle()
    assert consumer.bodies() == ["x7"]
    consumer.ack_all()
    house.settle()
    assert house.records() == 0


def test_what_nobody_wants_is_never_written(house: DurableHouse) -> None:
    house.attend(house.subscription(selector="x"))
    house.settle()
    house.publish("1", "2")
    assert house.write().puts == []


def test_a_slow_selector_does_not_keep_others_waiting(house: DurableHouse) -> None:
    looked: list[int] = []

    def looks(message: Message) -> bool:
        looked.append(message.seq)
        return False

    clock = (len(looked) / 10_000 for _ in count())  # each look takes a tenth of a millisecond
    outside = replace(
        house.broker.outside,
        make_filter=lambda text, destination: looks,
        elapsed=lambda: next(clock),
    )
    house.broker.outside = outside
    queue = house.subscription(selector="any")
    house.publish(*map(str, range(200)))
    house.write()
    house.attend(queue)
    rounds = []
    while house.broker.again:
        before = len(looked)
        house.broker.go_on(house.store.read)
        rounds.append(len(looked) - before)
    assert sum(rounds) == 200
    assert max(rounds) <= 64


def test_a_selector_sees_what_the_sender_said(house: DurableHouse) -> None:
    seen: list[tuple[int, bool]] = []

    def note(message: Message) -> bool:
        seen.append((message.priority, message.durable))
        return True

    house.broker.outside = replace(house.broker.outside, make_filter=lambda text, destination: note)
    house.subscription(selector="any")
    house.put("1", to=house.topic(), priority=7, durable=False)
    house.settle()
    house.attend(house.subscription(selector="any"))
    house.settle()
    assert seen == [(7, False)]


def send(house: DurableHouse, log_: Log, sender: object, *bodies: str) -> None:
    """Send to the topic of a log as somebody."""
    for body in bodies:
        log_.put_from(sender)(house.message(body))


def test_it_need_not_get_what_its_own_client_sends(house: DurableHouse) -> None:
    me, somebody = object(), object()
    queue = house.subscription(no_local=True)
    consumer, other = house.attend(queue, prefetch=1), house.come("other")
    queue.spare(me)
    send(house, queue.log, me, "1")
    send(house, queue.log, somebody, "2", "3")
    send(house, queue.log, me, "4")
    send(house, queue.log, somebody, "5")
    for _ in range(3):
        consumer.ack_all()
    assert consumer.bodies() == ["2", "3", "5"]
    assert other.bodies() == ["1", "2", "3", "4", "5"]
    consumer.close()
    send(house, queue.log, me, "6")
    assert queue.waiting == 1


def test_what_its_own_client_sent_is_passed_over_after_a_restart_too(
    house: DurableHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(durable_queue, "WINDOW", 2)
    me = object()
    queue = house.subscription(no_local=True)
    house.attend(queue, prefetch=1)
    queue.spare(me)
    house.publish("1", "2")
    send(house, queue.log, me, "3")
    house.publish("4")
    send(house, queue.log, me, "5")
    house = house.restart()
    consumer = house.attend(house.subscription(no_local=True))
    house.settle()
    assert consumer.bodies() == ["1", "2", "4"]
    consumer.ack_all()
    house.settle()
    assert house.records() == 0


def test_who_has_no_client_id_gets_everything(house: DurableHouse) -> None:
    queue = house.subscription(client_id="", no_local=True, shared=True)
    me = object()
    consumer = house.attend(queue, prefetch=1)
    queue.spare(me)
    send(house, queue.log, me, "1", "2")
    house.publish("3")
    for _ in range(3):
        consumer.ack_all()
    assert consumer.bodies() == ["1", "2", "3"]
    assert not queue.spared  # else it would keep the connections of all who ever joined


# Patterns.


def destinations(consumer: Consumer) -> list[tuple[str, str]]:
    """Return the topic and the body of all in flight."""
    return [
        (message.extra.destination if message.extra else "", message.tail.decode())
        for message in consumer.in_flight.values()
    ]


def test_a_pattern_means_topics_that_are_there_and_that_are_not(house: DurableHouse) -> None:
    house.put("1", to=house.topic("a.x"))
    consumer = house.attend(house.subscription(topic="a.>"))
    exact = house.attend(house.subscription("exact", topic="a.x"))
    for topic, body in (("a.x", "2"), ("a.y.z", "3"), ("b", "4"), ("a", "5")):
        house.put(body, to=house.topic(topic))
    got = [("/topic/a.x", "2"), ("/topic/a.y.z", "3"), ("/topic/a", "5")]
    assert destinations(consumer) == got
    assert destinations(exact) == [("", "2")]
    house = house.restart()
    house.put("6", to=house.topic("a.y.z"))
    consumer = house.attend(house.subscription(topic="a.>"))
    house.settle()
    assert destinations(consumer) == [*got, ("/topic/a.y.z", "6")]
    consumer.ack_all()
    house.settle()
    assert (house.records("a.>"), house.records("a.x")) == (0, 1)


def test_a_pattern_leaves_its_topics_when_it_ends(house: DurableHouse) -> None:
    house.subscription(topic="a.*")
    house.subscription("other", topic="a.x")
    for name in ("a.x", "a.y"):
        house.put("1", to=house.topic(name))
    house.durables.unsubscribe("c", "s")
    house.settle()
    assert [keeper.roams for keeper in house.topic("a.x").keepers] == [False]
    assert not house.topic("a.y").durable
    assert not house.topic("a.z").durable
    assert [queue.name for queue in house.store.load().queues] == ["\0log/a.x"]


def test_the_own_messages_of_a_client_are_known_in_every_topic_of_a_pattern(
    house: DurableHouse,
) -> None:
    me = object()
    queue = house.subscription(topic="a.>", no_local=True)
    consumer = house.attend(queue)
    queue.spare(me)
    [inlet] = house.topic("a.x").keepers
    assert isinstance(inlet, Inlet)
    for sender, body in ((me, "1"), (object(), "2")):
        inlet.put_from(sender)(house.message(body))
    assert destinations(consumer) == [("/topic/a.x", "2")]


# What fails, and what comes too late.


def test_failing_for_one_is_not_failing_for_another() -> None:
    house = DurableHouse(max_redeliveries=1)
    consumers = [house.come("one"), house.come("other")]
    house.publish("1")
    for consumer in consumers:
        for _ in range(2):
            [key_] = consumer.in_flight
            consumer.nack(key_, True)
            house.settle()
        assert [each.redelivered for each in consumer.got] == [False, True]
    letters = house.consume(of=house.queue("ActiveMQ.DLQ"))
    house.settle()
    assert [delivery.body for delivery in letters.got if delivery.body.endswith("1")] != []
    assert len(letters.got) == 2
    assert house.records() == 0


def test_what_was_not_persistent_makes_no_dead_letter(house: DurableHouse) -> None:
    consumer = house.come()
    house.publish("1", durable=False)
    consumer.nack(next(iter(consumer.in_flight)), False)
    assert house.queue("ActiveMQ.DLQ").waiting == 0


def test_a_message_that_failed_comes_again_later(house: DurableHouse) -> None:
    consumer = house.come()
    house.publish("1", "2")
    house.write()
    consumer.nack(next(iter(consumer.in_flight)), True, 500)
    house.publish("3")
    house.settle()
    assert consumer.bodies() == ["1", "2", "3"]
    house.broker.now = 500
    house.broker.schedule.tick(500)
    house.settle()
    assert [(each.body, each.redelivered) for each in consumer.got] == [("1", True)]
    assert next(reversed(consumer.in_flight.values())).returns == 1


@pytest.mark.parametrize("is_there", [True, False])
def test_it_comes_later_to_whoever_is_there_then(house: DurableHouse, is_there: bool) -> None:
    consumer = house.come()
    house.publish("1")
    house.write()
    consumer.nack(next(iter(consumer.in_flight)), True, 500)
    consumer.close()
    queue = house.subscription()
    again = house.attend(queue) if is_there else None
    house.settle()
    assert queue.waiting == 0
    house.broker.now = 500
    house.broker.schedule.tick(500)
    if again is None:
        assert queue.waiting == 1
        again = house.attend(queue)
    house.settle()
    assert again.bodies() == ["1"]


def test_what_was_to_come_later_is_nothing_to_a_subscription_that_ended(
    house: DurableHouse,
) -> None:
    consumer = house.come()
    house.publish("1")
    consumer.nack(next(iter(consumer.in_flight)), True, 500)
    consumer.close()
    house.durables.unsubscribe("c", "s")
    again = house.come()
    house.broker.now = 500
    house.broker.schedule.tick(500)
    house.settle()
    assert again.bodies() == []


def test_with_very_much_unfinished_nothing_new_comes(
    house: DurableHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(durable_queue, "MOST_OPEN", 2)
    consumer = house.come()
    house.publish("1", "2", "3", "4", "5")
    assert consumer.bodies() == ["1", "2"]
    consumer.ack([*consumer.in_flight][1])
    house.settle()
    assert consumer.bodies() == ["3"]
    consumer.ack_all()
    house.settle()
    assert consumer.bodies() == ["4", "5"]


def test_what_expired_while_nobody_was_there_is_given_up(house: DurableHouse) -> None:
    for name in ("one", "other"):
        consumer = house.come(name)
        house.publish("before", expires=100)
        consumer.close()
    house.publish("1", "2", expires=100)
    house.publish("3")
    house.publish("4", expires=100)
    house.settle()
    house.broker.now = 100
    house.broker.sweep()
    house.settle()
    waiting = {queue.what.name: queue.waiting for queue in house.durables.list()}
    assert waiting == {"one": 2, "other": 2}
    assert house.records() == 2
    letters = house.consume(of=house.queue("ActiveMQ.DLQ"))
    house.settle()
    assert len(letters.got) == 4, "one for each message, not for each subscription"
    again = house.come("one")
    house.settle()
    assert again.bodies() == ["3"]
    assert house.durables.list()[0].expired == 5


def test_what_expires_in_front_of_a_consumer_that_is_busy_is_given_up(house: DurableHouse) -> None:
    consumer = house.come(prefetch=1)
    house.publish("1")
    house.publish("2", "3", expires=100)
    house.publish("4")
    house.broker.now = 100
    house.broker.sweep()
    house.settle()
    queue = house.durables.list()[0]
    assert (queue.waiting, queue.expired) == (1, 2)
    consumer.ack_all()
    assert consumer.bodies() == ["1", "4"]


def test_what_is_not_wanted_is_no_reason_to_keep_it_when_the_rest_has_expired(
    house: DurableHouse,
) -> None:
    house.subscription(selector="x")
    house.publish("1", "2")
    house.publish("x3", expires=100)
    house.publish("4")
    house.settle()
    house.broker.now = 100
    for _ in range(2):
        house.broker.sweep()
        house.settle()
    assert house.records() == 0


@pytest.mark.parametrize("is_there", [True, False])
def test_beyond_the_limit_the_oldest_are_dropped(is_there: bool) -> None:
    policies = Policies([("a", {"max_messages": 2, "at_limit": "drop-oldest"})])
    house = DurableHouse(policies=policies)
    queue = house.subscription()
    if is_there:
        consumer = house.attend(queue, prefetch=1)
    house.publish("1", "2", "3", "4", "5")
    house.settle()
    house.broker.sweep()
    house.settle()
    assert (queue.waiting, queue.dropped) == (2, 2 if is_there else 3)
    if not is_there:
        consumer = house.attend(queue)
    for _ in range(3):
        house.settle()
        consumer.ack_all()
    assert consumer.bodies() == ([*"145"] if is_there else [*"45"])


def test_producers_respect_its_limit() -> None:
    house = DurableHouse(policies=Policies([("a", {"max_messages": 2})]))
    assert house.topic().limits() == []
    queue = house.subscription()
    house.subscription("b", topic="b")
    house.publish("1")
    assert [each.full for each in house.topic().limits()] == [False]
    house.publish("2")
    assert [each.full for each in house.topic().limits()] == [True]
    assert house.topic("b").limits() == []
    house.durables.unsubscribe("c", "s")
    assert not queue.full


# What it costs.


def test_who_is_not_there_costs_a_message_nothing(house: DurableHouse) -> None:
    def calls() -> int:
        """Return how many calls of Python a message takes."""
        count = 0

        def profile(frame: object, event: str, arg: object) -> None:
            nonlocal count
            count += event == "call"

        sys.setprofile(profile)
        try:
            house.publish("1")
        finally:
            sys.setprofile(None)
        house.settle()
        return count

    house.subscription("first")
    alone = calls()
    for number in range(100):
        house.subscription(f"s{number}")
    house.settle()
    assert calls() == alone


def test_what_nobody_reads_takes_no_memory(house: DurableHouse) -> None:
    for number in range(100):
        house.subscription(f"s{number}")

    def objects() -> int:
        gc.collect()
        return sum(isinstance(each, Message) for each in gc.get_objects())

    house.settle()
    before = objects()
    for _ in range(10):
        house.publish(*["x"] * 1000)
        house.settle()
    assert objects() == before
    assert {queue.waiting for queue in house.durables.list()} == {10_000}


def test_a_consumer_that_is_slow_takes_no_more_memory_than_one_of_a_queue(
    house: DurableHouse,
) -> None:
    consumer = house.come(prefetch=1)
    house.publish(*map(str, range(3000)))
    house.settle()
    queue = house.durables.list()[0]
    assert queue.waiting == 2999
    got = []
    while consumer.in_flight:
        held = {id(each) for each in gc.get_referents(*vars(queue).values())}
        held |= {id(each) for each in gc.get_referents(*vars(queue.log).values())}
        messages = [each for each in gc.get_objects() if isinstance(each, Message)]
        assert sum(id(each) in held for each in messages) <= 2 * 1000 + 1
        for _ in range(500):
            consumer.ack_all()
        house.settle()
        got += consumer.bodies()
    assert got == [*map(str, range(3000))]
    assert house.records() == 0


def test_a_fault_of_one_consumer_is_not_the_others(house: DurableHouse) -> None:
    before, faulty, after = house.come("x"), house.come("y"), house.come("z")

    def fail(message: Message) -> str:
        raise RuntimeError("a fault of ours")

    faulty.deliver = fail
    with pytest.raises(RuntimeError):
        house.publish("1")
    assert (before.bodies(), after.bodies()) == (["1"], ["1"])


# What is stored.


def test_a_record_keeps_what_the_sender_said(house: DurableHouse) -> None:
    house.subscription()
    message = house.message("1", priority=8, expires=1000)
    message.plain = False
    extra = message.mark()
    extra.group, extra.closes_group, extra.reply, extra.retained = "g", True, True, True
    house.topic().put(message)
    house = house.restart()
    consumer = house.come()
    house.settle()
    [found] = consumer.in_flight.values()
    assert (found.tail, found.priority, found.expires, found.plain) == (b"1", 8, 1000, False)
    assert found.extra is not None
    assert (found.extra.group, found.extra.closes_group, found.extra.reply) == ("g", True, True)
    assert not found.extra.retained


def test_progress_is_read_as_it_was_written() -> None:
    open_ = {seq: seq % 256 for seq in range(1, 1 << 40, 1 << 32)}
    for progress in (Progress(7, 5, 1 << 42, {}), Progress(1 << 40, 99, 0, open_)):
        assert Progress.decode(progress.encode()) == progress
    assert len(Progress(1, 1, 1, dict.fromkeys(range(durable_queue.MOST_OPEN), 0)).encode()) < 1e6


def test_marks_of_an_unknown_format_are_not_read(house: DurableHouse) -> None:
    what = house.subscription().what
    with pytest.raises(UnknownFormat):
        Progress.decode(b"\2" + Progress(1, 1, 1, {}).encode()[1:])
    with pytest.raises(UnknownFormat):
        What.decode(what.encode().replace(b": 1", b": 2", 1))


def test_names_may_be_anything(house: DurableHouse) -> None:
    what = house.subscription("/näme\0\n", client_id="ü").what
    house = house.restart()
    assert house.durables.list()[0].what == what


# Whatever happens.

CONNECTIONS = (1, 2)
MODES = (AUTO, CLIENT, CLIENT, CLIENT_INDIVIDUAL, CLIENT_INDIVIDUAL)
PREFETCHES = (1, 2, 5, 100)
SIZES = (1, 1, 1, 10, 70)
COUNTS = (1, 1, 3, 10)
LIFETIMES = (0, 0, 0, 0, 0, 2)
NAMES = ("plain", "other", "shared", "selective")
SELECTED = "x"

T = TypeVar("T")


class Choose(Protocol):
    """Chooses one of several, as the program says."""

    def __call__(self, pool: Sequence[T]) -> T:
        """Return one."""


@pytest.fixture
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """So small that everything spills."""
    for module in (durable_queue, log):
        monkeypatch.setattr(module, "WINDOW", 6)
        monkeypatch.setattr(module, "WINDOW_BYTES", 90)
        monkeypatch.setattr(module, "ONE_GO", 3)
    monkeypatch.setattr(durable_queue, "FEW", 2)
    monkeypatch.setattr(durable_queue, "ONE_LOOK", 2)
    monkeypatch.setattr(durable_queue, "MOST_OPEN", 12)


class Checked(Subscription):
    """A consumer whose every delivery is checked against the model."""

    __slots__ = ("connection", "machine", "model")

    def __init__(
        self, machine: Machine, model: Model, mode: str, prefetch: int, connection: int
    ) -> None:
        super().__init__(model.queue, mode, prefetch, self.take)
        self.machine = machine
        self.model = model
        self.connection = connection

    def take(self, message: Message) -> str:
        self.machine.delivered(message, self)
        return key(message.seq)


class Model:
    """What a subscription should be: every message that it is owed, and who has it."""

    def __init__(self, name: str, queue: DurableQueue) -> None:
        self.name = name
        self.queue = queue
        self.owed: dict[int, Message] = {}  # that nobody is done with, in order of arrival
        self.held: dict[int, Checked] = {}  # in flight, in the order of delivery
        self.later: set[int] = set()  # given back for a while
        self.seen: set[int] = set()  # that some consumer has had
        self.consumers: list[Checked] = []

    def free(self) -> list[int]:
        """Return what is in flight and not held by a transaction."""
        return [seq for seq, consumer in self.held.items() if key(seq) not in consumer.held]

    def forget(self, seqs: list[int]) -> None:
        for seq in seqs:
            del self.held[seq], self.owed[seq]

    def return_(self, seqs: list[int]) -> None:
        for seq in seqs:
            del self.held[seq]


#: Who is owed what, and what was sent.
Snapshot = tuple[dict[str, dict[int, Message]], list[int]]


class Machine:
    """A topic, four subscriptions that come and go, a disk that takes its time."""

    def __init__(self) -> None:
        self.house = DurableHouse()
        self.models: dict[str, Model] = {}
        self.transactions: list[tuple[int, Transaction]] = []
        self.ever: list[int] = []  # everything that was sent
        self.had: set[tuple[str, int]] = set()  # who was handed what
        self.before_a_crash: set[tuple[str, int]] = set()
        self.being_written: Snapshot = ({}, [])
        self.written: Snapshot = ({}, [])

    # What subscriptions do.

    def delivered(self, message: Message, consumer: Checked) -> None:
        model, seq = consumer.model, message.seq
        assert seq in model.owed, f"{seq} is not for {model.name}, or was acknowledged"
        assert seq not in model.held
        assert seq not in model.later, f"{seq} comes too early"
        assert not consumer.closed
        assert not consumer.paused
        if seq not in model.seen:
            fresh = [each for each in model.owed if each not in model.seen]
            first = next(each for each in fresh if self.alive(model.owed[each]) or each == seq)
            assert seq == first, f"{seq} comes before {first}"
        suspect = seq < self.house.broker.suspect_before
        if suspect or seq in model.seen:
            assert message.redelivered
        else:
            assert not message.redelivered or (model.name, seq) in self.before_a_crash
        if consumer.auto:
            del model.owed[seq]
        else:
            assert consumer.credit > 0
            model.held[seq] = consumer
        model.seen.add(seq)
        self.had.add((model.name, seq))

    def alive(self, message: Message) -> bool:
        return not message.expires or message.expires > self.house.broker.now

    # What clients do.

    def publish(self, choose: Choose) -> None:
        house = self.house
        durable = bool(choose((True, False)))
        text = choose(("x", "y"))
        size, lifetime = choose(SIZES), choose(LIFETIMES)
        for _ in range(choose(COUNTS)):
            expires = house.broker.now + lifetime if lifetime else 0
            message = house.message(text * size, durable, expires=expires)
            seq = house.broker.next_seq  # that the log will give
            twin = Message(seq, message.tail, durable, expires=expires)
            if self.models:
                self.ever.append(seq)
            for model in self.models.values():
                if model.name != "selective" or text == SELECTED:
                    model.owed[seq] = twin
            house.topic().put(message)

    def subscription(self, name: str) -> DurableQueue:
        selector = SELECTED if name == "selective" else ""
        return self.house.subscription(name, selector=selector, shared=name == "shared")

    def subscribe(self, choose: Choose) -> None:
        name = choose(NAMES)
        model = self.models.get(name)
        if model is not None and model.consumers and name != "shared":
            with pytest.raises(Refusal):
                self.subscription(name)
            return
        queue = self.subscription(name)
        if model is None:
            model = self.models[name] = Model(name, queue)
        assert model.queue is queue
        if len(model.consumers) < 3:
            consumer = Checked(self, model, choose(MODES), choose(PREFETCHES), choose(CONNECTIONS))
            model.consumers.append(consumer)
            queue.join(consumer)
            queue.feed(consumer)

    def model_with(self, choose: Choose, pool: Callable[[Model], object]) -> Model | None:
        models = [model for model in self.models.values() if pool(model)]
        return choose(models) if models else None

    def unsubscribe(self, choose: Choose) -> None:
        model = self.model_with(choose, lambda model: not model.consumers)
        if model is not None and choose((True, False, False)):
            self.house.durables.unsubscribe("c", model.name)
            del self.models[model.name]

    def ack(self, choose: Choose) -> None:
        model = self.model_with(choose, Model.free)
        if model is None:
            return
        seq = choose(model.free())
        consumer = model.held[seq]
        covered = [seq]
        if consumer.cumulative:
            mine = [each for each in model.free() if model.held[each] is consumer]
            covered = mine[: mine.index(seq) + 1]
        model.forget(covered)
        consumer.ack(key(seq))

    def nack(self, choose: Choose) -> None:
        model = self.model_with(choose, Model.free)
        if model is None:
            return
        seq, delay = choose(model.free()), choose((0, 0, 3))
        consumer = model.held[seq]
        if consumer.in_flight[key(seq)].returns < self.house.broker.max_redeliveries:
            model.return_([seq])
            if delay:
                model.later.add(seq)
                self.house.broker.schedule.call_at(
                    self.house.broker.now + delay, partial(model.later.discard, seq)
                )
        else:
            model.forget([seq])  # it lies with the dead letters
        consumer.nack(key(seq), True, delay)

    def leave(self, choose: Choose) -> None:
        model = self.model_with(choose, lambda model: model.consumers)
        if model is None:
            return
        consumer = pop(model.consumers, choose)
        model.return_([seq for seq in model.free() if model.held[seq] is consumer])
        consumer.close()

    def pause(self, choose: Choose) -> None:
        model = self.model_with(choose, lambda model: model.consumers)
        if model is not None:
            choose(model.consumers).pause()

    def resume(self, choose: Choose) -> None:
        model = self.model_with(choose, lambda model: model.consumers)
        if model is not None:
            choose(model.consumers).resume()

    def begin_transaction(self, choose: Choose) -> None:
        if len(self.transactions) < 3:
            self.transactions.append((choose(CONNECTIONS), Transaction(self.house.broker.memory)))

    def hold(self, choose: Choose) -> None:
        model = self.model_with(choose, Model.free)
        if model is None or not self.transactions:
            return
        connection, transaction = choose(self.transactions)
        mine = [seq for seq in model.free() if model.held[seq].connection == connection]
        if mine:
            seq = choose(mine)
            transaction.ack(model.held[seq], key(seq))

    def in_transaction(self, model: Model, transaction: Transaction) -> list[int]:
        return [seq for seq, who in model.held.items() if who.held.get(key(seq)) is transaction]

    def commit(self, choose: Choose) -> None:
        if self.transactions:
            _, transaction = pop(self.transactions, choose)
            for model in self.models.values():
                model.forget(self.in_transaction(model, transaction))
            transaction.commit()

    def abort(self, choose: Choose) -> None:
        if self.transactions:
            self.abort_(pop(self.transactions, choose)[1])

    def abort_(self, transaction: Transaction) -> None:
        for model in self.models.values():
            back = self.in_transaction(model, transaction)
            model.return_([seq for seq in back if model.held[seq].closed])
        transaction.abort()

    # What time and the disk do.

    def pass_time(self, choose: Choose) -> None:
        self.house.broker.now += 1
        self.house.broker.schedule.tick(self.house.broker.now)

    def sweep(self, choose: Choose) -> None:
        self.house.broker.sweep()

    def go_on(self, choose: Choose) -> None:
        self.house.broker.go_on(self.house.store.read)

    def snapshot(self) -> Snapshot:
        return {name: dict(model.owed) for name, model in self.models.items()}, list(self.ever)

    def begin_write(self, choose: Choose) -> None:
        if self.house.on_the_way is None:
            self.being_written = self.snapshot()
            self.house.begin_write()

    def end_write(self, choose: Choose) -> None:
        if self.house.on_the_way is not None:
            self.house.end_write()
            self.written = self.being_written
            self.check_disk()

    def on_disk(self) -> list[int]:
        number = self.house.broker.routes.hidden("\0log/a")
        return [seq for seq, _, _ in self.house.store.read(number, 4, -1, 1 << 30, 1 << 30)]

    def check_disk(self) -> None:
        """What somebody is owed is on disk."""
        on_disk = set(self.on_disk())
        for owed in self.written[0].values():
            for seq, message in owed.items():
                assert seq in on_disk or not self.alive(message)

    def check_nothing_unneeded(self) -> None:
        """Once everything has settled, the log begins with what somebody needs."""
        low = max(self.ever, default=0)
        for model in self.models.values():
            queue = model.queue
            if model.name != "selective":
                first = next(iter(model.owed), self.house.broker.next_seq)
                assert not [seq for seq in self.ever if queue.low < seq < first]
            low = min(low, queue.low)
        assert self.on_disk() == [seq for seq in self.ever if seq > low]

    def crash(self, choose: Choose) -> None:
        """The broker is killed and started again: whatever was not acknowledged may come again."""
        if choose((True, False)):
            self.before_a_crash |= self.had
            self.open(self.house.crash(), self.written)

    def restart(self, choose: Choose) -> None:
        """The broker stops in order: only what somebody has had is marked."""
        if choose((True, False)):
            return
        self.everybody_leaves()
        self.house.settle()
        before = self.models
        self.written = self.snapshot()
        self.open(self.house.restart(), self.written)
        for name, model in self.models.items():
            model.seen = before[name].seen

    def open(self, house: DurableHouse, snapshot: Snapshot) -> None:
        owed, ever = snapshot
        self.ever = list(ever)
        house.broker.now = self.house.broker.now
        self.house = house
        self.models = {}
        self.transactions = []
        queues = {queue.what.name: queue for queue in house.durables.list()}
        assert queues.keys() == owed.keys()
        for name, queue in queues.items():
            model = self.models[name] = Model(name, queue)
            model.owed = dict(owed[name])

    def everybody_leaves(self) -> None:
        for _, transaction in self.transactions:
            self.abort_(transaction)
        self.transactions = []
        for model in self.models.values():
            for consumer in model.consumers:
                model.return_([seq for seq in model.free() if model.held[seq] is consumer])
                consumer.close()
            model.consumers = []
            assert not model.held

    def check_count(self) -> None:
        for model in self.models.values():
            waiting = [
                seq for seq in model.owed if seq not in model.held | dict.fromkeys(model.later)
            ]
            alive = sum(self.alive(model.owed[seq]) for seq in waiting)
            assert alive <= model.queue.waiting
            if model.name != "selective":
                assert model.queue.waiting <= len(waiting)
            assert list(model.queue.open) == sorted(model.queue.open)

    def end(self) -> None:
        """Whatever happened before: who comes now gets all it is owed, and nothing remains."""
        self.everybody_leaves()
        self.house.broker.now += 10
        self.house.broker.schedule.tick(self.house.broker.now)
        self.house.settle()
        self.check_nothing_unneeded()
        for model in self.models.values():
            last = Checked(self, model, AUTO, 1, 0)
            model.queue.join(last)
            model.queue.feed(last)
        self.house.settle()
        for model in self.models.values():
            assert not [seq for seq in model.owed if self.alive(model.owed[seq])]
            assert model.queue.waiting == 0
            assert not model.queue.open
            assert not model.queue.owed
        if self.models:
            assert self.on_disk() == []
        assert self.house.in_memory() == 0
        assert self.house.journal.waiting == 0


def pop(pool: list[T], choose: Choose) -> T:
    """Choose one and take it out."""
    chosen = choose(pool)
    pool.remove(chosen)
    return chosen


#: What may happen next; what stands here often happens often.
STEPS = (
    *[Machine.publish] * 6,
    *[Machine.subscribe] * 4,
    *[Machine.ack] * 6,
    *[Machine.nack] * 2,
    *[Machine.leave] * 2,
    Machine.unsubscribe,
    Machine.pause,
    *[Machine.resume] * 2,
    Machine.begin_transaction,
    *[Machine.hold] * 3,
    Machine.commit,
    Machine.abort,
    *[Machine.begin_write, Machine.end_write, Machine.go_on] * 4,
    *[Machine.pass_time] * 2,
    Machine.sweep,
    Machine.crash,
    Machine.restart,
)


@settings(
    max_examples=200,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(program=st.binary(min_size=300, max_size=600))
def test_nothing_is_lost_and_nothing_confirmed_comes_twice(
    small_windows: None, program: bytes
) -> None:
    """Every byte of a program decides something; when it is read, everybody leaves and all is drained."""
    bytes_left = iter(program)
    machine = Machine()

    def choose(pool: Sequence[T]) -> T:
        return pool[next(bytes_left, 0) % len(pool)]

    for byte in bytes_left:
        step = STEPS[byte % len(STEPS)]
        note(step.__name__)
        step(machine, choose)
        machine.check_count()
    machine.end()
