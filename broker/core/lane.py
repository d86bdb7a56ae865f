"""A lane: a queue's messages of one priority, oldest first, some of them in memory and the rest in the store.

    in memory   head: the oldest, a window of them │ later: all others that are in memory
    in the store, or on the way there              │           `behind` messages, all newer than edge

Sequence numbers grow with the order of the journal, hence of the disk: whatever a lane has not read yet
is newer than its edge, also what is not committed yet. That is why one number is enough. In memory and newer
than the edge (`later` may hold both kinds) is what never goes to disk, and what a consumer took from beyond
the edge and gave back.

Consumers who take all messages in order take from the head, and `refill` moves the edge. Those who choose, or
only look, go from place to place: `in_memory` and `in_store` return what follows one, and keep nothing;
`take` takes one out. What was taken from beyond the edge is remembered (`apart`) until the edge has passed it
or it is no longer in the store, because there it looks like one that waits.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from typing import TYPE_CHECKING

from broker.core.message import Message
from broker.core.shelf import NEWEST, Shelf, sequence

if TYPE_CHECKING:
    from broker.core.journal import Journal

#: Reads records of a lane from the store: (queue, priority, after seq, at most, bytes at most).
Read = Callable[[int, int, int, int, int], list[tuple[int, bytes, bytes]]]

WINDOW = 1000  # messages of a lane that are kept in memory
WINDOW_BYTES = 4 * 1024 * 1024  # bytes of them
NEVER = 1 << 63  # a moment that does not come


class Lane:
    """The messages of one priority."""

    __slots__ = (
        "apart",
        "behind",
        "bytes",
        "edge",
        "fresh",
        "head",
        "last",
        "later",
        "priority",
        "soonest",
    )

    def __init__(self, priority: int, behind: int = 0, last: int = -1) -> None:
        """`behind` messages are in the store already, none of them newer than `last`."""
        self.priority = priority
        self.head: deque[Message] = deque()  # while behind: none newer than edge
        self.bytes = 0  # of the tails in head
        self.later = Shelf()  # newer than all in head
        self.behind = behind  # messages that are only in the store or on the way there
        self.edge = -1  # while behind: seq that all messages behind are newer than
        # No message expires before, in milliseconds since 1970; 0: nobody has looked.
        self.soonest = 0 if behind else NEVER
        self.last = last  # seq of the newest that has waited here
        self.apart: set[int] = set()  # newer than edge, not waiting, and perhaps still in the store
        self.fresh: deque[int] = deque()  # the same, and only in the journal as yet, if anywhere

    def put(self, message: Message) -> None:
        """Add the newest message."""
        self.last = message.seq
        if message.expires:
            self.expects(message)
        if not self.behind:
            if not self.later and len(self.head) < WINDOW and self.bytes < WINDOW_BYTES:
                self.head.append(message)
                self.bytes += len(message.tail)
                return
            if message.durable:  # all older ones are in memory, or somebody has them
                self.edge = message.seq - 1
        if message.durable:
            self.behind += 1
        else:
            self.later.append(message)

    def put_behind(self, message: Message) -> None:
        """Add the newest message, which is stored, to those that are not in memory though there is room."""
        self.last = message.seq
        if message.expires:
            self.expects(message)
        if not self.behind:
            self.edge = message.seq - 1
        self.behind += 1

    def put_back(self, messages: list[Message]) -> None:
        """Return messages, sorted by seq, to their places in memory."""
        for message in messages:
            self.expects(message)
        self.last = max(self.last, messages[-1].seq)  # it may have been handed over when it was new
        limit = self._limit
        if self.later:
            limit = min(limit, self.later.oldest.seq)
        end = bisect_right(messages, limit, key=sequence)
        for message in messages[end:]:
            self.later.add(message)
        if not end:
            return
        head = self.head
        passed = []
        newest = messages[end - 1].seq
        while head and head[0].seq < newest:
            passed.append(head.popleft())
        head.extendleft(sorted(passed + messages[:end], key=sequence, reverse=True))
        self.bytes += sum(len(message.tail) for message in messages[:end])
        if len(head) > 2 * WINDOW:
            self._shorten_head()

    def fill(self) -> None:
        """Fill the head with what comes next of what is in memory."""
        messages = self.later.pop(WINDOW - len(self.head), self._limit)
        self.head.extend(messages)
        self.bytes += sum([len(message.tail) for message in messages])

    @property
    def low(self) -> bool:
        """True when the window should be refilled."""
        return self.behind > 0 and len(self.head) < WINDOW // 2 and self.bytes < WINDOW_BYTES // 2

    def refill(self, queue: int, read: Read, suspect_before: int) -> bool:
        """Read the next messages into the window; False if they are not on disk yet."""
        if self.later:
            self.fill()
            if not self.low:
                return True
        rows = read(
            queue, self.priority, self.edge, WINDOW - len(self.head), WINDOW_BYTES - self.bytes
        )
        for seq, meta, tail in rows:
            self.edge = seq
            if seq in self.apart:
                self.apart.discard(seq)
                continue
            message = Message.from_record(seq, self.priority, meta, tail)
            if seq < suspect_before:
                message.mark_redelivered()
            self.behind -= 1
            if self.later:
                self.later.add(message)
            else:
                self.head.append(message)
                self.bytes += len(tail)
        if self.later:
            self.fill()
        return bool(rows)

    def in_order(self) -> Iterator[Message]:
        """Return all messages that are in memory, oldest first."""
        return chain(self.head, self.later)

    # For those who look for what has expired.

    def expects(self, message: Message) -> None:
        """Note when a message expires."""
        if 0 < message.expires < self.soonest:
            self.soonest = message.expires

    def expired(self, now: int) -> list[Message]:
        """Return what has expired of all that is in memory, oldest first, and note when the next of it does."""
        expired = []
        for message in self.in_order():
            if 0 < message.expires <= now:
                expired.append(message)
            else:
                self.expects(message)
        return expired

    # For those who go from place to place.

    def after(
        self,
        place: int,
        count: int,
        queue: int,
        read: Read,
        suspect_before: int,
        committed: int,
        size: int = WINDOW_BYTES,
    ) -> tuple[list[Message], int]:
        """Return the next messages after a place, in order, and the place up to which that is all.

        For the parameters see `in_store`. Nothing is taken out.
        """
        some = self.in_memory(place, count)
        if some:
            return some, some[-1].seq
        if not self.behind:
            return some, max(place, self.last)
        return self.in_store(place, count, size, queue, read, suspect_before, committed)

    def in_memory(self, place: int, count: int) -> list[Message]:
        """Return the next messages after a place, if nothing that is not in memory lies between."""
        head = self.head
        if head and place < head[-1].seq:
            start = 0 if place < head[0].seq else bisect_right(head, place, key=sequence)
            return list(islice(head, start, start + count))
        return self.later.after(place, count, self._limit)

    def in_store(
        self,
        place: int,
        count: int,
        size: int,
        queue: int,
        read: Read,
        suspect_before: int,
        committed: int,
    ) -> tuple[list[Message], int]:
        """Return the messages after the last place in memory, in order, and the place up to which that is all.

        At most `count` and `size` bytes are read. No messages and the same place again: the rest is not on
        disk yet. `committed` is the highest sequence number that a reader of the store is sure to see.
        """
        place = max(place, self.edge)
        rows = read(queue, self.priority, place, count, size)
        reach = rows[-1][0] if rows else max(place, min(committed, self.last))
        apart, priority, from_record = self.apart, self.priority, Message.from_record
        found = [
            from_record(seq, priority, meta, tail) for seq, meta, tail in rows if seq not in apart
        ]
        if found and found[0].seq < suspect_before:
            mark_suspect(found, suspect_before)
        between = self.later.after(place, count, reach)
        if between:
            if len(between) == count:
                reach = between[-1].seq
            found = [m for m in sorted(found + between, key=sequence) if m.seq <= reach]
        return found, reach

    def find(self, seq: int) -> Message | None:
        """Return a message if it is in memory."""
        head = self.head
        if head and seq <= head[-1].seq:
            message = head[bisect_left(head, seq, key=sequence)]
            return message if message.seq == seq else None
        return self.later.find(seq)

    def take(self, message: Message) -> None:
        """Take a message out, wherever it is."""
        seq, head = message.seq, self.head
        if head and seq <= head[-1].seq:
            if head[0] is message:
                head.popleft()
            else:
                del head[bisect_left(head, seq, key=sequence)]
            self.bytes -= len(message.tail)
        elif not self.later.take(seq):
            self.apart.add(seq)
            self.behind -= 1

    def pass_by(self, message: Message, journal: Journal) -> None:
        """The newest message is handed to a consumer: it never waits here, but may come to be in the store."""
        if self.behind:
            fresh = self.fresh
            while fresh and not journal.holds(fresh[0]):  # done before it was written
                fresh.popleft()
            fresh.append(message.seq)

    def note_written(self, written: set[int]) -> None:
        """All that was in the journal is on its way to the store."""
        if self.fresh:
            self.apart.update(seq for seq in self.fresh if seq in written)
            self.fresh.clear()

    def note_deleted(self, deleted: set[int]) -> None:
        """These are in the store no more."""
        if self.apart:
            self.apart -= self.apart & deleted

    @property
    def _limit(self) -> int:
        """The seq up to which what is in memory is all there is."""
        return self.edge if self.behind else NEWEST

    def _shorten_head(self) -> None:
        """Leave the head no longer than a window."""
        rest = list(islice(self.head, WINDOW, None))
        self.later.add_oldest(rest)
        self.head = deque(islice(self.head, WINDOW))
        self.bytes -= sum(len(message.tail) for message in rest)


def mark_suspect(messages: Iterable[Message], suspect_before: int) -> None:
    """Mark those that somebody may have seen before a crash."""
    for message in messages:
        if message.seq < suspect_before:
            message.mark_redelivered()
