"""One subscription over several queues: credit is shared exactly, nothing is lost, nothing comes twice."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from broker.core import lane as lane_module
from broker.core import queue as queue_module
from broker.core import roaming as roaming_module
from broker.core.message import Message
from broker.core.pattern import compile_pattern, is_pattern
from broker.core.queue import Queue
from broker.core.several import Part, Several
from broker.core.subscription import AUTO, CLIENT, CLIENT_INDIVIDUAL, Subscription, Wants
from broker.core.topic import TopicQueue
from broker.core.transaction import Transaction
from tests.core.house import House, key, make_late

T = TypeVar("T")


class Taker(Subscription):
    """A consumer of several queues that notes what it gets."""

    __slots__ = ("bodies", "destinations", "house", "names")

    def __init__(
        self,
        house: House,
        names: Sequence[str],
        mode: str = CLIENT_INDIVIDUAL,
        prefetch: int = 100,
        wants: Wants | None = None,
    ) -> None:
        super().__init__(Several(), mode, prefetch, self.take, wants)
        self.house = house
        self.names = names
        self.bodies: list[str] = []
        self.destinations: list[str] = []

    def start(self) -> None:
        """Begin to take from queues, and from whatever patterns mean."""
        assert isinstance(self.queue, Several)
        take = partial(self.queue.add, self)
        for name in self.names:
            if is_pattern(name):
                self.house.broker.routes.roam_queues(
                    self, name, partial(take, roams=True), self.would_take
                )
            else:
                take(self.house.queue(name))

    def takes_from(self, name: str) -> bool:
        return any(compile_pattern(each)(name) for each in self.names)

    def take(self, message: Message) -> str:
        self.bodies.append(message.tail.decode())
        self.destinations.append(message.extra.destination if message.extra else "")
        return key(message.seq)

    def end(self) -> None:
        self.house.broker.routes.settle_down(self)
        self.close()

    def taken(self) -> list[str]:
        """Return what came since the last look."""
        bodies, self.bodies = self.bodies, []
        return bodies


@pytest.fixture
def house() -> House:
    return House()


def fill(house: House, count: int = 3) -> None:
    for name in ("a", "b"):
        house.put(*[f"{name}{n}" for n in range(1, count + 1)], to=house.queue(name))


def taker(house: House, *names: str, mode: str = CLIENT_INDIVIDUAL, prefetch: int = 100) -> Taker:
    new = Taker(house, names, mode, prefetch)
    new.start()
    return new


def test_each_message_says_where_it_was(house: House) -> None:
    fill(house, 1)
    all_ = taker(house, "a", "b")
    assert all_.taken() == ["a1", "b1"]
    assert all_.destinations == ["/queue/a", "/queue/b"]


def test_it_says_so_too_of_what_another_had(house: House) -> None:
    """A dead letter was in another queue before."""
    letters = taker(house, ">")
    house.put("a1", to=house.queue("a"))
    letters.nack(key(1), False)
    assert letters.destinations == ["/queue/a", "/queue/ActiveMQ.DLQ"]


@pytest.mark.parametrize("prefetch", [1, 2, 3, 4, 6, 7])
def test_credit_is_one_for_all(house: House, prefetch: int) -> None:
    fill(house)
    all_ = taker(house, "a", "b", prefetch=prefetch)
    assert len(all_.taken()) == min(6, prefetch)
    while all_.in_flight:
        all_.ack(next(iter(all_.in_flight)))
        assert len(all_.in_flight) <= prefetch
    assert house.queue("a").waiting == house.queue("b").waiting == 0


def test_queues_are_served_in_turn(house: House) -> None:
    fill(house)
    all_ = taker(house, "a", "b", prefetch=1)
    while all_.in_flight:
        all_.ack(next(iter(all_.in_flight)))
    assert all_.taken() == ["a1", "b1", "a2", "b2", "a3", "b3"]


def test_a_queue_that_comes_late_has_its_turn(house: House) -> None:
    fill(house, 3)
    all_ = taker(house, "a", "*", prefetch=1)
    house.put("c1", to=house.queue("c"))
    for _ in range(3):
        all_.ack(next(iter(all_.in_flight)))
    assert all_.taken() == ["a1", "b1", "c1", "a2"]


def test_others_are_served_when_it_has_no_credit(house: House) -> None:
    all_ = taker(house, "a", "b", prefetch=1)
    house.put("b1", to=house.queue("b"))
    other = house.consume(of=house.queue("a"))
    house.put("a1", "a2", to=house.queue("a"))
    assert (all_.taken(), other.bodies()) == (["b1"], ["a1", "a2"])


def test_paused_it_takes_from_none(house: House) -> None:
    all_ = taker(house, "a", "*")
    all_.pause()
    fill(house)
    house.put("c1", to=house.queue("c"))
    assert all_.taken() == []
    all_.resume()
    assert sorted(all_.taken()) == ["a1", "a2", "a3", "b1", "b2", "b3", "c1"]


def test_one_queue_named_twice_is_one(house: House) -> None:
    all_ = taker(house, "a", "a", "*", "a*", ">")
    fill(house, 1)
    assert all_.taken() == ["a1", "b1"]


def test_every_pattern_works_on(house: House) -> None:
    all_ = taker(house, "a.*", "b.*")
    for name in ("a.1", "b.1", "c.1", "a.2"):
        house.put(name, to=house.queue(name))
    assert all_.taken() == ["a.1", "b.1", "a.2"]
    all_.end()
    house.put("x", to=house.queue("a.3"))
    assert all_.taken() == []


def test_what_a_pattern_means_need_not_stay(house: House) -> None:
    all_ = taker(house, "a.*", "named")
    house.put("1", to=house.queue("a.1"))
    house.broker.sweep()
    house.broker.sweep()
    assert house.broker.routes.queues.keys() == {"a.1", "named"}
    all_.ack(key(1))
    house.broker.sweep()
    house.broker.sweep()
    assert house.broker.routes.queues.keys() == {"named"}
    house.put("2", to=house.queue("a.1"))
    assert all_.taken() == ["1", "2"]


def test_queues_and_a_topic(house: House) -> None:
    """What the topic's messages say was decided when they came."""
    own = TopicQueue(house.broker, "t", house.topic().policy, 10, tells=True)
    all_ = Taker(house, ["a"])
    all_.start()
    assert isinstance(all_.queue, Several)
    all_.queue.add(all_, own)
    own.bind(house.topic("t"))
    house.put("t1", to=house.topic("t"), durable=False)
    house.put("a1", to=house.queue("a"))
    assert all_.destinations == ["/topic/t", "/queue/a"]
    all_.end()
    assert not house.topic("t").bound
    assert house.in_memory() == 0


def test_one_that_has_ended_leaves_nothing_to_the_garbage_collector(house: House) -> None:
    """It looks seldom in this house."""
    gc.collect()
    gc.disable()
    try:
        all_ = taker(house, "a", "*")
        house.put("x", to=house.queue("a"))
        all_.end()
        assert not [each for each in gc.get_objects() if isinstance(each, Part)]
    finally:
        gc.enable()


# --- random verbs, beside a model --------------------------------------------------------------------

QUEUES = ("a.1", "a.2", "b")
CHOICES = (["a.*"], ["a.1", "b"], [">"], ["a.*", "b"], ["a.1"], ["a.2", "a.*"])
MODES = (AUTO, CLIENT, CLIENT, CLIENT_INDIVIDUAL, CLIENT_INDIVIDUAL)
PREFETCHES = (1, 2, 5, 100)


class Choose:
    """Chooses one of several, as the program says."""

    def __init__(self, program: bytes) -> None:
        self.left = iter(program)

    def __call__(self, pool: Sequence[T]) -> T:
        return pool[next(self.left, 0) % len(pool)]


@pytest.fixture
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """So small that everything spills, and takes several goes."""
    monkeypatch.setattr(lane_module, "WINDOW", 6)
    monkeypatch.setattr(lane_module, "WINDOW_BYTES", 60)
    monkeypatch.setattr(queue_module, "ONE_GO", 3)
    monkeypatch.setattr(roaming_module, "ONE_GO", 1)
    make_late(monkeypatch)


class Checked(Taker):
    """A consumer whose every delivery is checked against the model."""

    __slots__ = ("allowed", "machine")

    def __init__(self, machine: Machine, choose: Choose, wants: Wants | None) -> None:
        prefetch = choose(PREFETCHES)
        super().__init__(machine.house, choose(CHOICES), choose(MODES), prefetch, wants)
        self.machine = machine
        self.allowed = prefetch  # messages that it may still be handed: the model's credit

    def take(self, message: Message) -> str:
        self.machine.delivered(message, self)
        return key(message.seq)

    @property
    def is_hungry(self) -> bool:
        return not self.paused and (self.auto or self.allowed > 0)


class Machine:
    """Three queues, any number of consumers of some of them."""

    def __init__(self, wants: Sequence[Wants | None]) -> None:
        self.house = House(max_redeliveries=1000)
        self.wants = wants  # what consumers may choose by
        self.home: dict[int, str] = {}  # of those that nobody is done with
        self.waiting: dict[int, Message] = {}
        self.held: dict[int, Checked] = {}  # in the order of delivery
        self.consumers: list[Checked] = []
        self.transactions: list[Transaction] = []

    def queue(self, name: str) -> Queue:
        return self.house.queue(name)

    # What the queues do.

    def delivered(self, message: Message, consumer: Checked) -> None:
        seq = message.seq
        name = self.home[seq]
        assert seq in self.waiting, f"{seq} does not wait"
        assert consumer.is_hungry
        assert not consumer.closed
        assert consumer.takes_from(name)
        assert message.extra is not None
        assert message.extra.destination == f"/queue/{name}"
        if self.wants == (None,):
            assert seq == min(each for each in self.waiting if self.home[each] == name)
        else:
            assert consumer.wants is None or consumer.wants(message)
        del self.waiting[seq]
        if consumer.auto:
            del self.home[seq]
        else:
            consumer.allowed -= 1
            self.held[seq] = consumer

    # What clients do.

    def put(self, choose: Choose) -> None:
        name, durable = choose(QUEUES), bool(choose((True, False)))
        for _ in range(choose((1, 1, 3, 9))):
            message = self.house.message(durable=durable)
            self.home[message.seq] = name
            self.waiting[message.seq] = message
            self.queue(name).put(message)

    def subscribe(self, choose: Choose) -> None:
        if len(self.consumers) < 4:
            consumer = Checked(self, choose, choose(self.wants))
            self.consumers.append(consumer)
            consumer.start()

    def unsubscribe(self, choose: Choose) -> None:
        if self.consumers:
            consumer = pop(self.consumers, choose)
            self.return_([seq for seq in self.free() if self.held[seq] is consumer])
            consumer.end()

    def free(self) -> list[int]:
        """Return what is in flight and not held by a transaction."""
        return [seq for seq, consumer in self.held.items() if key(seq) not in consumer.held]

    def covered(self, seq: int) -> list[int]:
        consumer = self.held[seq]
        mine = [each for each in self.free() if self.held[each] is consumer]
        return mine[: mine.index(seq) + 1] if consumer.cumulative else [seq]

    def forget(self, seqs: Sequence[int]) -> None:
        for seq in seqs:
            del self.held[seq], self.home[seq]

    def return_(self, seqs: Sequence[int]) -> None:
        for seq in seqs:
            consumer = self.held.pop(seq)
            self.waiting[seq] = consumer.in_flight[key(seq)]

    def ack(self, choose: Choose) -> None:
        if self.free():
            seq = choose(self.free())
            consumer, covered = self.held[seq], self.covered(seq)
            consumer.allowed += len(covered)
            self.forget(covered)
            consumer.ack(key(seq))

    def requeue(self, choose: Choose) -> None:
        if self.free():
            seq = choose(self.free())
            consumer = self.held[seq]
            consumer.allowed += 1
            self.return_([seq])
            consumer.nack(key(seq), True)

    def pause(self, choose: Choose) -> None:
        if self.consumers:
            choose(self.consumers).pause()

    def resume(self, choose: Choose) -> None:
        if self.consumers:
            choose(self.consumers).resume()

    def begin_transaction(self, choose: Choose) -> None:
        if len(self.transactions) < 2:
            self.transactions.append(Transaction(self.house.broker.memory))

    def hold(self, choose: Choose) -> None:
        if self.transactions and self.free():
            seq = choose(self.free())
            self.held[seq].allowed += len(self.covered(seq))
            choose(self.transactions).ack(self.held[seq], key(seq))

    def in_transaction(self, transaction: Transaction) -> list[int]:
        return [
            seq for seq, consumer in self.held.items() if consumer.held.get(key(seq)) is transaction
        ]

    def commit(self, choose: Choose) -> None:
        if self.transactions:
            transaction = pop(self.transactions, choose)
            self.forget(self.in_transaction(transaction))
            transaction.commit()

    def abort(self, choose: Choose) -> None:
        if self.transactions:
            transaction = pop(self.transactions, choose)
            held = self.in_transaction(transaction)
            for seq in held:
                self.held[seq].allowed -= 1
            self.return_([seq for seq in held if self.held[seq].closed])
            transaction.abort()

    # What time and the disk do.

    def sweep(self, choose: Choose) -> None:
        self.house.broker.sweep()

    def go_on(self, choose: Choose) -> None:
        self.house.broker.go_on(self.house.store.read)

    def write(self, choose: Choose) -> None:
        self.house.write()

    def settle(self, choose: Choose) -> None:
        """When all is quiet nobody waits who could be served."""
        self.house.settle()
        while self.house.broker.starving:  # for what is on disk already, or never will be
            self.house.broker.nothing_to_write()
            self.house.settle()
        for seq, message in self.waiting.items():
            for consumer in self.consumers:
                assert not (
                    consumer.is_hungry
                    and consumer.takes_from(self.home[seq])
                    and (consumer.wants is None or consumer.wants(message))
                ), f"{seq} waits in vain"

    def check(self) -> None:
        for name in QUEUES:
            waiting = sum(self.home[seq] == name for seq in self.waiting)
            queue = self.house.broker.routes.queues.get(name)
            assert (0 if queue is None else queue.waiting) == waiting
        for consumer in self.consumers:
            assert consumer.auto or consumer.credit == consumer.allowed

    def end(self) -> None:
        """Whatever happened before: who comes now gets all that waits, and nothing remains."""
        self.settle(Choose(b""))
        while self.transactions:
            self.abort(Choose(b""))
        while self.consumers:
            self.unsubscribe(Choose(b""))
        assert not self.held
        last = Checked(self, Choose(b"\3\2\0"), None)
        assert last.names == [">"]
        assert last.auto
        last.start()
        self.settle(Choose(b""))
        assert not self.waiting
        for name in QUEUES:
            assert self.house.on_disk(self.queue(name)) == []
            assert not self.queue(name).owed
        assert self.house.in_memory() == 0
        assert self.house.journal.waiting == 0
        last.end()
        self.settle(Choose(b""))
        for name in QUEUES:
            assert not self.queue(name).subscriptions


def pop(pool: list[T], choose: Choose) -> T:
    """Choose one and take it out."""
    chosen = choose(pool)
    pool.remove(chosen)
    return chosen


def is_even(message: Message) -> bool:
    """Tell whether a selector of this test wants a message."""
    return message.seq % 2 == 0


#: What may happen next; what stands here often happens often.
STEPS: tuple[Callable[[Machine, Choose], None], ...] = (
    *[Machine.put] * 6,
    *[Machine.subscribe] * 3,
    *[Machine.ack] * 7,
    Machine.requeue,
    Machine.unsubscribe,
    Machine.pause,
    *[Machine.resume] * 2,
    Machine.begin_transaction,
    *[Machine.hold] * 3,
    Machine.commit,
    Machine.abort,
    *[Machine.go_on] * 4,
    *[Machine.write] * 2,
    *[Machine.settle] * 2,
    Machine.sweep,
)


@pytest.mark.parametrize("wants", [(None,), (None, is_even)], ids=["all", "some"])
@settings(
    max_examples=150,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(program=st.binary(min_size=200, max_size=500))
def test_nothing_is_lost_and_nothing_comes_twice(
    small_windows: None, wants: Sequence[Wants | None], program: bytes
) -> None:
    """Every byte of a program decides something; in the end everybody leaves and all is drained."""
    choose = Choose(program)
    machine = Machine(wants)
    for byte in choose.left:
        step = STEPS[byte % len(STEPS)]
        note(step.__name__)
        step(machine, choose)
        machine.check()
    machine.end()
