"""A core with a store in memory and no clock: verbs are called, journal and receivers are read.

Nothing here is a mock: the journal's batches go to the real memory store, which answers `read` with what
was committed and nothing else. `begin_write` and `end_write` are apart, as they are in the house.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count

import pytest

from broker.core.broker import Broker, Outside
from broker.core.journal import Batch
from broker.core.message import DEFAULT_PRIORITY, Message
from broker.core.policy import Policies
from broker.core.queue import Queue
from broker.core.subscription import AUTO, Subscription, Wants
from broker.core.topic import Topic, TopicQueue
from broker.store import StoreSettings
from broker.store.memory import MemoryStore

NODE = b"message-id:test-"


def annotate(tail: bytes, headers: Mapping[str, str | None]) -> bytes:
    """Write headers before a tail, in a way that tests can read."""
    return repr(dict(headers)).encode() + tail


def rename(tail: bytes, seq: int) -> bytes:
    """Leave it as it is: these tails have no ids."""
    return tail


def make_filter(text: str, destination: str) -> Wants:
    """Make a filter for messages whose body contains a text."""
    return lambda message: text.encode() in message.tail


def next_minute(text: str, after: int) -> int:
    """Take every cron text for "every minute"."""
    return after - after % 60_000 + 60_000


@dataclass
class Delivery:
    """What a consumer was handed."""

    seq: int
    body: str
    redelivered: bool
    priority: int


class Consumer(Subscription):
    """A consumer that notes what it gets; the key of a message is `KEY-seq`."""

    __slots__ = ("got",)

    def __init__(
        self,
        queue: Queue,
        mode: str = AUTO,
        prefetch: int = 1000,
        wants: Wants | None = None,
        rank: int = 0,
        exclusive: bool = False,
    ) -> None:
        super().__init__(queue, mode, prefetch, self.take, wants, rank, exclusive)
        self.got: list[Delivery] = []

    def take(self, message: Message) -> str:
        """Note a message; return its key."""
        self.got.append(
            Delivery(message.seq, message.tail.decode(), message.redelivered, message.priority)
        )
        return key(message.seq)

    def bodies(self) -> list[str]:
        """Return what came since the last look."""
        bodies = [delivery.body for delivery in self.got]
        self.got.clear()
        return bodies

    def ack_all(self) -> None:
        """Acknowledge everything in flight, oldest first."""
        for each in list(self.in_flight):
            self.ack(each)


def make_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let goes be cut short, most of them at their first look at the clock."""
    looks = count()
    monkeypatch.setattr(Broker, "late", property(lambda broker: next(looks) % 3 != 1))


def key(seq: int) -> str:
    """Return the key of a message."""
    return f"key-{seq}"


class House:
    """A core, and a store below it."""

    def __init__(
        self,
        store: MemoryStore | None = None,
        memory_limit: int = 1 << 20,
        max_redeliveries: int = 6,
        policies: Policies | None = None,
    ) -> None:
        self.store = store or MemoryStore(StoreSettings())
        self.wakes: list[int] = []  # moments at which the schedule wants to be looked at
        self.broker = Broker(
            Outside(annotate, make_filter, next_minute, rename, self.wakes.append),
            policies=policies,
            memory_limit=memory_limit,
            max_redeliveries=max_redeliveries,
        )
        self.broker.load(self.store.load(), self.store.read)
        self.journal = self.broker.journal
        self.journal.set_room(self.store.room())
        self._memory_limit = memory_limit
        self.on_the_way: Batch | None = None

    def queue(self, name: str = "a") -> Queue:
        """Return a queue."""
        return self.broker.routes.queue(name)

    def topic(self, name: str = "a") -> Topic:
        """Return a topic."""
        return self.broker.routes.topic(name)

    def message(
        self,
        body: str = "",
        durable: bool = True,
        priority: int = DEFAULT_PRIORITY,
        expires: int = 0,
    ) -> Message:
        """Return the next message; without a body it says its number."""
        seq = self.broker.next_seq
        self.broker.next_seq += 1
        return Message(
            seq, (body or str(seq)).encode(), durable, priority=priority, expires=expires
        )

    def put(
        self,
        *bodies: str,
        to: Queue | Topic | None = None,
        durable: bool = True,
        priority: int = DEFAULT_PRIORITY,
        expires: int = 0,
    ) -> None:
        """Send messages, to queue `a` unless told otherwise."""
        route = to or self.queue()
        for body in bodies:
            route.put(self.message(body, durable and route.durable, priority, expires))

    def consume(
        self,
        mode: str = AUTO,
        prefetch: int = 1000,
        of: Queue | Topic | None = None,
        wants: Wants | None = None,
        rank: int = 0,
        exclusive: bool = False,
        pending: int = 100_000,
        sender: object = None,
        recent: bool = False,
    ) -> Consumer:
        """Subscribe, to queue `a` unless told otherwise."""
        queue = of or self.queue()
        if isinstance(queue, Topic):
            topic = queue
            queue = own = TopicQueue(
                self.broker,
                topic.name,
                topic.policy,
                pending,
                wants=wants,
                sender=sender,
                recent=recent,
            )
            own.bind(topic)
            wants = None
        consumer = Consumer(queue, mode, prefetch, wants, rank, exclusive)
        queue.join(consumer)
        queue.feed(consumer)
        return consumer

    def begin_write(self) -> Batch:
        """Take the journal away, as the end of a turn does."""
        assert self.on_the_way is None
        self.on_the_way = self.broker.take()
        return self.on_the_way

    def end_write(self) -> None:
        """It is on disk."""
        assert self.on_the_way is not None
        self.store.write(self.on_the_way)
        self.on_the_way = None
        self.journal.set_room(self.store.room())
        self.broker.written()

    def write(self) -> Batch:
        """Write what there is."""
        batch = self.begin_write()
        self.end_write()
        return batch

    def go_on(self) -> None:
        """Give queues their other go, until none asks for it."""
        rounds = 0
        while self.broker.again:
            self.broker.go_on(self.store.read)
            rounds += 1
            assert rounds < 10_000, "a queue asks for ever"

    def settle(self) -> None:
        """Write and go on until there is nothing more to do."""
        self.go_on()
        while self.journal or self.on_the_way is not None:
            if self.on_the_way is None:
                self.begin_write()
            self.end_write()
            self.go_on()

    def in_memory(self) -> int:
        """Return the bytes of messages that wait in memory only."""
        return self._memory_limit - self.broker.memory.room

    def on_disk(self, queue: Queue) -> list[int]:
        """Return the sequence numbers of a queue's records in the store."""
        return sorted(
            seq
            for priority in range(10)
            for seq, _, _ in self.store.read(queue.number, priority, 0, 1 << 30, 1 << 30)
        )
