"""No promise leaves the house before it is on disk; who writes too fast waits; time does not stand still."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import cast

import pytest

from broker.agenda import Agenda
from broker.connection import Connection
from broker.core.broker import Broker
from broker.core.message import Message
from broker.core.queue import Queue
from broker.options import Options
from broker.reception import Host
from broker.stomp import Frame, Parser
from broker.store import Store, StoreSettings, Writes
from broker.store.failing import FailingStore
from broker.store.memory import MemoryStore
from broker.store.writer import Done, InlineWriter
from broker.turn import Turn
from tests.outside import outside

JOURNAL_BYTES = 1000
JOURNAL_DELAY = 10.0  # seconds


class SlowWriter:
    """Writes when the test says that the disk is ready."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.work: list[tuple[Writes, Done]] = []
        self.stopped = False

    def write(self, batch: Writes, done: Done) -> None:
        """Take a batch, one at a time."""
        assert not self.work
        assert not self.stopped
        self.work.append((batch, done))

    def write_now(self) -> Done:
        """Make it durable; return what tells the broker."""
        batch, done = self.work.pop()
        self._store.write(batch)
        return done

    def stop(self) -> None:
        """Wait for what is being written; whoever is told of it hears it too late."""
        self.stopped = True
        if self.work:
            self.write_now()


class Listener:
    """What a turn knows of a connection."""

    def __init__(self, turn: Turn, heard: list[str], name: str = "") -> None:
        self._turn = turn
        self._out: list[bytes] = []
        self._heard = heard
        self._name = name
        self.reading = True

    def say(self, data: bytes) -> None:
        if not self._out:
            self._turn.dirty.append(self.connection)
        self._out.append(data)

    def flush(self) -> None:
        self._heard.extend(self._name + data.decode() for data in self._out)
        self._out.clear()

    def close(self) -> None:
        self.flush()
        self._heard.append(self._name + "closed")

    def pause_reading(self) -> None:
        assert self.reading
        self.reading = False

    def resume_reading(self) -> None:
        assert not self.reading
        self.reading = True

    @property
    def connection(self) -> Connection:
        """Itself, as the turn takes it."""
        return cast(Connection, self)


class House:
    """A turn between a core and a store, with nothing that happens by itself."""

    def __init__(self, store: Store | None = None, *, slow: bool = True) -> None:
        self.store = store or MemoryStore(StoreSettings())
        self.broker = Broker(outside())
        self.broker.load(self.store.load(), self.store.read)
        self.writer = SlowWriter(self.store)
        self.alarms: list[float] = []
        self.agenda = Agenda(self.alarms.append)
        self.soon: list[Callable[[], None]] = []
        self.heard: list[str] = []
        self.failures: list[BaseException] = []
        inline = InlineWriter(self.store, self.failures.append)
        self.turn = Turn(
            self.broker,
            self.store,
            lambda: self.writer if slow else inline,
            self.agenda,
            JOURNAL_BYTES,
            JOURNAL_DELAY,
            self.soon.append,
            self.failures.append,
        )
        self.listener = Listener(self.turn, self.heard)
        self.now = 0.0

    def wake(self, seconds: float) -> None:
        """Time has passed and the alarm rings."""
        self.begin(seconds)
        self.agenda.run(self.now)
        self.end()

    @property
    def queue(self) -> Queue:
        return self.broker.routes.queue("a")

    def begin(self, seconds: float = 1.0) -> None:
        """Something has come; time has passed."""
        self.now += seconds
        self.turn.begin(self.now, 1_000_000 + self.now)

    def end(self) -> None:
        """Everything that was ready has been read."""
        soon = self.soon.copy()
        self.soon.clear()
        for call in soon:
            call()

    def put(self, size: int = 1) -> None:
        """Send a durable message that waits."""
        seq = self.broker.next_seq
        self.broker.next_seq += 1
        self.queue.put(Message(seq, b"x" * size, True))

    def promise(self, data: str, *, last: bool = False) -> None:
        self.turn.promise(self.listener.connection, data.encode(), last)


@pytest.fixture
def house() -> House:
    return House()


# --- promises -------------------------------------------------------------------------------------


def test_a_receipt_waits_for_the_write(house: House) -> None:
    house.begin()
    house.put()
    house.promise("receipt")
    house.end()
    assert house.heard == []
    done = house.writer.write_now()
    assert house.heard == []
    done()
    house.end()
    assert house.heard == ["receipt"]


def test_with_nothing_to_write_it_leaves_at_once(house: House) -> None:
    """What was consumed before it was written is done."""
    house.begin()
    house.promise("receipt")
    house.end()
    assert house.heard == ["receipt"]
    assert not house.writer.work


def test_messages_do_not_wait(house: House) -> None:
    house.begin()
    house.put()
    house.listener.say(b"message")
    house.promise("receipt")
    house.end()
    assert house.heard == ["message"]


def test_one_batch_at_a_time_and_the_next_has_everything_since(house: House) -> None:
    house.begin()
    house.put()
    house.promise("1")
    house.end()
    for number in (2, 3):
        house.begin()
        house.put()
        house.promise(f"{number}")
        house.end()
    house.writer.write_now()()
    house.end()
    assert house.heard == ["1"]
    [(batch, _)] = house.writer.work
    assert [put[2] for put in batch.puts] == [2, 3]
    house.writer.write_now()()
    house.end()
    assert house.heard == ["1", "2", "3"]
    assert not house.writer.work


def test_promises_without_a_write_stay_behind_those_with_one(house: House) -> None:
    """A client hears its receipts in the order of its frames."""
    house.begin()
    house.put()
    house.promise("1")
    house.end()
    house.begin()
    house.promise("2")
    house.end()
    assert house.heard == []
    house.writer.write_now()()
    house.end()
    assert house.heard == ["1", "2"]


def test_the_last_word_closes_once_all_before_it_is_said(house: House) -> None:
    other = Listener(house.turn, house.heard, "other ")
    house.begin()
    house.put()
    house.promise("receipt")
    house.promise("goodbye", last=True)
    house.turn.promise(other.connection, b"receipt")
    house.end()
    assert house.heard == []
    house.writer.write_now()()
    house.end()
    assert house.heard == ["receipt", "goodbye", "closed", "other receipt"]


def test_a_store_that_does_not_block_needs_no_second_turn() -> None:
    house = House(slow=False)
    house.begin()
    house.put()
    house.promise("receipt")
    house.end()
    assert house.heard == ["receipt"]


def test_queues_are_served_from_the_store_at_the_end_of_a_turn(house: House) -> None:
    got: list[int] = []

    class Consumer:
        """Enough of a queue to be asked."""

        def go_on(self, read: object) -> None:
            got.append(1)

    house.broker.again[cast(Queue, Consumer())] = None
    house.begin()
    house.end()
    assert got == [1]
    assert not house.broker.again


# --- what nobody waits for ------------------------------------------------------------------------


def test_what_nobody_waits_for_is_written_after_a_while(house: House) -> None:
    """It may be consumed before, and then it need not be written at all."""
    house.begin()
    house.put()
    house.end()
    assert not house.writer.work
    assert house.alarms == [1.0 + JOURNAL_DELAY]
    house.begin(JOURNAL_DELAY - 1)
    house.put()
    house.end()
    assert not house.writer.work
    house.wake(2)
    [(batch, _)] = house.writer.work
    assert [put[2] for put in batch.puts] == [1, 2]


def test_the_first_promise_takes_everything_along(house: House) -> None:
    house.begin()
    house.put()
    house.end()
    house.begin()
    house.promise("receipt")
    house.end()
    assert len(house.writer.work) == 1
    assert house.heard == []


def test_every_while_begins_with_what_came_after_the_write(house: House) -> None:
    house.begin()
    house.put()
    house.promise("receipt")
    house.end()
    house.begin()
    house.put()
    house.end()
    house.writer.write_now()()
    house.end()
    assert not house.writer.work
    house.wake(JOURNAL_DELAY - 1)
    assert not house.writer.work
    house.wake(2)
    assert len(house.writer.work) == 1


def test_a_queue_that_waits_for_the_disk_does_not_wait_for_a_promise(house: House) -> None:
    house.begin()
    house.put()
    house.broker.starving[house.queue] = None
    house.end()
    assert len(house.writer.work) == 1


# --- time -----------------------------------------------------------------------------------------


class Insatiable:
    """A queue that always wants another go."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def go_on(self, read: object) -> None:
        self._broker.again[cast(Queue, self)] = None


def test_a_turn_has_one_time_and_ends_once(house: House) -> None:
    house.begin()
    house.turn.begin(99.0, 99.0)
    assert house.turn.now == 1.0
    assert house.broker.now == 1_000_001_000
    assert len(house.soon) == 1


def test_time_goes_on_while_a_long_queue_is_drained(house: House) -> None:
    """Every turn asks for another; clients that are heard meanwhile must not seem dead afterwards."""
    house.broker.again[cast(Queue, Insatiable(house.broker))] = None
    for turn in range(1, 4):
        house.begin()
        assert house.turn.now == turn
        assert len(house.soon) == 1
        house.end()


def test_time_goes_on_after_a_write(house: House) -> None:
    house.begin()
    house.put()
    house.promise("receipt")
    house.end()
    house.writer.write_now()()
    house.begin(5.0)
    assert house.turn.now == 6.0
    assert len(house.soon) == 1


# --- pressure -------------------------------------------------------------------------------------


def test_who_adds_too_much_waits_for_the_disk(house: House) -> None:
    house.begin()
    house.put()
    house.end()
    house.begin()
    house.put(JOURNAL_BYTES)
    house.turn.check_pressure(house.listener.connection)
    assert not house.listener.reading
    house.end()
    assert not house.listener.reading
    house.writer.write_now()()
    assert house.listener.reading


def test_who_adds_nothing_is_heard(house: House) -> None:
    producer, consumer = house.listener, Listener(house.turn, house.heard)
    house.begin()
    house.put(JOURNAL_BYTES)
    house.turn.check_pressure(producer.connection)
    house.turn.check_pressure(consumer.connection)
    assert (producer.reading, consumer.reading) == (False, True)


def test_below_the_limit_nobody_waits(house: House) -> None:
    house.begin()
    house.put(JOURNAL_BYTES // 2)
    house.turn.check_pressure(house.listener.connection)
    assert house.listener.reading


def test_who_waits_goes_on_when_there_is_nothing_left_to_write(house: House) -> None:
    """Everything was consumed in the same turn: no write will come that could wake anybody."""
    house.begin()
    message = Message(1, b"x" * JOURNAL_BYTES, True)
    house.broker.journal.put(1, message)
    house.turn.check_pressure(house.listener.connection)
    assert not house.listener.reading
    house.broker.journal.delete(1, message)
    house.end()
    assert house.listener.reading


def test_room_is_asked_for_after_every_write(house: House) -> None:
    room = house.broker.journal.room
    house.begin()
    house.put(500)
    house.promise("receipt")
    house.end()
    house.put(100)
    house.writer.write_now()()
    assert house.broker.journal.room < room - 600
    assert house.broker.journal.waiting >= 100


# --- the end --------------------------------------------------------------------------------------


def test_finish_writes_everything_and_keeps_every_promise_in_order(house: House) -> None:
    for number in (1, 2):
        house.begin()
        house.put()
        house.promise(f"{number}")
        house.end()
    house.begin()
    house.promise("3", last=True)
    house.turn.finish()
    assert house.heard == ["1", "2", "3", "closed"]
    assert [row[0] for row in house.store.read(1, 4, 0, 9, 99)] == [1, 2]
    house.end()
    assert house.heard == ["1", "2", "3", "closed"]


def test_a_write_that_is_told_after_the_end_is_no_second_promise(house: House) -> None:
    house.begin()
    house.put()
    house.promise("1")
    house.end()
    [(_, done)] = house.writer.work
    house.turn.finish()
    done()
    house.end()
    assert house.heard == ["1"]


def test_after_the_end_the_store_is_left_alone(house: House) -> None:
    """It may be closed by then, while the last links go: nothing is read, written or promised any more."""
    asked: list[str] = []

    class Reader:
        def go_on(self, read: object) -> None:
            asked.append("to read")

    house.begin()
    house.turn.finish()
    house.broker.again[Reader()] = None
    house.begin()
    house.put()
    house.promise("late")
    house.end()
    assert (asked, house.writer.work, house.heard) == ([], [], [])


@pytest.mark.parametrize("fail_at", [1, 2])
def test_finish_promises_nothing_when_the_disk_fails(fail_at: int) -> None:
    """Be it the batch on the way or the one after it."""
    house = House(FailingStore(MemoryStore(StoreSettings()), fail_at))
    for number in (1, 2):
        house.begin()
        house.put()
        house.promise(f"{number}")
        house.end()
    with pytest.raises(OSError, match="Input/output error"):
        house.turn.finish()
    assert len(house.failures) == 1
    assert house.heard == []


def test_a_store_that_cannot_read_ends_the_broker() -> None:
    """Its messages would be skipped."""
    store = FailingStore(MemoryStore(StoreSettings()), 2)
    house = House(store)

    class Reader:
        def go_on(self, read: Callable[..., object]) -> None:
            read(1, 4, 0, 1, 1)

    store.writes = 2
    house.broker.again[cast(Queue, Reader())] = None
    house.begin()
    with pytest.raises(OSError, match="Input/output error"):
        house.end()
    assert len(house.failures) == 1


# --- the whole of it, with connections ------------------------------------------------------------


class Line:
    """A transport that keeps what a client has heard."""

    def __init__(self) -> None:
        self._parser = Parser()
        self._parser.version = "1.2"
        self.frames: list[Frame] = []

    def write(self, data: bytes) -> None:
        self.frames += self._parser.feed(data)

    def pause_reading(self) -> None:
        """The test asks for no more than fits."""

    def resume_reading(self) -> None:
        """As before."""

    def close(self) -> None:
        """Nobody hangs up here."""

    abort = close


class Dead(Exception):
    """The broker has ended."""


@pytest.mark.parametrize("kept", [False, True], ids=["lost", "kept"])
@pytest.mark.parametrize("fail_at", range(1, 13))
def test_whatever_was_confirmed_is_true_after_a_failure(fail_at: int, kept: bool) -> None:
    """The disk fails at write number n; what clients were told is on it, for sends and acknowledgements.

    The broker dies in the moment it learns of the failure. Then: every message with a RECEIPT for its SEND
    and without an ACK is there, no message with a RECEIPT for its ACK is.
    """
    inner = MemoryStore(StoreSettings())
    house = House(FailingStore(inner, fail_at, kept=kept))
    lines = [Line(), Line()]
    producer, consumer = (
        Connection(Host(house.broker, house.turn, Options(), b"id-", house.agenda), "session", line)
        for line in lines
    )
    for connection in (producer, consumer):
        house.begin()
        connection.data(Frame("CONNECT", {"accept-version": "1.2", "host": "here"}).encode("1.0"))
    subscribe = {"destination": "/queue/a", "id": "1", "ack": "client-individual"}
    consumer.data(Frame("SUBSCRIBE", {**subscribe, "prefetch-count": "3"}).encode("1.2"))
    house.end()
    choose = random.Random(fail_at)
    sent, acknowledged = 0, 0
    try:
        while True:
            house.begin()
            for _ in range(choose.randrange(4)):
                sent += 1
                headers = {"destination": "/queue/a", "receipt": f"sent {sent}"}
                producer.data(Frame("SEND", headers, b"%d" % sent).encode("1.2"))
            messages = [frame for frame in lines[1].frames if frame.command == "MESSAGE"]
            for frame in messages[acknowledged:][: choose.randrange(4)]:
                acknowledged += 1
                headers = {"id": frame.headers["ack"], "receipt": f"done {frame.body.decode()}"}
                consumer.data(Frame("ACK", headers).encode("1.2"))
            house.end()
            if house.writer.work and choose.random() < 0.7:
                try:
                    done = house.writer.write_now()
                except OSError as error:
                    raise Dead from error
                done()
            assert sent < 1000
    except Dead:
        pass
    told = {
        frame.headers["receipt-id"]
        for line in lines
        for frame in line.frames
        if frame.command == "RECEIPT"
    }
    assert bool(told) or fail_at == 1
    rows = inner.read(1, 4, 0, 1 << 20, 1 << 30)
    there = {int(tail.rpartition(b"\n\n")[2].rstrip(b"\0\n")) for _, _, tail in rows}
    for receipt in told:
        verb, _, number = receipt.partition(" ")
        if verb == "done":
            assert int(number) not in there
        elif int(number) not in there:
            assert int(number) <= acknowledged
