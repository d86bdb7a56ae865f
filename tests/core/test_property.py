"""Random verbs on a queue, beside a model that needs no windows, lanes or credit.

The model knows of every message who has it. It asks of the queue, at every delivery and at the end: nothing
is lost, nothing is delivered twice, whoever is served gets the first of those that wait (by priority, then
age), what is on disk is what was true when the write began, and the memory accounts return to zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from broker.core import lane as lane_module
from broker.core import queue as queue_module
from broker.core.message import Message
from broker.core.subscription import AUTO, CLIENT, CLIENT_INDIVIDUAL, Subscription
from broker.core.transaction import Transaction
from tests.core.house import House, key

CONNECTIONS = (1, 2)
MODES = (AUTO, CLIENT, CLIENT, CLIENT_INDIVIDUAL, CLIENT_INDIVIDUAL)
PREFETCHES = (1, 2, 5, 100)
SIZES = (1, 1, 1, 10, 70)
PRIORITIES = (4, 4, 4, 4, 0, 9)
COUNTS = (1, 1, 3, 10)
LIFETIMES = (0, 0, 0, 0, 0, 2)

T = TypeVar("T")


class Choose(Protocol):
    """Chooses one of several, as the program says."""

    def __call__(self, pool: Sequence[T]) -> T:
        """Return one."""


@pytest.fixture
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """So small that everything spills."""
    monkeypatch.setattr(lane_module, "WINDOW", 6)
    monkeypatch.setattr(lane_module, "WINDOW_BYTES", 60)
    monkeypatch.setattr(queue_module, "ONE_GO", 3)


class Checked(Subscription):
    """A consumer whose every delivery is checked against the model."""

    __slots__ = ("connection", "machine")

    def __init__(self, machine: Machine, mode: str, prefetch: int, connection: int) -> None:
        super().__init__(machine.queue, mode, prefetch, self.take)
        self.machine = machine
        self.connection = connection

    def take(self, message: Message) -> str:
        self.machine.delivered(message, self)
        return key(message.seq)


class Machine:
    """One queue, any number of consumers, a disk that takes its time."""

    def __init__(self) -> None:
        self.messages: dict[int, Message] = {}  # those that nobody is done with
        self.ever: dict[int, Message] = {}
        self.waiting: set[int] = set()
        self.held: dict[int, Checked] = {}  # who has the others, in the order of delivery
        self.seen: set[int] = set()  # that some consumer has had
        self.written: set[int] = set()  # that must be on disk: true when the last write began
        self.being_written: set[int] = set()
        self.open(House())

    def open(self, house: House) -> None:
        self.house = house
        self.queue = house.queue()
        self.consumers: list[Checked] = []
        self.transactions: list[tuple[int, Transaction]] = []

    # What the queue does.

    def delivered(self, message: Message, consumer: Checked) -> None:
        seq = message.seq
        assert seq in self.waiting, f"{seq} does not wait"
        first = min(
            (each for each in map(self.messages.__getitem__, self.waiting) if self.alive(each)),
            key=lambda each: (-each.priority, each.seq),
        )
        assert seq == first.seq, f"{seq} is served before {first.seq}"
        assert message.redelivered == (seq in self.seen)
        assert not consumer.closed
        assert not consumer.paused
        self.waiting.remove(seq)
        if consumer.auto:
            del self.messages[seq]
        else:
            assert consumer.credit > 0
            self.held[seq] = consumer
            self.seen.add(seq)

    def alive(self, message: Message) -> bool:
        return not message.expires or message.expires > self.house.broker.now

    # What clients do.

    def put(self, choose: Choose) -> None:
        durable, priority = bool(choose((True, False))), choose(PRIORITIES)
        size, lifetime = choose(SIZES), choose(LIFETIMES)
        for _ in range(choose(COUNTS)):
            expires = self.house.broker.now + lifetime if lifetime else 0
            message = self.house.message("x" * size, durable, priority, expires)
            self.messages[message.seq] = self.ever[message.seq] = message
            self.waiting.add(message.seq)
            self.queue.put(message)

    def subscribe(self, choose: Choose) -> None:
        if len(self.consumers) < 6:
            consumer = Checked(self, choose(MODES), choose(PREFETCHES), choose(CONNECTIONS))
            self.consumers.append(consumer)
            self.queue.join(consumer)
            self.queue.feed(consumer)

    def free(self) -> list[int]:
        """Return what is in flight and not held by a transaction."""
        return [seq for seq, consumer in self.held.items() if key(seq) not in consumer.held]

    def forget(self, seqs: list[int]) -> None:
        for seq in seqs:
            del self.held[seq], self.messages[seq]

    def return_(self, seqs: list[int]) -> None:
        for seq in seqs:
            del self.held[seq]
            self.waiting.add(seq)

    def ack(self, choose: Choose) -> None:
        if not self.free():
            return
        seq = choose(self.free())
        consumer = self.held[seq]
        covered = [seq]
        if consumer.cumulative:
            mine = [each for each in self.free() if self.held[each] is consumer]
            covered = mine[: mine.index(seq) + 1]
        self.forget(covered)
        consumer.ack(key(seq))

    def requeue(self, choose: Choose) -> None:
        if not self.free():
            return
        seq = choose(self.free())
        consumer = self.held[seq]
        if consumer.in_flight[key(seq)].returns < self.house.broker.max_redeliveries:
            self.return_([seq])
        else:
            self.forget([seq])  # it lies with the dead letters
        consumer.nack(key(seq), True)

    def unsubscribe(self, choose: Choose) -> None:
        if not self.consumers:
            return
        consumer = pop(self.consumers, choose)
        self.return_([seq for seq in self.free() if self.held[seq] is consumer])
        consumer.close()

    def pause(self, choose: Choose) -> None:
        if not self.consumers:
            return
        choose(self.consumers).pause()

    def resume(self, choose: Choose) -> None:
        if not self.consumers:
            return
        choose(self.consumers).resume()

    def begin_transaction(self, choose: Choose) -> None:
        if len(self.transactions) < 3:
            self.transactions.append((choose(CONNECTIONS), Transaction(self.house.broker.memory)))

    def hold(self, choose: Choose) -> None:
        if not self.transactions:
            return
        connection, transaction = choose(self.transactions)
        mine = [seq for seq in self.free() if self.held[seq].connection == connection]
        if mine:
            seq = choose(mine)
            transaction.ack(self.held[seq], key(seq))

    def in_transaction(self, transaction: Transaction) -> list[int]:
        return [
            seq for seq, consumer in self.held.items() if consumer.held.get(key(seq)) is transaction
        ]

    def commit(self, choose: Choose) -> None:
        if not self.transactions:
            return
        _, transaction = pop(self.transactions, choose)
        self.forget(self.in_transaction(transaction))
        transaction.commit()

    def abort(self, choose: Choose) -> None:
        if not self.transactions:
            return
        _, transaction = pop(self.transactions, choose)
        self.return_([seq for seq in self.in_transaction(transaction) if self.held[seq].closed])
        transaction.abort()

    def disconnect(self, choose: Choose) -> None:
        """A connection is lost: all it had goes back before anybody is served."""
        connection = choose(CONNECTIONS)
        if not self.consumers:
            return
        gone = [consumer for consumer in self.consumers if consumer.connection == connection]
        aborted = [each for owner, each in self.transactions if owner == connection]
        self.consumers = [each for each in self.consumers if each.connection != connection]
        self.transactions = [each for each in self.transactions if each[0] != connection]
        self.return_([seq for seq, who in self.held.items() if who.connection == connection])
        for consumer in gone:
            consumer.stop()
        for transaction in aborted:
            transaction.abort()
        for consumer in gone:
            consumer.close()

    # What time and the disk do.

    def pass_time(self, choose: Choose) -> None:
        self.house.broker.now += 1

    def sweep(self, choose: Choose) -> None:
        self.house.broker.sweep()
        self.queue = self.house.queue()  # it may have been forgotten

    def go_on(self, choose: Choose) -> None:
        self.house.broker.go_on(self.house.store.read)

    def begin_write(self, choose: Choose) -> None:
        if self.house.on_the_way is not None:
            return
        self.being_written = {seq for seq, message in self.messages.items() if message.durable}
        self.house.begin_write()

    def end_write(self, choose: Choose) -> None:
        if self.house.on_the_way is None:
            return
        self.house.end_write()
        self.written = self.being_written
        self.check_disk()

    def check_disk(self) -> None:
        on_disk = set(self.house.on_disk(self.queue))
        assert on_disk <= self.written
        for seq in self.written - on_disk:  # dropped by the queue, not asked for by a client
            assert seq not in self.messages or not self.alive(self.messages[seq])

    def crash(self, choose: Choose) -> None:
        """The broker is killed and started again: what is on disk waits, and somebody may have seen it."""
        if not self.written:
            return
        everything = self.ever
        self.open(House(self.house.store))
        kept = self.house.on_disk(self.queue)
        self.messages = {seq: everything[seq] for seq in kept}
        self.waiting = set(kept)
        self.seen = set(kept)
        self.held = {}

    def check_count(self) -> None:
        alive = sum(self.alive(self.messages[seq]) for seq in self.waiting)
        assert alive <= self.queue.waiting <= len(self.waiting)

    def end(self) -> None:
        """Whatever happened before: who comes now gets all that waits, and nothing remains."""
        for consumer in self.consumers:
            self.return_([seq for seq in self.free() if self.held[seq] is consumer])
            consumer.close()
        for _, transaction in self.transactions:
            self.return_(self.in_transaction(transaction))
            transaction.abort()
        assert not self.held
        last = Checked(self, AUTO, 1, 0)
        self.queue.join(last)
        self.queue.feed(last)
        self.house.settle()
        assert not [seq for seq in self.waiting if self.alive(self.messages[seq])]
        assert self.queue.waiting == 0
        assert self.house.in_memory() == 0
        assert self.house.on_disk(self.queue) == []
        assert self.house.journal.waiting == 0
        assert not self.queue.owed


def pop(pool: list[T], choose: Choose) -> T:
    """Choose one and take it out."""
    chosen = choose(pool)
    pool.remove(chosen)
    return chosen


#: What may happen next; what stands here often happens often.
STEPS = (
    *[Machine.put] * 6,
    *[Machine.subscribe] * 3,
    *[Machine.ack] * 6,
    Machine.requeue,
    Machine.unsubscribe,
    Machine.disconnect,
    Machine.pause,
    *[Machine.resume] * 2,
    Machine.begin_transaction,
    *[Machine.hold] * 3,
    Machine.commit,
    Machine.abort,
    *[Machine.begin_write, Machine.end_write, Machine.go_on] * 4,
    Machine.pass_time,
    Machine.sweep,
    Machine.crash,
)


@settings(
    max_examples=200,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(program=st.binary(min_size=300, max_size=600))
def test_nothing_is_lost_and_nothing_comes_twice(small_windows: None, program: bytes) -> None:
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
