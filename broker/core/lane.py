"""A lane: a queue's messages of one priority, oldest first, some of them in memory and the rest in the store.

    head: seq 1 2 3 … edge | in the store or on the way there: `behind` messages, seq > edge
                           | `aside`: messages newer than edge that are in memory: those that never go
                           |          to disk, and those that a consumer took from there and gave back

Sequence numbers grow with the order of the journal, hence of the disk: whatever a lane has not read yet
is newer than its edge, also what is not committed yet. That is why one number is enough.

Consumers who take all messages in order take from the head, and `refill` moves the edge. Those who choose
look past it: `after` returns what follows a place, without keeping it, and `take` takes one out. What was
taken from beyond the edge is remembered (`apart`) until the edge has passed it or it is no longer in the store.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable
from itertools import chain, islice

from broker.core.message import Message

#: Reads records of a lane from the store: (queue, priority, after seq, at most, bytes at most).
Read = Callable[[int, int, int, int, int], list[tuple[int, bytes, bytes]]]

WINDOW = 1000  # messages of a lane that are kept in memory
WINDOW_BYTES = 4 * 1024 * 1024  # bytes of them
NEVER = 1 << 63  # a moment that does not come


class Lane:
    """The messages of one priority."""

    __slots__ = (
        "apart",
        "aside",
        "behind",
        "bytes",
        "edge",
        "head",
        "last",
        "priority",
        "soonest",
    )

    def __init__(self, priority: int, behind: int = 0, last: int = -1) -> None:
        """`behind` messages are in the store already, none of them newer than `last`."""
        self.priority = priority
        self.head: deque[Message] = deque()
        self.bytes = 0  # of the tails in head
        self.behind = behind  # messages that are only in the store or on the way there
        self.edge = -1  # while behind: seq that all durable messages in memory are at or below
        self.aside: deque[Message] = deque()  # in memory, newer than edge
        # No message expires before, in milliseconds since 1970; 0: nobody has looked.
        self.soonest = 0 if behind else NEVER
        self.last = last  # seq of the newest
        self.apart: set[int] = set()  # taken from beyond the edge, and perhaps still in the store

    def put(self, message: Message) -> None:
        """Add the newest message."""
        self.last = message.seq
        if message.expires:
            self.expects(message)
        if not self.behind and (
            not message.durable or (len(self.head) < WINDOW and self.bytes < WINDOW_BYTES)
        ):
            self.head.append(message)
            self.bytes += len(message.tail)
        elif message.durable:
            if not self.behind:  # all older ones were in memory, though perhaps not in head
                self.edge = message.seq - 1
            self.behind += 1
        else:
            self.aside.append(message)

    def put_back(self, messages: list[Message]) -> None:
        """Return messages, sorted by seq, to their places in memory."""
        for message in messages:
            self.expects(message)
        if self.behind and messages[-1].seq > self.edge:
            beyond = [message for message in messages if message.seq > self.edge]
            self.aside = deque(sorted([*self.aside, *beyond], key=sequence))
            messages = messages[: -len(beyond)]
            if not messages:
                return
        head = self.head
        passed = []
        newest = messages[-1].seq
        while head and head[0].seq < newest:
            passed.append(head.popleft())
        head.extendleft(sorted(passed + messages, key=sequence, reverse=True))
        self.bytes += sum(len(message.tail) for message in messages)

    @property
    def low(self) -> bool:
        """True when the window should be refilled."""
        return self.behind > 0 and len(self.head) < WINDOW // 2 and self.bytes < WINDOW_BYTES // 2

    def refill(self, queue: int, read: Read, suspect_before: int) -> bool:
        """Read the next messages into the window; False if they are not on disk yet."""
        rows = read(
            queue, self.priority, self.edge, WINDOW - len(self.head), WINDOW_BYTES - self.bytes
        )
        for seq, meta, tail in rows:
            self.edge = seq
            if seq in self.apart:
                self.apart.discard(seq)
                continue
            message = self._message(seq, meta, tail, suspect_before)
            self.head.append(message)
            self.bytes += len(tail)
            self.behind -= 1
        self._merge_aside()
        return bool(rows)

    # For those who look for what has expired.

    def expects(self, message: Message) -> None:
        """Note when a message expires."""
        if 0 < message.expires < self.soonest:
            self.soonest = message.expires

    def take_expired(self, now: int) -> list[Message]:
        """Take out what has expired of all that is in memory, and note when the next of it does."""
        expired = []
        for message in chain(self.head, self.aside):
            if 0 < message.expires <= now:
                expired.append(message)
            else:
                self.expects(message)
        if expired:
            gone = set(map(sequence, expired))
            self.bytes -= sum(len(m.tail) for m in self.head if m.seq in gone)
            self.head = deque(m for m in self.head if m.seq not in gone)
            self.aside = deque(m for m in self.aside if m.seq not in gone)
        return expired

    # For those who choose.

    def after(
        self,
        place: int,
        count: int,
        queue: int,
        read: Read,
        suspect_before: int,
        committed: int,
    ) -> tuple[list[Message], int]:
        """Return the next messages after a place, in order, and the place up to which that is all.

        Nothing is taken out. None and a place below `last`: the rest is not on disk yet. `committed` is the
        highest sequence number that a reader of the store is sure to see.
        """
        head = self.head
        start = bisect_right(head, place, key=sequence)
        if start < len(head):
            some = list(islice(head, start, start + count))
            return some, some[-1].seq
        if not self.behind:
            return [], max(place, self.last)
        place = max(place, self.edge)
        rows = read(queue, self.priority, place, count, WINDOW_BYTES)
        reach = rows[-1][0] if rows else max(place, min(committed, self.last))
        found = [
            self._message(seq, meta, tail, suspect_before)
            for seq, meta, tail in rows
            if seq not in self.apart
        ]
        between = [message for message in self.aside if place < message.seq <= reach]
        if between:
            found = sorted(found + between, key=sequence)
        return found, reach

    def is_behind(self, place: int) -> bool:
        """Tell whether what follows a place must be read from the store."""
        return self.behind > 0 and (not self.head or self.head[-1].seq <= place)

    def take(self, message: Message) -> None:
        """Take out a message that `after` has returned."""
        seq = message.seq
        if not self.behind or seq <= self.edge:
            del self.head[bisect_left(self.head, seq, key=sequence)]
            self.bytes -= len(message.tail)
            return
        index = bisect_left(self.aside, seq, key=sequence)
        if index < len(self.aside) and self.aside[index].seq == seq:
            del self.aside[index]
        else:
            self.apart.add(seq)
            self.behind -= 1
            self._merge_aside()

    def _message(self, seq: int, meta: bytes, tail: bytes, suspect_before: int) -> Message:
        message = Message.from_record(seq, self.priority, meta, tail)
        if seq < suspect_before:
            message.mark_redelivered()
        return message

    def _merge_aside(self) -> None:
        """Give a place in the head to those whose older ones are all there."""
        aside = self.aside
        if aside and (not self.behind or aside[0].seq < self.edge):
            merged = []
            while aside and (not self.behind or aside[0].seq < self.edge):
                merged.append(aside.popleft())
            self.bytes += sum(len(message.tail) for message in merged)
            self.head = deque(sorted([*self.head, *merged], key=sequence))


def sequence(message: Message) -> int:
    """Return a message's place."""
    return message.seq
