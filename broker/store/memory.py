"""A store without a disk: for tests, and for brokers whose messages may die with them."""

from __future__ import annotations

import os
from bisect import bisect_right, insort

from broker.store import Stored, StoredQueue, StoreSettings, Writes

Record = tuple[bytes, bytes]


class MemoryStore:
    """Keeps records in memory; `load` finds what the same object was given before."""

    blocking = False

    def __init__(self, settings: StoreSettings) -> None:
        self._limit = settings.map_size
        self._used = 0
        self._node = os.urandom(4).hex()
        self._boot = 0
        self._next_seq = 1
        self._clean = True
        self._names: dict[int, str] = {}
        self._records: dict[tuple[int, int], dict[int, Record]] = {}  # lane → seq → record
        self._order: dict[tuple[int, int], list[int]] = {}  # lane → seqs, ascending

    def load(self) -> Stored:
        """Return what is there."""
        self._boot += 1
        clean, self._clean = self._clean, False
        queues = [
            StoredQueue(
                number,
                name,
                {
                    lane: len(records)
                    for (queue, lane), records in self._records.items()
                    if queue == number and records
                },
            )
            for number, name in self._names.items()
        ]
        return Stored(self._node, self._boot, self._next_seq, clean, queues)

    def read(
        self, queue: int, priority: int, after: int, count: int, size: int
    ) -> list[tuple[int, bytes, bytes]]:
        """Return the next records of a lane."""
        order = self._order.get((queue, priority), [])
        records = self._records.get((queue, priority), {})
        rows: list[tuple[int, bytes, bytes]] = []
        for index in range(bisect_right(order, after), len(order)):
            seq = order[index]
            if seq not in records:  # deleted, and not cleared out yet
                continue
            meta, tail = records[seq]
            size -= len(tail)
            if rows and (size < 0 or len(rows) >= count):
                break
            rows.append((seq, meta, tail))
        return rows

    def write(self, batch: Writes) -> None:
        """Apply a batch."""
        self._next_seq = max(self._next_seq, batch.next_seq)
        self._names.update(batch.queues)
        for queue, priority, seq, meta, tail in batch.puts:
            self._records.setdefault((queue, priority), {})[seq] = (meta, tail)
            insort(self._order.setdefault((queue, priority), []), seq)
            self._used += len(tail)
        for queue, priority, seq, meta, tail in batch.updates:
            self._records[queue, priority][seq] = (meta, tail)
        for queue, priority, seq, size in batch.deletes:
            records = self._records[queue, priority]
            del records[seq]
            self._used -= size
            order = self._order[queue, priority]
            if len(order) > 2 * len(records) + 64:  # clear out the deleted ones now and then
                self._order[queue, priority] = sorted(records)
        for queue in batch.dropped:
            self._names.pop(queue)
            for lane in [lane for lane in self._records if lane[0] == queue]:
                del self._records[lane], self._order[lane]

    def room(self) -> int:
        """Return what is left of the limit."""
        return self._limit * 9 // 10 - self._used

    def close(self) -> None:
        """End the run."""
        self._clean = True


def open_memory(path: str, settings: StoreSettings) -> MemoryStore:
    """Open `memory:`; it has no path."""
    return MemoryStore(settings)
