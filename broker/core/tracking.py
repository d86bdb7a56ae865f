"""What became of messages whose senders want to know, kept until some time after the end.

Each copy of such a message has a *part*: one record in a stored queue that is no destination. Its status goes to
disk in one batch with what caused it. Parts are found by the id that the sender knows (its correlation-id, or the
message-id), and several may have the same one: a SEND to several destinations, or several SENDs.

Nothing of it is in memory but what is on its way to the store, so that a backlog of a million tracked messages
costs disk alone:

- a part's number is bit 61, 50 bits of its id's hash, and 10 bits that tell those of one id apart. So the parts of
  an id lie side by side, and one read finds them. Ids whose hashes meet share a place, and are told apart by what
  the record says;
- what has ended is noted a second time, in the order of the ends, with the moment at which it is forgotten.

The record is that of a message: its `returns` are the status, its `expires` is when that was reached (milliseconds
since 1970), its group is who ended it and why; its tail is a line of JSON that never changes:

    [1, id, owner, destination, message-id, reply-to, kinds, sent, durable, alone]
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections import OrderedDict
from hashlib import blake2b
from heapq import merge
from itertools import islice
from operator import attrgetter
from typing import TYPE_CHECKING

from broker.core.lane import WINDOW_BYTES, Read
from broker.core.message import DEFAULT_PRIORITY, Message
from broker.core.names import HIDDEN
from broker.core.reports import ENDS, EXPIRED, FAILED, QUEUED, STATUSES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from broker.core.broker import Broker

STORED_AS = HIDDEN + "tracked"
ENDED_AS = HIDDEN + "tracked ends"
FORMAT = 1
FIRST = 1 << 61  # below all parts, above all messages; the schedule's numbers have bit 62
HASH_BITS, ORDINAL_BITS = 50, 10
MOST_PARTS = 1 << ORDINAL_BITS  # of one id
SAID_BYTES = 200  # of who ended it and why: a record's meta has 255
ONE_GO = 200  # ends looked at before others get their turn
PLACES = 1000  # of which is remembered how far they are taken
FEW, MANY = 2, 64  # parts read at first, for mostly there is one, and then


class Part:
    """One copy of a tracked message."""

    __slots__ = (
        "alone",
        "destination",
        "durable",
        "id",
        "kinds",
        "message_id",
        "number",
        "owner",
        "record",
        "reply_to",
        "sent",
    )

    def __init__(self, record: Message) -> None:
        """`record` is what is stored of it. It is changed with the part."""
        self.number = record.seq
        self.record = record
        (
            _,
            self.id,  # by which its sender asks
            self.owner,  # the sender's login
            self.destination,  # where this copy went
            self.message_id,
            self.reply_to,  # where reports go; "": nowhere
            self.kinds,  # of reports that are wanted
            self.sent,  # milliseconds since 1970
            self.durable,  # the message is stored
            *alone,  # there are no other copies of it; the first records do not say
        ) = json.loads(record.tail)
        self.alone = alone == [True]

    @property
    def status(self) -> str:
        """One of `STATUSES`."""
        return STATUSES[self.record.returns]

    @property
    def ended(self) -> bool:
        """True when nothing more can become of it."""
        return self.status in ENDS

    @property
    def changed(self) -> int:
        """When its status was reached, in milliseconds since 1970."""
        return self.record.expires

    @property
    def by(self) -> str:
        """Who ended it, or ""."""
        return self._said.partition("\0")[0]

    @property
    def cause(self) -> str:
        """Why it failed, or ""."""
        return self._said.partition("\0")[2]

    @property
    def _said(self) -> str:
        extra = self.record.extra
        return "" if extra is None else extra.group

    def become(self, status: str, now: int, by: str = "", cause: str = "") -> None:
        """Take a status."""
        self.record.returns = STATUSES.index(status)
        self.record.expires = now
        if by or cause:
            said = f"{by[: SAID_BYTES // 4]}\0{cause}".encode()[:SAID_BYTES]
            self.record.mark().group = said.decode(errors="ignore")


class Tracking:
    """All parts."""

    def __init__(self, broker: Broker) -> None:
        self.tell_end: Callable[[str], None] = lambda id: None  # is told the id of what has ended
        self._broker = broker
        self._read: Read | None = None
        self._queue = self._ends = 0  # name the stored queues; 0: not there yet
        self._ended = 0  # records in the second
        self._place = -1  # up to where these were looked at
        self._taken: dict[int, int] = {}  # place → the first number behind all that were ever taken
        #: What the store may not show yet, by place and number. None: it is forgotten.
        self._fresh: dict[int, dict[int, Part | None]] = {}
        self._stamps: OrderedDict[int, int] = (
            OrderedDict()
        )  # number → when `committed` has reached it

    def load(self, ended: int, read: Read) -> None:
        """Take over what the store holds: so many ends. `read` asks it, from now on and at any time."""
        self._read = read
        self._ended = ended
        self._queue = self._broker.routes.known_hidden(STORED_AS)
        self._ends = self._broker.routes.known_hidden(ENDED_AS)

    def add(
        self,
        id: str,
        owner: str,
        destination: str,
        message_id: str,
        reply_to: str,
        kinds: Sequence[str],
        sent: int,
        durable: bool,
        alone: bool,
    ) -> Part | None:
        """Begin to track a copy of a message; None if there are too many of its id."""
        broker = self._broker
        free = self._free(id, 1)
        if not free:
            return None
        [number] = free
        if not self._queue:
            self._queue = broker.routes.hidden(STORED_AS)
        fixed = (FORMAT, id, owner, destination, message_id, reply_to, kinds, sent, durable, alone)
        place = place_with(number)
        self._taken[place] = max(self._taken[place], number + 1)
        part = Part(Message(number, json.dumps(fixed).encode(), durable=True))
        part.become(QUEUED, broker.now)
        broker.journal.put(self._queue, part.record)
        self._note(number, part)
        if not durable:  # a restart loses the message, and nobody will tell
            self._note_end(part)
        return part

    def has_room(self, id: str, copies: int) -> bool:
        """Tell whether so many more messages of an id can be tracked."""
        return len(self._free(id, copies)) == copies

    def find(self, id: str) -> list[Part]:
        """Return the parts of an id, oldest first unless there were very many."""
        return [part for part in self._around(place_of(id)) if part.id == id]

    def copies_of(self, part: Part) -> list[Part]:
        """Return the parts of all copies of a message, of which one is given as it is now."""
        if part.alone:
            return [part]
        return [each for each in self.find(part.id) if each.message_id == part.message_id]

    def get(self, number: int) -> Part | None:
        """Return the part of a number."""
        fresh = self._fresh.get(place_with(number), {})
        if number in fresh:
            return fresh[number]
        return next(self._stored(number, number + 1), None)

    def change(self, part: Part, status: str, by: str = "", cause: str = "") -> bool:
        """Give a part another status; False if it has ended already, or has it, or is forgotten.

        What is stored decides, for another broker may have told more of it than its message remembers.
        """
        known = self._current(part)
        if known is None or known.ended or known.status == status:
            return False
        part.become(status, self._broker.now, by, cause)
        self._broker.journal.update(self._queue, part.record)
        self._note(part.number, part)
        if status in ENDS:
            if part.durable:
                self._note_end(part)
            self.tell_end(part.id)
        return True

    def forget(self, part: Part) -> None:
        """Keep a part no longer."""
        if self._current(part) is not None:
            self._broker.journal.delete(self._queue, part.record)
            self._note(part.number, None)

    def page(self, after: int, count: int) -> list[Part]:
        """Return the next parts behind a number, in the order of numbers, which means nothing."""
        fresh = {number: part for some in self._fresh.values() for number, part in some.items()}
        return [*islice(self._merge(max(after + 1, FIRST), 2 * FIRST, fresh), count)]

    # What is over.

    def sweep(self) -> None:
        """Forget what has ended long ago."""
        self._leave_to_store()
        if self._ends:
            self._broker.again[self] = None

    def go_on(self, read: Read) -> None:
        """Look at some more of what has ended."""
        broker = self._broker
        rows = read(self._ends, DEFAULT_PRIORITY, self._place, ONE_GO, WINDOW_BYTES)
        for seq, meta, tail in rows:
            end = Message.from_record(seq, DEFAULT_PRIORITY, meta, tail)
            crowded = self._ended > broker.track_most
            if end.expires > broker.now and not crowded:
                return
            self._place = seq
            self._ended -= 1
            broker.journal.delete(self._ends, end)
            part = self.get(int(tail))
            # It may be another's number by now: one that is not over.
            if part is not None and (part.ended or not part.durable):
                if crowded:
                    self.forget(part)
                else:
                    self._forget_all_with(part)
            if broker.late:
                break
        if rows:
            broker.again[self] = None

    def _forget_all_with(self, part: Part) -> None:
        """Forget all copies of a message, if they are over; else look at this one again later."""
        parts = self.copies_of(part)
        if any(each.durable and not each.ended for each in parts):
            self._note_end(part)
            return
        over = max(each.changed for each in parts) + self._broker.track_for
        if over > self._broker.now:
            self._note_end(part, over)
            return
        for each in parts:
            self.forget(each)

    def _current(self, part: Part) -> Part | None:
        """Return a part as it is now, None if it is forgotten; its number may be another's by now."""
        known = self.get(part.number)
        return known if known is not None and known.record.tail == part.record.tail else None

    def _note_end(self, part: Part, moment: int = 0) -> None:
        """Note that a part is to be forgotten at a moment, or else after a while."""
        broker = self._broker
        if not self._ends:
            self._ends = broker.routes.hidden(ENDED_AS)
        end = Message(broker.next_seq, b"%d" % part.number, durable=True)
        broker.next_seq += 1
        end.expires = moment or broker.now + broker.track_for
        broker.journal.put(self._ends, end)
        self._ended += 1

    # What the store holds, and what is on its way there.

    def _note(self, number: int, part: Part | None) -> None:
        """Remember what becomes of a part until the store shows it."""
        broker = self._broker
        self._leave_to_store()
        self._fresh.setdefault(place_with(number), {})[number] = part
        self._stamps[number] = broker.next_seq
        self._stamps.move_to_end(number)
        broker.next_seq += 1

    def _leave_to_store(self) -> None:
        """Remember no longer what the store shows."""
        fresh, stamps = self._fresh, self._stamps
        while stamps and next(iter(stamps.values())) <= self._broker.committed:
            written, _ = stamps.popitem(last=False)
            place = place_with(written)
            del fresh[place][written]
            if not fresh[place]:
                del fresh[place]

    def _free(self, id: str, count: int) -> Sequence[int]:
        """Return so many numbers that an id may have, or fewer: behind all that are taken, then between them.

        Those of parts that are forgotten are free once the store has heard of it.
        """
        place, end = place_of(id), place_of(id) + MOST_PARTS
        behind = self._behind(place, end)
        if behind + count <= end:
            return range(behind, behind + count)
        self._leave_to_store()
        fresh = self._fresh.get(place, {})
        taken = fresh.keys() | {part.number for part in self._stored(place, end)}
        return [number for number in range(place, end) if number not in taken][:count]

    def _behind(self, place: int, end: int) -> int:
        """Return the first number of a place behind all that are taken."""
        behind = self._taken.get(place)
        if behind is None:
            self._leave_to_store()
            behind = max(self._fresh.get(place, ()), default=place - 1) + 1
            if self._has_from(behind, end):
                rest = range(behind, end)
                behind += bisect_left(rest, True, key=lambda each: not self._has_from(each, end))
            if len(self._taken) >= PLACES:
                self._taken.clear()
            self._taken[place] = behind
        return behind

    def _has_from(self, number: int, end: int) -> bool:
        """Tell whether the store shows a part from a number to before another."""
        if not self._queue or self._read is None:
            return False
        rows = self._read(self._queue, DEFAULT_PRIORITY, number - 1, 1, 0)
        return bool(rows) and rows[0][0] < end

    def _around(self, place: int) -> Iterator[Part]:
        """Return what lies at a place, oldest first."""
        return self._merge(place, place + MOST_PARTS, self._fresh.get(place, {}))

    def _merge(self, first: int, end: int, fresh: Mapping[int, Part | None]) -> Iterator[Part]:
        """Return the parts from a number to before another; `fresh` is all that the store may not show yet."""
        here = (part for part in fresh.values() if part and first <= part.number < end)
        stored = (part for part in self._stored(first, end) if part.number not in fresh)
        return merge(sorted(here, key=by_number), stored, key=by_number)

    def _stored(self, first: int, end: int) -> Iterator[Part]:
        """Return the same as far as the store shows them."""
        if not self._queue or self._read is None:
            return
        count = FEW
        while True:
            rows = self._read(self._queue, DEFAULT_PRIORITY, first - 1, count, WINDOW_BYTES)
            for seq, meta, tail in rows:
                if seq >= end:
                    return
                yield Part(Message.from_record(seq, DEFAULT_PRIORITY, meta, tail))
            if not rows:
                return
            first, count = rows[-1][0] + 1, MANY


by_number = attrgetter("number")


def place_of(id: str) -> int:
    """Return the number at which the parts of an id begin."""
    hashed = int.from_bytes(blake2b(id.encode(), digest_size=8).digest(), "big")
    return FIRST + (hashed >> (64 - HASH_BITS) << ORDINAL_BITS)


def place_with(number: int) -> int:
    """Return the place at which a part of a number lies."""
    return number >> ORDINAL_BITS << ORDINAL_BITS


def summary(parts: Sequence[Part]) -> str:
    """Return the status of all copies of a message: PROCESSED when all are, and no better than the worst."""
    statuses = {part.status for part in parts}
    if FAILED in statuses:
        return FAILED
    if EXPIRED in statuses:
        return EXPIRED
    return next(status for status in STATUSES if status in statuses)
