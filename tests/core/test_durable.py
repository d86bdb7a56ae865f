"""Durable topic subscriptions: nothing is missed, however long a subscriber stays away."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Protocol, TypeVar

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from broker.core import durable_queue, log
from broker.core.durable import NAME_BYTES, Durables
from broker.core.durable_queue import DurableQueue
from broker.core.message import Message
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
    assert house.store.load().marks == {}


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


def test_a_selector_sees_what_the_sender_said(house: DurableHouse) -> None:
    seen: list[tuple[int, bool]] = []

    def note(message: Message) -> bool:
        seen.append((message.priority, message.durable))
        return True

    house.broker.outside = replace(house.broker.outside, make_filter=lambda text: note)
    house.subscription(selector="any")
    house.put("1", to=house.topic(), priority=7, durable=False)
    house.settle()
    house.attend(house.subscription(selector="any"))
    house.settle()
    assert seen == [(7, False)]


def test_it_need_not_get_what_it_sends_itself(house: DurableHouse) -> None:
    me, somebody = object(), object()
    queue = house.subscription(no_local=True)
    consumer = house.attend(queue, prefetch=1)
    queue.spare(me)
    other = house.come("other")
    log_ = queue.log

    def send(sender: object, *bodies: str) -> None:
        for body in bodies:
            log_.put_from(sender)(house.message(body))

    send(me, "1")
    send(somebody, "2", "3")
    send(me, "4")
    send(somebody, "5")
    assert consumer.bodies() == ["2"]
    consumer.ack_all()
    consumer.ack_all()
    consumer.ack_all()
    assert consumer.bodies() == ["3", "5"]
    assert other.bodies() == ["1", "2", "3", "4", "5"]
    consumer.close()
    send(me, "6")
    assert queue.waiting == 1


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
