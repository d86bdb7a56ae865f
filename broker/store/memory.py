"""A store without a disk: for tests, and for brokers whose messages may die with them."""

from __future__ import annotations

import os
from bisect import bisect_right, insort

from broker.store import Stored, StoredQueue, StoreSettings, Writes

FEW = 16  # numbers put into their places one by one; for more, sorting is cheaper
SLACK = 64  # numbers of deleted records that never matter
PRIORITIES = range(10)


class Lane:
    """The records of one queue and priority.

    Their order is made up for when somebody reads: `order` is ascending, and may have numbers of records that
    were deleted, or twice those that came again; `late` has those that came after a higher one.
    """

    __slots__ = ("late", "order", "records")

    def __init__(self) -> None:
        self.records: dict[int, tuple[bytes, bytes]] = {}
        self.order: list[int] = []
        self.late: list[int] = []

    def settle(self) -> None:
        """Put the late ones in their places."""
        if len(self.late) < FEW:
            for seq in self.late:
                insort(self.order, seq)
        else:
            self.order.extend(self.late)
            self.order.sort()  # nearly linear: all but the end is in order
        self.late.clear()

    def clear_out(self) -> None:
        """Forget the deleted ones."""
        self.settle()
        self.order = list(dict.fromkeys(filter(self.records.__contains__, self.order)))


class MemoryStore:
    """Keeps records in memory; `load` finds what the same object was given before."""

    blocking = False

    def __init__(self, settings: StoreSettings) -> None:
        self._limit = settings.map_size
        self._used = 0
        self._node = settings.node or os.urandom(4).hex()
        self._boot = settings.boot
        self._next_seq = 1
        self._clean = True
        self._names: dict[int, str] = {}
        self._lanes: dict[tuple[int, int], Lane] = {}  # queue, priority → records
        self._marks: dict[bytes, bytes] = {}

    def load(self) -> Stored:
        """Return what is there."""
        self._boot += 1
        clean, self._clean = self._clean, False
        queues = {number: StoredQueue(number, name) for number, name in self._names.items()}
        for (number, priority), lane in self._lanes.items():
            if lane.records:
                queues[number].lanes[priority] = len(lane.records)
        return Stored(
            self._node,
            self._boot,
            self._next_seq,
            clean,
            list(queues.values()),
            dict(self._marks),
        )

    def read(
        self, queue: int, priority: int, after: int, count: int, size: int
    ) -> list[tuple[int, bytes, bytes]]:
        """Return the next records of a lane."""
        rows: list[tuple[int, bytes, bytes]] = []
        lane = self._lanes.get((queue, priority))
        if lane is None:
            return rows
        if lane.late:
            lane.settle()
        records, order = lane.records, lane.order
        first = start = bisect_right(order, after)
        while first < len(order) and order[first] not in records:
            first += 1
        if first - start > SLACK:  # who reads from the beginning is not to pass them every time
            del order[start:first]
            first = start
        last = after
        for index in range(first, len(order)):
            seq = order[index]
            if seq == last or seq not in records:
                continue
            meta, tail = records[seq]
            size -= len(tail)
            if len(rows) >= count or (rows and size < 0):
                break
            rows.append((seq, meta, tail))
            last = seq
        return rows

    def write(self, batch: Writes) -> None:
        """Apply a batch."""
        self._next_seq = batch.next_seq
        self._names.update(batch.queues)
        lanes = self._lanes
        for queue, priority, seq, meta, tail in batch.puts:
            lane = lanes.get((queue, priority))
            if lane is None:
                lane = lanes[queue, priority] = Lane()
            lane.records[seq] = (meta, tail)
            if lane.order and seq <= lane.order[-1]:
                lane.late.append(seq)
            else:
                lane.order.append(seq)
            self._used += len(tail)
        for queue, priority, seq, meta, tail in batch.updates:
            lanes[queue, priority].records[seq] = (meta, tail)
        for queue, priority, seq, size in batch.deletes:
            lane = lanes[queue, priority]
            del lane.records[seq]
            self._used -= size
            if len(lane.order) + len(lane.late) > 2 * len(lane.records) + SLACK:
                lane.clear_out()
        for queue in batch.dropped:
            self._names.pop(queue)
            for priority in PRIORITIES:
                lanes.pop((queue, priority), None)
        for key, value in batch.marks:
            self._used -= len(self._marks.pop(key, b""))
            if value is not None:
                self._marks[key] = value
                self._used += len(value)

    def room(self) -> int:
        """Return what is left of the limit."""
        return self._limit * 9 // 10 - self._used

    def close(self) -> None:
        """End the run."""
        self._clean = True


def open_memory(path: str, settings: StoreSettings) -> MemoryStore:
    """Open `memory:`; it has no path."""
    return MemoryStore(settings)
