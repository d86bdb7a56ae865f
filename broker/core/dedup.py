"""Ids of SENDs that came before: the second one with the same id to the same destination is not kept.

A producer that did not hear its RECEIPT sends again under the same id. For each destination the last ids are
remembered, so many and for so long as its policy says (`dedup_window`, `dedup_seconds`). An id of a message that
is stored is a record of a stored queue that is no destination; it goes to disk in one batch with its message,
so after a kill either both are there or neither.

All ids are in memory, also after a restart: some 300 bytes each, 6 MB for a window of 20,000. They count as
memory of what is not stored; while that is full, a new id takes the place of its destination's oldest.

Times are of the broker's time of day, which follows slowly when the system's clock is set (`broker.net.wall`).
"""

from __future__ import annotations

from collections import OrderedDict
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

from broker.core.lane import WINDOW, WINDOW_BYTES, Read
from broker.core.message import DEFAULT_PRIORITY, Message

if TYPE_CHECKING:
    from broker.core.broker import Broker
    from broker.core.policy import Policy

STORED_AS = "\0dedup "  # begins the names of the stored queues, the destination follows
LONGEST = 255  # bytes of an id that is kept as it is; of a longer one the hash
COST = 250  # bytes of memory that an id takes beside its own
ONE_SWEEP = 10_000  # ids of a destination that are forgotten at once because of their age


class Entry(NamedTuple):
    """What is known of an id."""

    seq: int  # of its record; 0: it has none
    expires: int  # milliseconds since 1970; 0: never


class Window:
    """The ids of one destination."""

    def __init__(self, broker: Broker, destination: str) -> None:
        self._broker = broker
        self._name = STORED_AS + destination
        self._queue = 0  # names it in the store; 0: it is not there
        self._ids: OrderedDict[bytes, Entry] = OrderedDict()  # oldest first

    def __len__(self) -> int:
        return len(self._ids)

    def load(self, number: int, read: Read) -> None:
        """Take over what the store holds, all of it."""
        self._queue = number
        after = 0
        while rows := read(number, DEFAULT_PRIORITY, after, WINDOW, WINDOW_BYTES):
            for seq, meta, key in rows:
                record = Message.from_record(seq, DEFAULT_PRIORITY, meta, key)
                self._add(key, Entry(seq, record.expires))
            after = rows[-1][0]

    def seen(self, key: bytes) -> bool:
        """Tell whether an id is remembered."""
        entry = self._ids.get(key)
        if entry is None:
            return False
        if not self._is_over(entry):
            return True
        self._forget(key)
        return False

    def remember(self, key: bytes, policy: Policy, durable: bool) -> None:
        """Remember an id that is not; give up those that no longer fit."""
        broker, seq = self._broker, 0
        lifetime = int(policy.dedup_seconds * 1000)
        expires = broker.now + lifetime if lifetime else 0
        if durable:
            if not self._queue:
                self._queue = broker.routes.hidden(self._name)
            seq = broker.next_seq
            broker.next_seq += 1
            broker.journal.put(self._queue, Message(seq, key, True, expires=expires))
        self._add(key, Entry(seq, expires))
        while len(self._ids) > policy.dedup_window or (
            broker.memory.room < 0 and len(self._ids) > 1
        ):
            self._forget(next(iter(self._ids)))
        self.expire(2)  # so that ids which come slowly do not pile up

    def expire(self, most: int) -> None:
        """Forget what is too old, up to so many."""
        while most and self._ids:
            oldest = next(iter(self._ids))
            if not self._is_over(self._ids[oldest]):
                return
            self._forget(oldest)
            most -= 1

    def close(self) -> None:
        """It is empty: leave no trace."""
        if self._queue:
            self._broker.routes.forget_hidden(self._name)

    def _add(self, key: bytes, entry: Entry) -> None:
        self._ids[key] = entry
        self._broker.memory.room -= len(key) + COST

    def _forget(self, key: bytes) -> None:
        entry = self._ids.pop(key)
        self._broker.memory.room += len(key) + COST
        if entry.seq:
            self._broker.journal.delete(self._queue, Message(entry.seq, key, True))

    def _is_over(self, entry: Entry) -> bool:
        return 0 < entry.expires <= self._broker.now


class Dedup:
    """The ids of all destinations."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._windows: dict[str, Window] = {}  # by destination

    def load(self, name: str, number: int, read: Read) -> None:
        """Take over a stored queue whose name begins with `STORED_AS`."""
        destination = name.removeprefix(STORED_AS)
        window = self._windows[destination] = Window(self._broker, destination)
        window.load(number, read)

    def seen(self, destination: str, id: str, policy: Policy, durable: bool) -> bool:
        """Tell whether an id came before; if not, remember it from now on.

        `destination`: always the same string for the same. `durable`: the message is stored, and so is its id.
        """
        if not policy.dedup_window:
            return False
        window = self._windows.get(destination)
        if window is None:
            window = self._windows[destination] = Window(self._broker, destination)
        key = key_of(id)
        if window.seen(key):
            return True
        window.remember(key, policy, durable)
        return False

    def sweep(self) -> None:
        """Forget what is too old."""
        for destination, window in list(self._windows.items()):
            window.expire(ONE_SWEEP)
            if not len(window):
                window.close()
                del self._windows[destination]


def key_of(id: str) -> bytes:
    """Return the bytes under which an id is kept. A header has no NUL, so no id reads like a hash."""
    key = id.encode()
    return key if len(key) <= LONGEST else b"\0" + sha256(key).digest()
