r"""A message that is to be delivered later, once or again and again, and the record of it that goes to disk.

A job is known by its number: bit 62, then 42 bits of the moment it is due (milliseconds since 1970, until
2109), then 20 bits that tell those of one millisecond apart. So numbers have the order in which jobs are
due, they are sequence numbers of the store, and none is ever that of an ordinary message.

The record is that of the message (`Message.meta`), with one line of JSON before its tail:

    [1, id, destination, priority, sent, first, delay, period, repeat, cron] \n tail

1 is the format of the line. Whoever changes it: a new number, and `Job.from_record` still reads the old one.
"""

from __future__ import annotations

import json
from typing import NamedTuple

from broker.core.message import Message, UnknownFormat

FORMAT = 1
PRIORITY = 0  # the lane that all records lie in; a message's own priority stands in the line
FIRST = 1 << 62  # the number of whatever is due at 0 is this
ORDINAL_BITS = 20
LAST_DUE = (1 << 42) - (1 << 16)  # milliseconds since 1970; what follows is for spilling over


def number_at(due: int) -> int:
    """Return the lowest number of what is due at a moment."""
    return FIRST + (min(max(due, 0), LAST_DUE) << ORDINAL_BITS)


def due_at(number: int) -> int:
    """Return when the job of a number is due, in milliseconds since 1970."""
    return (number - FIRST) >> ORDINAL_BITS


class Plan(NamedTuple):
    """What is to be done with a message, and when. Times in milliseconds."""

    id: str  # of the job, for whoever manages it; "": nobody does, it is a message given back
    destination: str
    priority: int  # of the message
    sent: int  # when it was sent, since 1970
    first: bool  # none was delivered yet
    delay: int = 0  # from a tick of cron to the first delivery
    period: int = 0  # from each delivery to the next
    repeat: int = 0  # deliveries after the next one; -1: without end
    cron: str = ""

    @property
    def series(self) -> bool:
        """True when a tick of cron begins deliveries rather than being one."""
        return bool(self.cron) and bool(self.delay or self.repeat)

    @property
    def goes_on(self) -> bool:
        """True when more deliveries follow the next one."""
        return bool(self.cron or self.repeat)


class Job:
    """A message, its plan and its next moment."""

    __slots__ = ("ended", "number", "plan", "record", "suspect", "tail_at")

    def __init__(self, number: int, plan: Plan, record: Message, tail_at: int) -> None:
        """Use `make` or `from_record`."""
        self.number = number
        self.plan = plan
        self.record = record  # what the store is given
        self.tail_at = tail_at  # where the message's tail begins in the record's
        self.suspect = False  # may have been delivered before a crash
        self.ended = False  # delivered or removed

    @classmethod
    def make(cls, number: int, plan: Plan, message: Message, tail: bytes) -> Job:
        """Return the job for a message with this tail."""
        line = json.dumps((FORMAT, *plan)).encode() + b"\n"
        record = message.copy()
        record.seq = number
        record.priority = PRIORITY
        record.tail = line + tail
        return cls(number, plan, record, len(line))

    @classmethod
    def from_record(cls, number: int, meta: bytes, data: bytes) -> Job:
        """Return the job of a record. Raises `UnknownFormat`."""
        tail_at = data.index(b"\n") + 1
        known, *plan = json.loads(data[:tail_at].decode())
        if known != FORMAT:
            raise UnknownFormat(f"schedule record of format {known}, known is {FORMAT}")
        record = Message.from_record(number, PRIORITY, meta, data)
        return cls(number, Plan(*plan), record, tail_at)

    @property
    def due(self) -> int:
        """When it is to be delivered next, in milliseconds since 1970."""
        return due_at(self.number)

    @property
    def size(self) -> int:
        """Bytes that it takes."""
        return len(self.record.tail)

    @property
    def tail(self) -> bytes:
        """The message's tail."""
        return self.record.tail[self.tail_at :]

    def expires(self, now: int) -> int:
        """Return when a copy delivered now expires: a lifetime begins with the delivery, as in ActiveMQ.

        Not that of a message given back: its lifetime goes on.
        """
        expires = self.record.expires
        return now + expires - self.plan.sent if expires and self.plan.id else expires
