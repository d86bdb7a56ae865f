"""A store under test, and what has to happen to it between a write and the look at what is there.

The contract is asked of a store three times: at once, after it was closed and opened again, and after the
process that wrote was killed the moment its last write had returned. `Keeper` hides which: batches collect
until somebody looks, then they are written in the way of this run.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterable, Iterator, Sequence
from multiprocessing.context import ForkServerContext
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import TypeAlias

from broker.core.journal import Batch
from broker.store import Store, Stored, StoreSettings, open_store

AT_ONCE, REOPENED, KILLED = "at once", "reopened", "killed"
WAYS = (AT_ONCE, REOPENED, KILLED)

DEADLINE = 30.0  # seconds for a child, on a busy machine
META = b"meta"
ARRIVAL = 2**50  # numbers in the order of arrival are lower

Mark = tuple[bytes, bytes | None]
Put = tuple[int, int, int, bytes, bytes]
Row = tuple[int, bytes, bytes]

Counter: TypeAlias = "Synchronized[int]"  # shared with a child

#: Forks children from a process that has no threads.
CHILDREN: ForkServerContext = multiprocessing.get_context("forkserver")
CHILDREN.set_forkserver_preload(["tests.store.keeper", "broker.store.lmdb", "broker.store.sqlite"])


def put(queue: int, seq: int, tail: bytes = b"", priority: int = 4, meta: bytes = META) -> Put:
    """Return a new record as a batch has it; without a tail it says its number."""
    return queue, priority, seq, meta, tail or b"%d" % seq


def delete(record: Put) -> tuple[int, int, int, int]:
    """Return the deletion of a record as a batch has it."""
    queue, priority, seq, _, tail = record
    return queue, priority, seq, len(tail)


def due(milliseconds: int, low: int = 0) -> int:
    """Return the number of a record whose place is a time, as a schedule gives it."""
    return (1_800_000_000_000 + milliseconds) << 20 | low


class Keeper:
    """A store, written to in one of the three ways."""

    def __init__(self, url: str, settings: StoreSettings, way: str = AT_ONCE) -> None:
        self.url = url
        self.settings = settings
        self.way = way
        self.loads = 0  # how often it was loaded, also by children
        self.next_seq = 1
        self._pending: list[Batch] = []
        self._store: Store | None = None
        self.loaded: Stored | None = None

    def write(
        self,
        puts: Sequence[Put] = (),
        deletes: Iterable[Put] = (),
        updates: Sequence[Put] = (),
        queues: Sequence[tuple[int, str]] = (),
        dropped: Sequence[int] = (),
        marks: Sequence[Mark] = (),
    ) -> None:
        """Write a batch before the next look."""
        arrived = (seq for _, _, seq, _, _ in puts if seq < ARRIVAL)
        self.next_seq = max([self.next_seq, *(seq + 1 for seq in arrived)])
        self._pending.append(
            Batch(
                self.next_seq,
                list(queues),
                list(dropped),
                list(puts),
                list(updates),
                [delete(record) for record in deletes],
                list(marks),
            )
        )

    @property
    def store(self) -> Store:
        """The store, with everything written."""
        if self._store is None and (self.way != KILLED or not self._pending):
            self._open()
        if self._pending:
            batches, self._pending = self._pending, []
            if self.way == KILLED:
                self.close()
                self.die_after(batches)
                self._open()
            else:
                for batch in batches:
                    self.opened.write(batch)
                if self.way == REOPENED:
                    self.close()
                    self._open()
        return self.opened

    @property
    def opened(self) -> Store:
        """The store as it is, which must be open."""
        assert self._store is not None
        return self._store

    def _open(self) -> None:
        self._store = open_store(self.url, self.settings)
        self.loaded = self._store.load()
        self.loads += 1

    def close(self) -> None:
        """End the run, if there is one."""
        if self._store is not None:
            self._store.close()
            self._store = None

    def load(self) -> Stored:
        """Write everything and return what a new run finds."""
        if self._pending:
            assert self.store
        self.close()
        self._open()
        assert self.loaded is not None
        return self.loaded

    def read(
        self,
        queue: int,
        priority: int = 4,
        after: int = 0,
        count: int = 1 << 20,
        size: int = 1 << 40,
    ) -> list[Row]:
        """Return records."""
        return self.store.read(queue, priority, after, count, size)

    def seqs(self, queue: int, priority: int = 4, after: int = 0) -> list[int]:
        """Return the numbers of the records of a lane."""
        return [seq for seq, _, _ in self.read(queue, priority, after)]

    def lanes(self) -> dict[str, dict[int, int]]:
        """Return how many records each lane of each queue has, as a new run finds it."""
        return {queue.name: queue.lanes for queue in self.load().queues}

    def marks(self) -> dict[bytes, bytes]:
        """Return the marks, as a new run finds them."""
        if self.url == "memory:":  # what was closed is gone
            return self.store.load().marks
        return self.load().marks

    def walk(self, queue: int, priority: int = 4, count: int = 1000) -> Iterator[list[Row]]:
        """Read a lane from its beginning to its end, so many records at a time."""
        after = -1
        while rows := self.read(queue, priority, after, count):
            after = rows[-1][0]
            yield rows

    def die_after(self, batches: list[Batch]) -> None:
        """Let a child write batches; it is killed the moment the last one is written."""
        written = CHILDREN.Value("i", 0)
        child = CHILDREN.Process(
            target=write_and_die, args=(self.url, self.settings, batches, written)
        )
        child.start()
        child.join(DEADLINE)
        assert child.exitcode == -signal.SIGKILL, "the child did not get as far as that"
        assert written.value == len(batches)
        self.loads += 1


def write_and_die(
    url: str, settings: StoreSettings, batches: list[Batch], written: Counter
) -> None:
    """Write batches, say how many, and be killed."""
    store = open_store(url, settings)
    store.load()
    for batch in batches:
        store.write(batch)
        written.value += 1
    os.kill(os.getpid(), signal.SIGKILL)


def write_for_ever(url: str, settings: StoreSettings, written: Counter) -> None:
    """Write one batch after the other, each with a record in two queues, until somebody kills us.

    Every batch but the first deletes what the one before it put into queue 2. A mark says how far it came.
    """
    store = open_store(url, settings)
    store.load()
    seq = 1
    while True:
        batch = Batch(
            seq + 2,
            queues=[(1, "a"), (2, "b")] if seq == 1 else [],
            puts=[put(1, seq, long_tail(seq)), put(2, seq + 1)],
            deletes=[delete(put(2, seq - 1))] if seq > 1 else [],
            marks=[(b"at", b"%d" % seq), (b"long", long_tail(seq))],
        )
        store.write(batch)
        seq += 2
        written.value += 1


def long_tail(seq: int) -> bytes:
    """Return a tail that may be small or large, and is never the same."""
    return b"%d %b" % (seq, b"x" * (seq * 3700 % 200_000))


def measure_load(url: str, other_url: str, settings: StoreSettings, looked_at: Counter) -> None:
    """Load a store; say how many bytes of files were read, or mapped and touched, meanwhile."""
    other = open_store(other_url, settings)  # what is imported for the first time does not count
    other.load()
    other.close()
    before = bytes_read()
    store = open_store(url, settings)
    store.load()
    looked_at.value = bytes_read() - before + bytes_mapped(url.partition(":")[2])
    store.close()


def bytes_read() -> int:
    """Return how many bytes this process has read so far."""
    return int(Path("/proc/self/io").read_text().split()[1])


def bytes_mapped(path: str) -> int:
    """Return how many bytes of files below a path are mapped and have been touched."""
    total, ours = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        name, *values = line.split()
        if not name.endswith(":"):
            ours = line.find(path) > 0
        elif ours and name == "Rss:":
            total += int(values[0]) * 1024
    return total
