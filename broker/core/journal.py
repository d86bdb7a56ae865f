"""What must be on disk before the next promise leaves the house.

The core does not store: it writes its intentions down here, and once a turn they go to the store as one
atomic batch. Three rules make it cheap:

1. What is acknowledged before it was written is never written: a PUT that still waits here and its DEL
   cancel each other.
2. A queue is made known to the store with the first message that goes to disk for it, so that queues
   whose messages are consumed as they come leave no trace. One that is to survive a restart even while
   it is empty is made known by `keep`.
3. What changes with every message but matters only as it is in the end (how far a durable subscription has
   got) is a *mark*: it is encoded when the batch is taken, once, however often it changed.

`room` is the store's word on how many bytes it can still take; PUTs count against it at once, so that
producers are refused before the disk is full, and acknowledgements always find space.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from broker.core.message import Message

DELETES = 20_000  # records to delete that may wait here before backlogs are read on
OVERHEAD = 128  # bytes that a record takes beside its tail; an estimate on the safe side


@dataclass(slots=True)
class Memory:
    """What messages that never go to disk, or not yet, may still occupy."""

    room: int  # bytes
    reserve: int  # of these, bytes that slow subscribers of topics leave to others
    withheld: int = 0  # bytes taken off the room for now

    def withhold(self, size: int) -> None:
        """Take so many bytes off the room, instead of those until now."""
        self.room += self.withheld - size
        self.withheld = size


@dataclass(slots=True)
class Batch:
    """A journal on its way to the disk: all of it or nothing. Numbers, names and bytes only."""

    next_seq: int = 0
    #: queues to make known: number, name
    queues: list[tuple[int, str]] = field(default_factory=list)
    #: queues to forget, empty ones
    dropped: list[int] = field(default_factory=list)
    #: new records: queue, priority, seq, meta, tail
    puts: list[tuple[int, int, int, bytes, bytes]] = field(default_factory=list)
    #: records whose meta changed; the tail is as it was
    updates: list[tuple[int, int, int, bytes, bytes]] = field(default_factory=list)
    #: records to delete: queue, priority, seq, length of the tail
    deletes: list[tuple[int, int, int, int]] = field(default_factory=list)
    #: small values under names of their own: key, value, None to forget it; every key once
    marks: list[tuple[bytes, bytes | None]] = field(default_factory=list)


class Journal:
    """Collects what the core wants kept, until `take`."""

    __slots__ = (
        "_deletes",
        "_dropped",
        "_kept",
        "_marks",
        "_names",
        "_puts",
        "_queues",
        "_room_at_take",
        "_updates",
        "room",
        "withheld",
    )

    def __init__(self) -> None:
        self.room = 0  # bytes that the store can still take, what waits here taken off
        self.withheld = 0  # bytes taken off that for now
        self._room_at_take = 0  # what it was when nothing waited here
        self._puts: dict[int, tuple[int, Message]] = {}  # seq → queue number, message
        self._updates: dict[int, tuple[int, Message]] = {}
        self._deletes: list[tuple[int, int, int, int]] = []
        self._queues: set[int] = set()  # that the store knows
        self._names: dict[int, str] = {}  # of queues that the store does not know yet
        self._dropped: list[int] = []
        self._kept: set[int] = set()  # queues to make known though they are empty
        self._marks: dict[bytes, Callable[[], bytes | None]] = {}

    def __bool__(self) -> bool:
        """True when there is something to write."""
        return bool(
            self._puts
            or self._deletes
            or self._updates
            or self._marks
            or self._dropped
            or self._kept
        )

    @property
    def waiting(self) -> int:
        """Bytes that wait here, roughly."""
        return self._room_at_take - self.room

    @property
    def crowded(self) -> bool:
        """True when so much was consumed that the disk should catch up before more is read from it."""
        return len(self._deletes) > DELETES

    def set_room(self, room: int) -> None:
        """The store says what it can take after a write."""
        waiting = self.waiting
        self._room_at_take = room - self.withheld
        self.room = self._room_at_take - waiting

    def withhold(self, size: int) -> None:
        """Take so many bytes off the room, instead of those until now."""
        change = self.withheld - size
        self.room += change
        self._room_at_take += change
        self.withheld = size

    def known(self, queue: int) -> None:
        """The store holds this queue already."""
        self._queues.add(queue)

    def name(self, queue: int, name: str) -> None:
        """Note a queue's name, for when its first message goes to disk."""
        self._names[queue] = name

    def keep(self, queue: int) -> None:
        """Make a queue that has a `name` known to the store, though no message of it goes to disk."""
        if queue not in self._queues:
            self._kept.add(queue)

    def drop(self, queue: int) -> None:
        """Forget an empty queue."""
        self._names.pop(queue, None)
        self._kept.discard(queue)
        if queue in self._queues:
            self._queues.discard(queue)
            self._dropped.append(queue)

    def put(self, queue: int, message: Message) -> None:
        """Keep a message."""
        self.room -= len(message.tail) + OVERHEAD
        self._puts[message.seq] = (queue, message)

    def update(self, queue: int, message: Message) -> None:
        """Keep what changed about a message that is kept already."""
        if message.seq not in self._puts:  # else it will be written as it is now
            self._updates[message.seq] = (queue, message)

    def delete(self, queue: int, message: Message) -> None:
        """Keep a message no longer."""
        seq = message.seq
        if self._puts.pop(seq, None) is None:
            self._deletes.append((queue, message.priority, seq, len(message.tail)))
            if self._updates:
                self._updates.pop(seq, None)
        else:
            self.room += len(message.tail) + OVERHEAD

    def holds(self, seq: int) -> bool:
        """Tell whether a message waits here to be kept."""
        return seq in self._puts

    def mark(self, key: bytes, value: Callable[[], bytes | None]) -> None:
        """Keep a small value under a name (at most 400 bytes): what `value` returns at the next `take`.

        None forgets it. The value is written in one piece, and all are in memory at a start: some 60 KB are
        usual, 1 MB is the most. It takes nothing off `room`, because it mostly replaces its predecessor.
        """
        self._marks[key] = value

    def take(self, next_seq: int) -> Batch:
        """Return everything collected, as one batch, and begin anew."""
        puts, self._puts = self._puts, {}
        updates, self._updates = self._updates, {}
        marks, self._marks = self._marks, {}
        kept, self._kept = self._kept, set()
        batch = Batch(next_seq, dropped=self._dropped, deletes=self._deletes)
        self._deletes, self._dropped = [], []
        self._room_at_take = self.room
        for queue in ({queue for queue, _ in puts.values()} | kept) - self._queues:
            batch.queues.append((queue, self._names.pop(queue)))
            self._queues.add(queue)
        batch.puts = [record(queue, message) for queue, message in puts.values()]
        batch.updates = [record(queue, message) for queue, message in updates.values()]
        batch.marks = [(key, value()) for key, value in marks.items()]
        return batch


def record(queue: int, message: Message) -> tuple[int, int, int, bytes, bytes]:
    """Return a message as the store keeps it."""
    return queue, message.priority, message.seq, message.meta(), message.tail
