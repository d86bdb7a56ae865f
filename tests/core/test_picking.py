"""Consumers who choose: random verbs beside a model, and the cases that are worth a name.

The model knows who has which message, who owns which group and who is served before whom; it knows no
lanes, places, chunks or stores. It asks at every delivery: is it this consumer's turn, is this the first
message that it wants and may have, may nobody of a higher rank have it? And whenever everything has come to
rest: no hungry consumer and no message that it wants are left together, and all accounts are exact.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Protocol, TypeVar

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from broker.core import browser as browser_module
from broker.core import lane as lane_module
from broker.core import picking as picking_module
from broker.core import queue as queue_module
from broker.core import shelf as shelf_module
from broker.core import walk as walk_module
from broker.core.browser import Browser
from broker.core.event import Event
from broker.core.message import Message
from broker.core.policy import Policies
from broker.core.subscription import AUTO, CLIENT, CLIENT_INDIVIDUAL, Subscription, Wants
from broker.core.transaction import Transaction
from tests.core.house import House, key, make_late

CONNECTIONS = (1, 2)
MODES = (AUTO, CLIENT, CLIENT, CLIENT_INDIVIDUAL, CLIENT_INDIVIDUAL)
PREFETCHES = (1, 1, 2, 5, 100)
RANKS = (0, 0, 0, 0, 0, 0, 1, -1)
SIZES = (1, 1, 1, 10, 70)
PRIORITIES = (4, 4, 4, 4, 4, 0, 9)
COUNTS = (1, 1, 3, 10, 30)
LIFETIMES = (0, 0, 0, 0, 0, 2)
KINDS = (b"a", b"a", b"a", b"b", b"c")
GROUPS = ("", "", "g", "h", "i")  # of messages, in half the programs
REMEMBERED = 2  # groups
MOST, MOST_BYTES = 15, 100  # that may wait, in half of them; bytes of what is not durable
LIMITS = {"max_messages": MOST, "memory_limit": MOST_BYTES, "at_limit": "drop-oldest"}

T = TypeVar("T")


def wants_kind(*kinds: bytes) -> Wants:
    """Return a selector for messages of some kinds."""
    return lambda message: message.tail[:1] in kinds


def wants_nothing(message: Message) -> bool:
    """Select nothing."""
    return False


def wants_fresh(message: Message) -> bool:
    """Select what nobody has had."""
    return not message.redelivered


def wants_used(message: Message) -> bool:
    """Select what somebody has had."""
    return message.redelivered


SELECTORS: tuple[Wants | None, ...] = (
    None,
    None,
    wants_kind(b"a"),
    wants_kind(b"b"),
    wants_kind(b"b", b"c"),
    wants_nothing,
    wants_fresh,
    wants_used,
)


class Choose(Protocol):
    """Chooses one of several, as the program says."""

    def __call__(self, pool: Sequence[T]) -> T:
        """Return one."""


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """So small that everything spills, stops half-way and is forgotten."""
    monkeypatch.setattr(lane_module, "WINDOW", 6)
    monkeypatch.setattr(lane_module, "WINDOW_BYTES", 60)
    make_late(monkeypatch)
    monkeypatch.setattr(shelf_module, "BLOCK", 2)
    monkeypatch.setattr(queue_module, "ONE_GO", 3)
    monkeypatch.setattr(picking_module, "ONE_GO", 5)
    monkeypatch.setattr(picking_module, "ONE_TURN", 3)
    monkeypatch.setattr(picking_module, "FEW", 2)
    monkeypatch.setattr(walk_module, "FEW", 2)
    monkeypatch.setattr(picking_module, "GROUPS", REMEMBERED)
    monkeypatch.setattr(walk_module, "MISSED", 4)
    monkeypatch.setattr(browser_module, "ONE_GO", 5)
    monkeypatch.setattr(browser_module, "FEW", 2)


class Checked(Subscription):
    """A consumer whose every delivery is checked against the model."""

    __slots__ = ("connection", "machine")

    def __init__(
        self,
        machine: Machine,
        mode: str,
        prefetch: int,
        connection: int,
        wants: Wants | None,
        rank: int,
        exclusive: bool,
    ) -> None:
        super().__init__(machine.queue, mode, prefetch, self.take, wants, rank, exclusive)
        self.machine = machine
        self.connection = connection

    def take(self, message: Message) -> str:
        self.machine.delivered(message, self)
        return key(message.seq)


class Watcher:
    """A browser, and what it must have seen at the end."""

    def __init__(self, machine: Machine, wants: Wants | None) -> None:
        self.machine = machine
        self.seen: list[Message] = []
        self.ended = False
        self.there = set(machine.waiting)  # all the time since
        self.newest = machine.house.broker.next_seq - 1
        self.browser = Browser(machine.queue, self.see, self.end, wants)

    def see(self, message: Message) -> str:
        assert not self.browser.paused
        assert message.seq in self.machine.waiting
        assert message.seq <= self.newest
        self.seen.append(message)
        return ""

    def end(self) -> None:
        assert not self.ended
        self.ended = True
        places = [(-message.priority, message.seq) for message in self.seen]
        assert places == sorted(set(places)), places
        wants = self.browser.wants
        missing = self.there - {message.seq for message in self.seen}
        for message in map(self.machine.messages.__getitem__, missing):
            assert not self.machine.alive(message) or not (wants is None or wants(message))


class Machine:
    """One queue, any number of consumers, a disk that takes its time."""

    def __init__(self, grouped: bool, limited: bool) -> None:
        self.grouped = grouped
        self.policies = Policies([("a", LIMITS)] if limited else [])
        self.messages: dict[int, Message] = {}  # those that nobody is done with
        self.ever: dict[int, Message] = {}
        self.waiting: set[int] = set()
        self.held: dict[int, Checked] = {}  # who has the others, in the order of delivery
        self.seen: set[int] = set()  # that some consumer has had
        self.written: set[int] = set()  # that must be on disk: true when the last write began
        self.being_written: set[int] = set()
        self.open(House(policies=self.policies))

    def open(self, house: House) -> None:
        self.house = house
        self.queue = house.queue()
        self.house.broker.tell = self.told
        self.consumers: list[Checked] = []  # in the order they came
        self.owners: OrderedDict[str, Checked] = OrderedDict()  # group → who has it, by last use
        self.transactions: list[tuple[int, Transaction]] = []
        self.watchers: list[Watcher] = []

    # What the queue does.

    def told(self, event: Event) -> None:
        """Something expired, or was given up because of a limit: whoever waits for it waits in vain."""
        if event.kind in ("Expired", "MessageDiscarded") and event.source is self.queue:
            assert event.message is not None
            seq = event.message.seq
            if event.kind == "Expired":
                assert not self.alive(self.messages[seq])
            else:
                assert len(self.waiting) > MOST or self.in_memory() > MOST_BYTES
            self.leaves(seq)
            del self.messages[seq]

    def leaves(self, seq: int) -> None:
        self.waiting.remove(seq)
        for watcher in self.watchers:
            watcher.there.discard(seq)

    def delivered(self, message: Message, consumer: Checked) -> None:
        seq = message.seq
        assert seq in self.waiting, f"{seq} does not wait"
        assert self.alive(message)
        assert message.redelivered == (seq in self.seen)
        assert consumer.hungry
        assert self.in_charge(consumer)
        first = min(self.available(consumer), key=place)
        assert seq == first.seq, f"{seq} is served before {first.seq}"
        for other in self.consumers:
            if other.rank > consumer.rank and other.hungry and self.in_charge(other):
                assert not self.may_have(other, message), "a higher rank comes first"
        self.note_group(message, consumer)
        self.leaves(seq)
        if consumer.auto:
            del self.messages[seq]
        else:
            self.held[seq] = consumer
            self.seen.add(seq)

    def note_group(self, message: Message, consumer: Checked) -> None:
        extra = message.extra
        if extra is None or not extra.group:
            return
        assert extra.first_of_group == (extra.group not in self.owners)
        self.owners[extra.group] = consumer
        self.owners.move_to_end(extra.group)
        if extra.closes_group:
            del self.owners[extra.group]
        elif len(self.owners) > REMEMBERED:
            self.owners.popitem(last=False)

    def alive(self, message: Message) -> bool:
        return not message.expires or message.expires > self.house.broker.now

    def in_charge(self, consumer: Checked) -> bool:
        exclusive = [each for each in self.consumers if each.exclusive and not each.closed]
        return not exclusive or consumer is max(exclusive, key=lambda each: each.rank)

    def may_have(self, consumer: Checked, message: Message) -> bool:
        group = message.extra.group if message.extra else ""
        if group and self.owners.get(group, consumer) is not consumer:
            return False
        return consumer.wants is None or consumer.wants(message)

    def available(self, consumer: Checked) -> list[Message]:
        """Return what a consumer wants and may have."""
        return [
            message
            for message in map(self.messages.__getitem__, self.waiting)
            if self.alive(message) and self.may_have(consumer, message)
        ]

    # What clients do.

    def put(self, choose: Choose) -> None:
        durable, priority = bool(choose((True, True, False))), choose(PRIORITIES)
        size, lifetime = choose(SIZES), choose(LIFETIMES)
        for _ in range(choose(COUNTS)):
            expires = self.house.broker.now + lifetime if lifetime else 0
            body = (choose(KINDS) * size).decode()
            message = self.house.message(body, durable, priority, expires)
            group = choose(GROUPS) if self.grouped else ""
            if group:
                message.mark().group = group
                message.mark().closes_group = choose((False, False, False, True))
            self.messages[message.seq] = self.ever[message.seq] = message
            self.waiting.add(message.seq)
            self.queue.put(message)

    def subscribe(self, choose: Choose) -> None:
        if len(self.consumers) < 6:
            consumer = Checked(
                self,
                choose(MODES),
                choose(PREFETCHES),
                choose(CONNECTIONS),
                choose(SELECTORS),
                choose(RANKS),
                choose((False,) * 15 + (True,)),
            )
            self.consumers.append(consumer)
            self.queue.join(consumer)
            self.queue.feed(consumer)

    def browse(self, choose: Choose) -> None:
        if len(self.watchers) < 3:
            watcher = Watcher(self, choose(SELECTORS[:6]))
            self.watchers.append(watcher)
            watcher.browser.start()

    def pause_browser(self, choose: Choose) -> None:
        if self.watchers:
            choose(self.watchers).browser.pause()

    def resume_browser(self, choose: Choose) -> None:
        if self.watchers:
            choose(self.watchers).browser.resume()

    def free(self) -> list[int]:
        """Return what is in flight and not held by a transaction."""
        return [seq for seq, consumer in self.held.items() if key(seq) not in consumer.held]

    def forget(self, seqs: list[int]) -> None:
        for seq in seqs:
            del self.held[seq], self.messages[seq]

    def return_(self, seqs: list[int]) -> None:
        for seq in seqs:
            del self.held[seq]
            self.messages[seq].redelivered = True
            self.waiting.add(seq)

    def leaves_groups(self, gone: Checked) -> None:
        for group in [group for group, owner in self.owners.items() if owner is gone]:
            del self.owners[group]

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
        self.leaves_groups(consumer)
        self.return_([seq for seq in self.free() if self.held[seq] is consumer])
        consumer.close()

    def pause(self, choose: Choose) -> None:
        if self.consumers:
            choose(self.consumers).pause()

    def resume(self, choose: Choose) -> None:
        if self.consumers:
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
        gone = [consumer for consumer in self.consumers if consumer.connection == connection]
        aborted = [each for owner, each in self.transactions if owner == connection]
        for consumer in gone:
            self.consumers.remove(consumer)
            self.leaves_groups(consumer)
            consumer.stop()
        self.transactions = [each for each in self.transactions if each[0] != connection]
        self.return_([seq for seq, who in self.held.items() if who.connection == connection])
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
        on_disk = set(self.house.on_disk(self.queue))
        assert on_disk <= self.written
        for seq in self.written - on_disk:  # dropped by the queue, not asked for by a client
            assert seq not in self.messages or not self.alive(self.messages[seq])

    def crash(self, choose: Choose) -> None:
        """The broker is killed and started again: what is on disk waits, and somebody may have seen it."""
        if not self.written:
            return
        everything = self.ever
        self.open(House(self.house.store, policies=self.policies))
        kept = self.house.on_disk(self.queue)
        self.messages = {seq: everything[seq] for seq in kept}
        for message in self.messages.values():
            message.redelivered = True
        self.waiting = set(kept)
        self.seen = set(kept)
        self.held = {}

    def come_to_rest(self, choose: Choose) -> None:
        """Everything that can happen by itself happens."""
        if self.house.on_the_way is not None:
            self.end_write(choose)
        self.house.settle()
        while self.house.broker.starving:
            self.house.broker.nothing_to_write()
            self.house.settle()
        self.written = {seq for seq, message in self.messages.items() if message.durable}
        assert set(self.house.on_disk(self.queue)) == self.written
        for consumer in self.consumers:
            if consumer.hungry and self.in_charge(consumer):
                assert not self.available(consumer), (
                    f"{id(consumer) % 10000} is hungry, and what it wants waits"
                )
        for watcher in self.watchers:
            assert watcher.ended or watcher.browser.paused
        self.watchers = [watcher for watcher in self.watchers if not watcher.ended]
        for lane in self.queue.lanes:
            beyond = [seq for seq in self.on_disk(lane.priority) if seq > lane.edge]
            if lane.behind:
                assert len(set(beyond) - lane.apart) == lane.behind
            assert lane.apart <= self.written
            assert not any(map(self.house.journal.holds, lane.fresh))

    def on_disk(self, priority: int) -> list[int]:
        rows = self.house.store.read(self.queue.number, priority, -1, 1 << 30, 1 << 30)
        return [seq for seq, _, _ in rows]

    def check_accounts(self) -> None:
        """They are exact all the time."""
        assert self.queue.waiting == len(self.waiting)
        assert self.queue.charged == self.in_memory()

    def in_memory(self) -> int:
        """Return the bytes of what waits and is not durable."""
        waiting = map(self.messages.__getitem__, self.waiting)
        return sum(len(message.tail) for message in waiting if not message.durable)

    def end(self, choose: Choose) -> None:
        """Whatever happened before: who comes now gets all that waits, and nothing remains."""
        for watcher in self.watchers:
            watcher.browser.resume()
        self.come_to_rest(choose)
        for consumer in list(self.consumers):
            self.consumers.remove(consumer)
            self.leaves_groups(consumer)
            self.return_([seq for seq in self.free() if self.held[seq] is consumer])
            consumer.close()
        for _, transaction in self.transactions:
            self.return_(self.in_transaction(transaction))
            transaction.abort()
        assert not self.held
        last = Checked(self, AUTO, 1, 0, None, 0, False)
        self.consumers = [last]
        self.queue.join(last)
        self.queue.feed(last)
        self.come_to_rest(choose)
        assert not self.waiting
        assert self.house.in_memory() == 0
        last.close()
        self.house.settle()
        assert self.house.on_disk(self.queue) == []
        assert self.house.journal.waiting == 0
        assert not self.queue.owed
        self.house.write()
        assert self.queue not in self.house.broker.choosing
        assert not any(lane.apart or lane.behind for lane in self.queue.lanes)


def place(message: Message) -> tuple[int, int]:
    """Return where a message stands in its queue."""
    return -message.priority, message.seq


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
    Machine.browse,
    Machine.pause_browser,
    Machine.resume_browser,
    *[Machine.come_to_rest] * 2,
    Machine.pass_time,
    Machine.sweep,
    Machine.crash,
)


@settings(
    max_examples=300,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(grouped=st.booleans(), limited=st.booleans(), program=st.binary(min_size=300, max_size=800))
def test_everybody_gets_what_is_theirs(
    small: None, grouped: bool, limited: bool, program: bytes
) -> None:
    """Every byte of a program decides something; when it is read, everybody leaves and all is drained."""
    bytes_left = iter(program)
    machine = Machine(grouped, limited)

    def choose(pool: Sequence[T]) -> T:
        return pool[next(bytes_left, 0) % len(pool)]

    for byte in bytes_left:
        step = STEPS[byte % len(STEPS)]
        note(step.__name__)
        step(machine, choose)
        machine.check_accounts()
    machine.end(choose)


# --- selectors ------------------------------------------------------------------------------------


@pytest.fixture
def house() -> House:
    return House()


@pytest.fixture
def window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane_module, "WINDOW", 10)


def starting_with(text: str) -> Wants:
    """Return a selector for bodies."""
    return lambda message: message.tail.startswith(text.encode())


def put_group(house: House, group: str, *bodies: str, last: bool = False) -> None:
    """Send messages of a group; the last one may close it."""
    for body in bodies:
        message = house.message(body)
        message.mark().group = group
        message.mark().closes_group = last and body == bodies[-1]
        house.queue().put(message)


def test_who_does_not_want_it_does_not_keep_it_from_others(house: House) -> None:
    a = house.consume(wants=starting_with("a"))
    b = house.consume(wants=starting_with("b"))
    house.put("b1", "a1", "c1", "b2")
    assert (a.bodies(), b.bodies()) == (["a1"], ["b1", "b2"])
    assert house.queue().waiting == 1


def test_everything_of_a_deep_backlog_is_looked_at(house: House, window: None) -> None:
    house.put(*[f"{'a' if number % 50 == 49 else 'b'}{number}" for number in range(500)])
    house.write()
    consumer = house.consume(wants=starting_with("a"))
    house.settle()
    assert consumer.bodies() == [f"a{number}" for number in range(49, 500, 50)]


def test_a_message_handed_over_past_a_backlog_is_not_read_from_the_store(
    house: House, window: None
) -> None:
    """It is there, behind the others, for as long as its consumer has not acknowledged it."""
    house.put(*["b"] * 20)
    picky = house.consume(CLIENT_INDIVIDUAL, wants=starting_with("a"))
    house.settle()
    house.put("a1", "a2", "a3")
    assert picky.bodies() == ["a1", "a2", "a3"]
    picky.ack(key(21))
    house.settle()
    rest = house.consume()
    house.settle()
    assert rest.bodies() == ["b"] * 20
    assert house.queue().waiting == 0
    picky.ack_all()
    house.settle()
    assert house.on_disk(house.queue()) == []


def test_what_is_done_before_it_is_written_leaves_no_trace(house: House, window: None) -> None:
    """However many come past a backlog."""
    house.put(*["b"] * 20)
    picky = house.consume(CLIENT_INDIVIDUAL, wants=starting_with("a"))
    house.settle()
    for _ in range(1000):
        house.put("a")
        picky.ack_all()
    [lane] = house.queue().lanes
    assert len(lane.fresh) + len(lane.apart) <= 1
    assert not house.journal


def test_looking_on_begins_where_it_ended(house: House, window: None) -> None:
    """One wanted in a hundred, one at a time: the store is read about once, not once a message."""
    house.put(*["a" if number % 100 == 99 else "b" for number in range(10_000)])
    house.write()
    rows = 0
    read = house.store.read

    def read_counted(
        queue: int, priority: int, after: int, count: int, size: int
    ) -> list[tuple[int, bytes, bytes]]:
        nonlocal rows
        found = read(queue, priority, after, count, size)
        rows += len(found)
        return found

    consumer = house.consume(CLIENT_INDIVIDUAL, 1, wants=starting_with("a"))
    for _ in range(100):
        while house.broker.again:
            house.broker.go_on(read_counted)
        assert consumer.bodies() == ["a"]
        consumer.ack_all()
    assert rows < 20_000


def test_others_are_served_while_somebody_looks_for_what_is_not_there(
    house: House, window: None
) -> None:
    """Two go through the same backlog; the one that wants nothing does not hold up the other."""
    house.put(*map(str, range(5000)))
    house.write()
    house.consume(wants=wants_nothing)
    other = house.consume(CLIENT_INDIVIDUAL, 100)
    house.broker.go_on(house.store.read)
    assert len(other.bodies()) >= 50


def test_a_go_comes_to_an_end(house: House, window: None) -> None:
    house.put(*map(str, range(5000)))
    house.write()
    house.consume(wants=wants_nothing)
    gos = 0
    while house.broker.again:
        house.broker.go_on(house.store.read)
        gos += 1
    assert gos >= 5000 // picking_module.ONE_GO


def test_large_messages_count_for_more(house: House, window: None) -> None:
    house.put(*["x" * 100_000] * 200)
    house.write()
    house.consume(wants=wants_nothing)
    gos = 0
    while house.broker.again:
        house.broker.go_on(house.store.read)
        gos += 1
    assert gos >= 200 * 100_000 // (picking_module.ONE_GO * picking_module.EACH_BYTES)


def test_what_was_given_back_goes_to_whoever_had_passed_its_place(house: House) -> None:
    house.put("a1", "b1", "a2")
    first = house.consume(CLIENT_INDIVIDUAL, wants=starting_with("a"))
    second = house.consume(CLIENT_INDIVIDUAL)
    house.settle()
    assert (first.bodies(), second.bodies()) == (["a1", "a2"], ["b1"])
    first.close()
    house.settle()
    assert second.bodies() == ["a1", "a2"]


def test_what_was_given_back_does_not_overtake_what_is_more_urgent(house: House) -> None:
    first = house.consume(CLIENT_INDIVIDUAL, 2, wants=starting_with("a"))
    house.put("a low", priority=0)
    house.put("a middle")
    second = house.consume(CLIENT_INDIVIDUAL, 5, wants=starting_with("a"))
    second.pause()
    house.put("a high", priority=9)
    first.close()
    second.resume()
    house.settle()
    assert second.bodies() == ["a high", "a middle", "a low"]


def test_who_has_missed_too_much_rather_goes_back(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(walk_module, "MISSED", 3)
    house.put(*map(str, range(10)))
    first = house.consume(CLIENT_INDIVIDUAL)
    second = house.consume(CLIENT_INDIVIDUAL, 4, wants=lambda message: True)
    second.pause()
    house.put(*map(str, range(10, 20)))
    house.settle()
    second.resume()
    first.close()
    house.settle()
    for _ in range(5):
        second.ack_all()
        house.settle()
    assert second.bodies() == [*map(str, range(20))]


def test_plain_consumers_are_served_as_before_when_nobody_chooses_any_more(
    house: House, window: None
) -> None:
    house.put(*map(str, range(40)))
    house.write()
    picky = house.consume(CLIENT_INDIVIDUAL, wants=lambda message: message.seq % 2 == 0)
    house.settle()
    assert len(picky.bodies()) == 20
    plain = house.consume(CLIENT_INDIVIDUAL, 1)
    picky.close()
    house.settle()
    for _ in range(40):
        plain.ack_all()
        house.go_on()
    assert plain.bodies() == [*map(str, range(40))]
    assert house.queue() in house.broker.choosing  # some were taken from beyond the window
    house.settle()
    house.write()
    assert not house.broker.choosing


def test_those_who_leave_together_are_not_served_in_between(house: House) -> None:
    picky = house.consume(CLIENT_INDIVIDUAL, wants=starting_with("a"))
    plain = house.consume(CLIENT_INDIVIDUAL)
    plain.pause()
    house.put("b")
    plain.paused = False
    for consumer in (picky, plain):
        consumer.stop()
    for consumer in (picky, plain):
        consumer.close()
    house.settle()
    assert plain.bodies() == []


# --- ranks, and one exclusively ---------------------------------------------------------------------


def test_the_higher_rank_first_and_the_lower_one_when_it_has_enough(house: House) -> None:
    low = house.consume(CLIENT_INDIVIDUAL, 5, rank=-1)
    high = house.consume(CLIENT_INDIVIDUAL, 2, rank=10)
    house.put(*map(str, range(5)))
    assert (high.bodies(), low.bodies()) == (["0", "1"], ["2", "3", "4"])
    high.ack_all()
    house.put("5")
    assert (high.bodies(), low.bodies()) == (["5"], [])


def test_the_lower_rank_gets_what_the_higher_does_not_want(house: House, window: None) -> None:
    house.put(*[f"{'a' if number % 10 == 9 else 'b'}{number}" for number in range(100)])
    house.write()
    low = house.consume()
    house.queue().rest(low)
    high = house.consume(wants=starting_with("a"), rank=1)
    house.settle()
    assert len(high.bodies()) + len(low.bodies()) == 100


def test_the_lower_rank_does_not_take_what_the_higher_is_on_its_way_to(
    house: House, window: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that looks has not come to the message yet; it is served when it has."""
    monkeypatch.setattr(picking_module, "ONE_GO", 20)
    house.put(*[f"b{number}" for number in range(100)], "a")
    house.write()
    high = house.consume(wants=starting_with("a"), rank=1)
    low = house.consume(wants=starting_with("a"))
    house.settle()
    assert (high.bodies(), low.bodies()) == (["a"], [])


def test_what_the_lower_rank_leaves_it_gets_when_the_higher_has_enough(
    house: House, window: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if it was given back, and the lower one had passed its place before."""
    monkeypatch.setattr(picking_module, "ONE_GO", 20)
    monkeypatch.setattr(picking_module, "ONE_TURN", 5)
    low = house.consume(CLIENT_INDIVIDUAL, 2, wants=starting_with("m"))
    house.put("m", "x")
    house.put(*["b"] * 100, "a", priority=9)
    house.write()
    house.settle()
    high = house.consume(CLIENT_INDIVIDUAL, 1, wants=lambda m: m.tail in (b"m", b"a"), rank=1)
    low.nack(key(1), requeue=True)
    house.settle()
    assert (high.bodies(), low.bodies()) == (["a"], ["m", "m"])


def test_equals_take_turns(house: House) -> None:
    one, two = house.consume(rank=1), house.consume(rank=1)
    house.put(*map(str, range(6)))
    assert (one.bodies(), two.bodies()) == (["0", "2", "4"], ["1", "3", "5"])


def test_one_consumer_exclusively_until_it_goes(house: House) -> None:
    first = house.consume(CLIENT_INDIVIDUAL, 2, exclusive=True)
    second = house.consume(CLIENT_INDIVIDUAL, exclusive=True)
    other = house.consume()
    house.put(*map(str, range(4)))
    assert (first.bodies(), second.bodies(), other.bodies()) == (["0", "1"], [], [])
    first.close()
    house.settle()
    assert (second.bodies(), other.bodies()) == (["0", "1", "2", "3"], [])
    second.close()
    house.settle()
    assert other.bodies() == ["0", "1", "2", "3"]


def test_of_exclusive_consumers_the_one_of_the_highest_rank(house: House) -> None:
    first = house.consume(exclusive=True)
    house.put("1")
    higher = house.consume(exclusive=True, rank=1)
    house.put("2")
    assert (first.bodies(), higher.bodies()) == (["1"], ["2"])


# --- groups -----------------------------------------------------------------------------------------


def test_a_group_stays_with_its_consumer(house: House) -> None:
    one, two = house.consume(CLIENT_INDIVIDUAL, 2), house.consume(CLIENT_INDIVIDUAL, 9)
    put_group(house, "g", "g1", "g2", "g3")
    put_group(house, "h", "h1", "h2", "h3")
    assert (one.bodies(), two.bodies()) == (["g1", "g2"], ["h1", "h2", "h3"])
    one.ack_all()
    assert one.bodies() == ["g3"]


def test_who_goes_leaves_its_groups_to_others(house: House) -> None:
    one, two = house.consume(CLIENT_INDIVIDUAL, 2), house.consume(CLIENT_INDIVIDUAL, 9)
    put_group(house, "g", "g1", "g2", "g3", "g4")
    assert (one.bodies(), two.bodies()) == (["g1", "g2"], [])
    one.close()
    house.settle()
    assert two.bodies() == ["g1", "g2", "g3", "g4"]


def test_a_group_that_is_closed_goes_to_whoever_had_passed_the_rest_of_it(house: House) -> None:
    one, two = house.consume(CLIENT_INDIVIDUAL, 2), house.consume(CLIENT_INDIVIDUAL, 9)
    put_group(house, "g", "g1")
    put_group(house, "h", "h1")
    put_group(house, "g", "g2")
    put_group(house, "g", "g3", last=True)
    put_group(house, "g", "g4", "g5")
    assert (one.bodies(), two.bodies()) == (["g1", "g2"], ["h1"])
    one.ack(key(1))
    house.settle()
    assert (one.bodies(), two.bodies()) == (["g3"], ["g4", "g5"])


def test_what_was_passed_and_what_was_given_back_come_in_order(house: House) -> None:
    """A consumer that goes back because a group is free meets what it had missed on its way."""
    one, two = house.consume(CLIENT_INDIVIDUAL, 1), house.consume(CLIENT_INDIVIDUAL, 1)
    three = house.consume(CLIENT_INDIVIDUAL, 1)
    put_group(house, "g", "g1", "g2")
    house.put("3", "4")
    assert (one.bodies(), two.bodies(), three.bodies()) == (["g1"], ["3"], ["4"])
    two.ack_all()
    put_group(house, "g", "g5")
    for consumer in (two, three):
        consumer.pause()
    three.nack(key(4), requeue=True)
    one.close()
    two.resume()
    for _ in range(4):
        house.settle()
        two.ack_all()
    assert two.bodies() == ["g1", "g2", "4", "g5"]


def test_what_its_owner_has_yet_to_see_again_is_free_with_the_group(house: House) -> None:
    """The group is closed by a more urgent message, before its owner comes to the one given back."""
    one, two = house.consume(CLIENT_INDIVIDUAL, 2), house.consume(CLIENT_INDIVIDUAL, 3)
    put_group(house, "g", "g1")
    put_group(house, "h", "h2", "h3", "h4", "h5")
    put_group(house, "g", "g6")
    assert (one.bodies(), two.bodies()) == (["g1", "g6"], ["h2", "h3", "h4"])
    one.pause()
    one.nack(key(1), requeue=True)
    two.ack_all()
    assert two.bodies() == ["h5"]
    message = house.message("g7", priority=9)
    message.mark().group = "g"
    message.mark().closes_group = True
    house.queue().put(message)
    one.resume()
    house.settle()
    assert (one.bodies(), two.bodies()) == (["g7"], ["g1"])


def test_what_is_given_back_of_a_group_again_and_again_is_not_all_remembered(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And whoever gets the group next misses none of it."""
    monkeypatch.setattr(walk_module, "MISSED", 3)
    one, two = house.consume(CLIENT_INDIVIDUAL, 1), house.consume(CLIENT_INDIVIDUAL)
    put_group(house, "g", "1")
    for number in range(2, 20):
        put_group(house, "g", f"{number}")
        house.settle()
        one.ack_all()
        house.settle()
        one.pause()  # so that the other looks first
        one.nack(key(number), requeue=True)
        house.settle()
        one.resume()
        house.settle()
    picker = house.queue()._picker
    assert picker is not None
    assert len(picker._groups["g"]._missed) <= 3
    assert one.bodies() == ["1", *[f"{number}" for number in range(2, 20) for _ in range(2)]]
    one.pause()
    one.nack(key(19), requeue=True)
    put_group(house, "g", "20")
    house.settle()
    one.close()
    house.settle()
    assert (one.bodies(), two.bodies()) == ([], ["19", "20"])


def test_the_first_message_of_a_group_for_a_consumer_says_so(house: House) -> None:
    firsts = []

    def note_first(message: Message) -> str:
        assert message.extra is not None
        firsts.append(message.extra.first_of_group)
        return key(message.seq)

    queue = house.queue()
    consumer = Subscription(queue, AUTO, 1, note_first)
    queue.join(consumer)
    queue.feed(consumer)
    put_group(house, "g", "g1", "g2", last=True)
    put_group(house, "g", "g3")
    assert firsts == [True, False, True]


def test_a_group_with_a_backlog(house: House, window: None) -> None:
    """What is read from the store is shared out like what comes; no group is at two consumers."""
    one, two = house.consume(CLIENT_INDIVIDUAL, 3), house.consume(CLIENT_INDIVIDUAL, 3)
    for number in range(60):
        put_group(house, "gh"[number % 2], f"{'gh'[number % 2]}{number}")
    house.write()
    got: list[list[str]] = [[], []]
    for _ in range(30):
        house.settle()
        for consumer, bodies in zip((one, two), got, strict=True):
            bodies += consumer.bodies()
            consumer.ack_all()
    assert sorted(got) == [
        [f"g{number}" for number in range(0, 60, 2)],
        [f"h{number}" for number in range(1, 60, 2)],
    ]


def test_the_group_that_was_used_longest_ago_is_forgotten(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(picking_module, "GROUPS", 2)
    one, two = house.consume(CLIENT_INDIVIDUAL, 1), house.consume(CLIENT_INDIVIDUAL, 9)
    put_group(house, "g", "g1")
    put_group(house, "g", "g2")
    assert (one.bodies(), two.bodies()) == (["g1"], [])
    put_group(house, "h", "h1")
    put_group(house, "i", "i1")
    house.settle()
    assert two.bodies() == ["h1", "i1", "g2"]


def test_closing_a_group_does_not_send_others_to_look_at_everything_again(
    house: House, window: None
) -> None:
    """A backlog of small groups, each closed: what is read of the store grows with the backlog."""
    rows = 0
    read = house.store.read

    def read_counted(
        queue: int, priority: int, after: int, count: int, size: int
    ) -> list[tuple[int, bytes, bytes]]:
        nonlocal rows
        found = read(queue, priority, after, count, size)
        rows += len(found)
        return found

    for number in range(1000):
        put_group(house, f"g{number}", "1", "2", "3", last=True)
    house.write()
    consumers = [house.consume(CLIENT_INDIVIDUAL, 2) for _ in range(3)]
    got = 0
    while got < 3000:
        while house.broker.again:
            house.broker.go_on(read_counted)
        for consumer in consumers:
            got += len(consumer.bodies())
            consumer.ack_all()
    assert rows < 10 * 3000
