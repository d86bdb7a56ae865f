"""A queue: every message to one consumer, in order of priority, first in first out within one.

A queue is at most ten lanes, one a priority. A lane keeps its oldest messages in memory (`head`, the
window) and leaves the rest in the store, so a backlog costs disk, not memory:

    lane:   head: seq 1 2 3 … edge | in the store or on the way there: `behind` messages, seq > edge
                                     `volatile`: messages that never go to disk, waiting for their turn

1. A message that finds a consumer in line and nobody waiting before it is handed over at once.
2. Else it joins its lane: in memory while the window has room and nothing is behind, else only on disk.
3. When the window is half empty the queue asks (`Broker.again`) to be refilled at the end of the turn.
4. What is given back returns to its place by its sequence number, always into memory: it was there before.

Sequence numbers grow with the order of the journal, hence of the disk: whatever a lane has not read yet
is newer than its edge, also what is not committed yet. That is why one number is enough.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from broker.core.message import Message
from broker.core.subscription import Subscription

if TYPE_CHECKING:
    from broker.core.broker import Broker

#: Reads records of a lane from the store: (queue, priority, after seq, at most, bytes at most).
Read = Callable[[int, int, int, int, int], list[tuple[int, bytes, bytes]]]

WINDOW = 1000  # messages of a lane that are kept in memory
WINDOW_BYTES = 4 * 1024 * 1024  # bytes of them
ONE_GO = 1000  # messages handed over before others get their turn


class Lane:
    """The messages of one priority, oldest first: the head in memory, the rest in the store."""

    __slots__ = ("behind", "bytes", "edge", "expiring", "head", "priority", "volatile")

    def __init__(self, priority: int, behind: int = 0) -> None:
        self.priority = priority
        self.head: deque[Message] = deque()
        self.bytes = 0  # of the tails in head
        self.behind = behind  # messages that are only in the store or on the way there
        self.edge = -1  # while behind: seq that all durable messages in memory are at or below
        self.volatile: deque[Message] = deque()  # newer than edge, not durable
        self.expiring = False  # some message in head may have an expiry

    def put(self, message: Message) -> None:
        """Add the newest message."""
        if message.expires:
            self.expiring = True
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
            self.volatile.append(message)

    def put_back(self, messages: list[Message]) -> None:
        """Return messages, sorted by seq, to their places."""
        head = self.head
        passed = []
        newest = messages[-1].seq
        while head and head[0].seq < newest:
            passed.append(head.popleft())
        head.extendleft(sorted(passed + messages, key=sequence, reverse=True))
        self.bytes += sum(len(message.tail) for message in messages)
        self.expiring = self.expiring or any(message.expires for message in messages)

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
            message = Message.from_record(seq, self.priority, meta, tail)
            if seq < suspect_before:
                message.mark_redelivered()
            if message.expires:
                self.expiring = True
            self.head.append(message)
            self.bytes += len(tail)
            self.edge = seq
        self.behind -= len(rows)
        volatile = self.volatile
        if volatile and (not self.behind or volatile[0].seq < self.edge):
            merged = []
            while volatile and (not self.behind or volatile[0].seq < self.edge):
                merged.append(volatile.popleft())
            self.bytes += sum(len(message.tail) for message in merged)
            self.head = deque(sorted([*self.head, *merged], key=sequence))
        return bool(rows)


def sequence(message: Message) -> int:
    """Return a message's place."""
    return message.seq


class Queue:
    """Messages for competing consumers."""

    durable = True

    def __init__(self, broker: Broker, number: int, name: str) -> None:
        self.number = number  # names it in the store
        self.name = name
        self.waiting = 0  # messages that no consumer has, in memory and behind
        self.subscriptions: set[Subscription] = set()
        self.owed: set[Subscription] = set()  # gone, but an open transaction still holds messages
        self._broker = broker
        self._journal = broker.journal
        self._line: deque[Subscription] = deque()  # those who can be served, next first
        self._lanes: list[Lane] = []  # highest priority first
        self._lane_of: dict[int, Lane] = {}

    @property
    def idle(self) -> bool:
        """True when nobody would miss it: no messages, no consumers."""
        return not (self.waiting or self.subscriptions or self.owed)

    def load(self, priority: int, count: int) -> None:
        """Take over a lane that the store holds."""
        self._add_lane(Lane(priority, count))
        self.waiting += count

    def put(self, message: Message) -> None:
        """Take a message: to the next consumer in line if nobody waits before it, else to its lane."""
        line = self._line
        if not line or self.waiting:
            self._keep(message)
            return
        subscription = line.popleft()
        if subscription.auto:  # done as soon as it is sent: nothing to keep
            line.append(subscription)
            subscription.deliver(message)
            return
        if message.durable:
            self._journal.put(self.number, message)
        subscription.in_flight[subscription.deliver(message)] = message
        subscription.credit -= 1
        if subscription.credit > 0:
            line.append(subscription)
        else:
            subscription.in_line = False

    def done(self, message: Message) -> None:
        """A consumer has acknowledged it."""
        if message.durable:
            self._journal.delete(self.number, message)

    def refuse(self, message: Message, requeue: bool) -> None:
        """A consumer does not want it: back to its place if it asks so, else to the dead letters."""
        if requeue and message.returns < self._broker.max_redeliveries:
            message.returns += 1
            self.give_back([message])
        else:
            self._broker.bury(self, message)
            self.done(message)

    def give_back(self, messages: list[Message]) -> None:
        """A consumer had these and will not finish them: back to their places, at once.

        They are handed out again at the end of the turn: the consumers of a lost connection give back one
        after the other, and nobody is to get the second before the first is there.
        """
        if not messages:
            return
        by_priority: dict[int, list[Message]] = {}
        for message in messages:
            message.mark_redelivered()
            if message.durable:
                self._journal.update(self.number, message)
            else:
                self._broker.memory.room -= len(message.tail)
            by_priority.setdefault(message.priority, []).append(message)
        for priority, some in by_priority.items():
            self._lane(priority).put_back(sorted(some, key=sequence))
        self.waiting += len(messages)
        if self._line:
            self._broker.again[self] = None

    def join(self, subscription: Subscription) -> None:
        """A consumer comes; it is served after `feed`."""
        self.subscriptions.add(subscription)

    def leave(self, subscription: Subscription) -> None:
        """A consumer goes."""
        self.subscriptions.discard(subscription)
        self.rest(subscription)

    def feed(self, subscription: Subscription) -> None:
        """Put a consumer in line if it can be served, and serve."""
        if subscription.in_line or not subscription.hungry:
            return
        subscription.in_line = True
        self._line.append(subscription)
        if self.waiting:
            self.dispatch()

    def rest(self, subscription: Subscription) -> None:
        """Take a consumer out of the line."""
        if subscription.in_line:
            subscription.in_line = False
            self._line.remove(subscription)

    def dispatch(self) -> None:
        """Hand out what waits, as long as somebody is in line; ask for another go if more remains."""
        line = self._line
        now = self._broker.now
        served = 0
        while line and self.waiting:
            lane = self._first_lane()
            if lane is None or served >= ONE_GO:
                self._ask()
                return
            head = lane.head
            while head and line and served < ONE_GO:
                message = head.popleft()
                size = len(message.tail)
                lane.bytes -= size
                self.waiting -= 1
                durable = message.durable
                if not durable:
                    self._broker.memory.room += size
                if message.expires and message.expires <= now:
                    self.done(message)
                    continue
                served += 1
                subscription = line.popleft()
                if subscription.auto:
                    line.append(subscription)
                    if durable:
                        self._journal.delete(self.number, message)
                    subscription.deliver(message)
                    continue
                subscription.in_flight[subscription.deliver(message)] = message
                subscription.credit -= 1
                if subscription.credit > 0:
                    line.append(subscription)
                else:
                    subscription.in_line = False
            if lane.low:
                self._ask()

    def go_on(self, read: Read) -> None:
        """The other go that was asked for: refill the windows, then dispatch."""
        for lane in self._lanes:
            if lane.low and not lane.refill(self.number, read, self._broker.suspect_before):
                self._broker.starving[self] = None  # what it waits for is still being written
            if lane.head or lane.behind:
                break  # lanes below this one are not asked before it is empty
        self.dispatch()

    def expire(self) -> None:
        """Drop what has expired while it waited in memory."""
        now = self._broker.now
        for lane in self._lanes:
            if not lane.expiring:
                continue
            kept = [m for m in lane.head if not m.expires or m.expires > now]
            expired = [m for m in lane.head if m.expires and m.expires <= now]
            lane.head = deque(kept)
            lane.expiring = any(m.expires for m in kept) or bool(lane.volatile)
            for message in expired:
                lane.bytes -= len(message.tail)
                if not message.durable:
                    self._broker.memory.room += len(message.tail)
                self.done(message)
            self.waiting -= len(expired)

    def _keep(self, message: Message) -> None:
        """Let a message wait."""
        if message.durable:
            self._journal.put(self.number, message)
        else:
            self._broker.memory.room -= len(message.tail)
        self.waiting += 1
        self._lane(message.priority).put(message)
        if self._line:
            self.dispatch()

    def _ask(self) -> None:
        """Ask for another go, unless that would be in vain before what is being written is on disk."""
        if self not in self._broker.starving:
            self._broker.again[self] = None

    def _first_lane(self) -> Lane | None:
        """Return the lane whose turn it is, or None if its messages must be read first."""
        for lane in self._lanes:
            if lane.head:
                return lane
            if lane.behind:
                return None
        return None

    def _lane(self, priority: int) -> Lane:
        lane = self._lane_of.get(priority)
        return lane if lane is not None else self._add_lane(Lane(priority))

    def _add_lane(self, lane: Lane) -> Lane:
        self._lane_of[lane.priority] = lane
        self._lanes.append(lane)
        self._lanes.sort(key=lambda each: -each.priority)
        return lane
