"""Whether what a store holds makes sense to the core: every record is read, and every mark.

Beside each other: records and their counts, numbers that no two may have, marks and the queues they are about. What only
a driver can see (pages, pieces of a tail, records that belong to nothing) is told by its own `Look.faults`.

A record's body has no checksum: that its length is right is all that can be said of it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping

from broker.core.broker import SUSPECT
from broker.core.durable.log import STORED_AS as LOG
from broker.core.durable.progress import COUNT, PREFIX, Progress, What, number_of, progress_key
from broker.keeping.records import NONSENSE, Broken, kind_of, why
from broker.peering.ledger import MARK as LEDGER
from broker.store import UNFINISHED, Stored, StoredQueue
from broker.store.tools import Look

READ, READ_BYTES = 1000, 4 * 1024 * 1024  # at once, of a lane
DURABLE_LOG = b"durable-log/"
PROGRESS = b"/progress"
BITS = 6  # of a number that stand for its place in a mask


class Soundness:
    """One look at a store. After `faults` was gone through, `counts` says what there is."""

    def __init__(self, look: Look) -> None:
        self.counts: Counter[str] = Counter()
        self._look = look
        self._names: set[str] = set()  # of queues
        self._given: dict[int, int] = {}  # number >> BITS → which of them are there, a bit each

    def faults(self) -> Iterator[str]:
        """Read everything; return what is wrong, a line each."""
        stored = self._look.load()
        if stored.next_seq < 1 or stored.boot < 0 or not stored.node:
            yield f"next number {stored.next_seq}, start {stored.boot} or name {stored.node!r} cannot be"
        for queue in stored.queues:
            if queue.name in self._names or not queue.name:
                yield f"queue {queue.number} has no name, or the one of another: {queue.name!r}"
            self._names.add(queue.name)
            yield from self._faults_of(queue, stored.next_seq)
        yield from self._mark_faults(stored)

    def _faults_of(self, queue: StoredQueue, next_seq: int) -> Iterator[str]:
        kind = kind_of(queue.name)
        for priority, counted in sorted(queue.lanes.items()):
            where = f"{said(queue.name)}, priority {priority}"
            if kind.lane not in (None, priority) or not 0 <= priority <= 9:
                yield f"{where}: nothing is ever read there"
            found, last = 0, -1
            while rows := self._look.read(queue.number, priority, last, READ, READ_BYTES):
                for seq, meta, tail in rows:
                    found += 1
                    if seq <= last:
                        yield f"{where}: number {seq} comes behind {last}"
                        return
                    last = seq
                    try:
                        kind.read(priority, seq, meta, tail)
                    except NONSENSE as error:
                        yield f"{where}, number {seq}: {why(error)}"
                    if kind.arrival:
                        if seq >= next_seq:
                            yield f"{where}, number {seq}: it will be given again, next is {next_seq}"
                        if self._is_given(seq):
                            yield f"{where}, number {seq}: another record has it, too"
            self.counts[kind.what] += found
            if found != counted:
                yield f"{where}: there are {found} records, and {counted} are counted"

    def _is_given(self, seq: int) -> bool:
        """Tell whether a number was met before; it is from now on."""
        place, bit = seq >> BITS, 1 << (seq & (1 << BITS) - 1)
        mask = self._given.get(place, 0)
        self._given[place] = mask | bit
        return bool(mask & bit)

    # Marks.

    def _mark_faults(self, stored: Stored) -> Iterator[str]:
        """Look at all marks, and at the queues that they are about."""
        queues = {queue.number: queue.name for queue in stored.queues}
        looks: dict[bytes, Callable[[bytes, bytes], None]] = {
            PREFIX: lambda key, value: self._look_at_durable(key, value, stored),
            DURABLE_LOG: lambda key, value: self._look_at_log(key, value, queues),
            LEDGER: self._look_at_ledger,
            SUSPECT: self._look_at_suspect,
            UNFINISHED: self._look_at_unfinished,
        }
        owners: dict[tuple[str, str], bytes] = {}
        for key, value in stored.marks.items():
            look = next((each for begin, each in looks.items() if key.startswith(begin)), None)
            if look is None:
                self.counts["marks of a kind not known here, not looked into"] += 1
                continue
            try:
                look(key, value)
                if number_of(key) is not None:
                    what = What.decode(value)
                    other = owners.setdefault((what.client_id, what.name), key)
                    if other != key:
                        raise Broken(f"it has the same client-id and name as {said(other)}")
            except NONSENSE as error:
                yield f"mark {said(key)}: {why(error)}"

    def _look_at_durable(self, key: bytes, value: bytes, stored: Stored) -> None:
        number = number_of(key)
        if number is None:
            if not key.endswith(PROGRESS):
                raise Broken("it says nothing about a durable subscription")
            if Progress.decode(value).high >= stored.next_seq:
                raise Broken(f"it has come further than all messages, next is {stored.next_seq}")
            if key.removesuffix(PROGRESS) + b"/what" not in stored.marks:
                raise Broken("nothing says whose it is")
            return
        what = What.decode(value)
        self.counts["durable subscriptions"] += 1
        if progress_key(number) not in stored.marks:
            raise Broken("nothing says how far it has come")
        if LOG + what.topic not in self._names:
            raise Broken(f"the messages of {what.topic} are missing")

    def _look_at_log(self, key: bytes, value: bytes, queues: Mapping[int, str]) -> None:
        COUNT.unpack(value)
        if not queues.get(int(key.removeprefix(DURABLE_LOG)), "").startswith(LOG):
            raise Broken("it is about a log that is not there")

    def _look_at_ledger(self, key: bytes, value: bytes) -> None:
        found = json.loads(value)
        self.counts["ledgers of other brokers"] += 1
        for name, kind in (("paused", bool), ("node", str), ("last", dict), ("refused", dict)):
            if not isinstance(found[name], kind):
                raise Broken(f"{name} cannot be {found[name]!r}")
        for lane, number in found["last"].items():
            if not (int(lane) in range(10) and isinstance(number, int)):
                raise Broken(f"{number!r} is no number of lane {lane}")

    @staticmethod
    def _look_at_suspect(key: bytes, value: bytes) -> None:
        if len(value) > COUNT.size:
            raise Broken(f"it has {len(value)} bytes")

    @staticmethod
    def _look_at_unfinished(key: bytes, value: bytes) -> None:
        raise Broken("the import into this store was broken off: remove it, and import again")


def said(name: str | bytes) -> str:
    """Return a name as an operator can read it: some begin with NUL."""
    text = name.decode(errors="replace") if isinstance(name, bytes) else name
    return text.replace("\0", "\\0")
