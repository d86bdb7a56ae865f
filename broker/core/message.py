"""One message, and the record of it that goes to disk.

The core reads only what it decides on: order, priority, expiry, durability. The rest is `tail`: the
bytes that every consumer gets behind its own head, made once when the message arrived. How those bytes
are written is the business of whoever made them.

Record format 2 (big endian), kept by the store in two pieces so that a large tail is never copied:

    meta:  u8 format = 2 | u8 flags | u8 times given back | u64 expires | group      tail: bytes

What is wanted of reports stands in the headers: here is one flag that sends whoever cares to them.

Format 1 had no group. Whoever changes it: a new format number here, the old one stays readable in
`Message.from_record`, and the fixtures of the old format go to tests/store/.
"""

from __future__ import annotations

import struct

RECORD_FORMAT = 2
KNOWN_FORMATS = (1, 2)
META = struct.Struct(">BBBQ")
#: Flags. 128 is that of a topic's log (`broker.core.durable.log`).
PLAIN, REDELIVERED, CLOSES_GROUP, REPLY, RETAIN, FORGET, REPORT = 1, 2, 4, 8, 16, 32, 64
EXTRAS = CLOSES_GROUP | REPLY | RETAIN | FORGET | REPORT
MOSTLY = META.pack(RECORD_FORMAT, PLAIN, 0, 0)  # the meta of most records
MOST_RETURNS = 255  # that a record can count

BULKY = 256 * 1024  # bytes of a tail that is handled with care
DEFAULT_PRIORITY = 4  # of 0 to 9, as in JMS

#: Somebody wants reports; who has read the headers puts what they say in its place. The second: and other queues have copies.
WANTED, WANTED_OF_SEVERAL = object(), object()


class UnknownFormat(Exception):
    """A stored record was written by a version of the broker that we do not know."""


class Extra:
    """What few messages have, so that the others need no room for it."""

    __slots__ = (
        "closes_group",
        "destination",
        "first_of_group",
        "group",
        "reply",
        "report",
        "retain",
        "retained",
    )

    def __init__(self) -> None:
        self.group = ""  # messages of a group go to one consumer (JMSXGroupID)
        self.closes_group = False  # the last of its group (JMSXGroupSeq:-1)
        self.first_of_group = False  # its consumer gets the group with this message
        self.destination = ""  # what its consumer is told, if not what it subscribed to
        self.reply = False  # its reply-to is a temporary destination
        #: Its sender wants to know what becomes of it: WANTED, or more.
        self.report: object | None = None
        self.retain = 0  # RETAIN: its topic keeps it for those who come later; FORGET: or none
        self.retained = False  # was sent before its consumer subscribed

    def copy(self) -> Extra:
        """Return an equal one."""
        twin = Extra()
        for name in Extra.__slots__:
            setattr(twin, name, getattr(self, name))
        return twin


class Message:
    """A message on its way through the core."""

    __slots__ = (
        "durable",
        "expires",
        "extra",
        "plain",
        "priority",
        "redelivered",
        "returns",
        "seq",
        "special",
        "tail",
    )

    def __init__(
        self,
        seq: int,
        tail: bytes,
        durable: bool,
        plain: bool = True,
        priority: int = DEFAULT_PRIORITY,
        expires: int = 0,
    ) -> None:
        self.seq = seq  # its place: first in, first out within a priority
        self.tail = tail  # what every consumer gets, ready to be written
        self.durable = durable  # goes to disk, unless it is consumed before
        self.plain = plain  # the tail reads the same in every version of the protocol
        self.priority = priority  # 0 (last) to 9 (first)
        self.expires = expires  # milliseconds since 1970; 0: never
        self.redelivered = False  # somebody may have seen it already
        self.returns = 0  # how often a consumer failed on it
        self.extra: Extra | None = None
        # Not plain, redelivered, large or with extras: one question on the common way, not four.
        self.special = not plain or len(tail) >= BULKY

    def mark_redelivered(self) -> None:
        """Remember that a consumer had it."""
        self.redelivered = self.special = True

    def mark(self) -> Extra:
        """Return what is extra about it, to be changed."""
        if self.extra is None:
            self.extra = Extra()
            self.special = True
        return self.extra

    def copy(self) -> Message:
        """Return a message of its own with the same tail, for one of several who share it."""
        twin = Message(self.seq, self.tail, self.durable, self.plain, self.priority, self.expires)
        twin.returns = self.returns
        twin.redelivered = self.redelivered
        twin.special = self.special
        if self.extra is not None:
            twin.extra = self.extra.copy()
        return twin

    def meta(self) -> bytes:
        """Return the record's first piece; the second is `tail`."""
        flags = (PLAIN if self.plain else 0) | (REDELIVERED if self.redelivered else 0)
        group, extra = b"", self.extra
        if extra is not None:
            group = extra.group.encode()
            flags |= CLOSES_GROUP if extra.closes_group else 0
            flags |= REPLY if extra.reply else 0
            flags |= REPORT if extra.report is not None else 0
            flags |= extra.retain
        returns = min(self.returns, MOST_RETURNS)
        return META.pack(RECORD_FORMAT, flags, returns, self.expires) + group

    @classmethod
    def from_record(cls, seq: int, priority: int, meta: bytes, tail: bytes) -> Message:
        """Return the message of a record. Raises `UnknownFormat`."""
        if meta == MOSTLY:
            return cls(seq, tail, True, True, priority)
        if meta[0] not in KNOWN_FORMATS:
            known = ", ".join(map(str, KNOWN_FORMATS))
            raise UnknownFormat(f"message record of format {meta[0]}, known are {known}")
        _, flags, returns, expires = META.unpack_from(meta)
        message = cls(seq, tail, True, bool(flags & PLAIN), priority, expires)
        message.returns = returns
        if flags & REDELIVERED:
            message.mark_redelivered()
        if len(meta) > META.size or flags & EXTRAS:
            extra = message.mark()
            extra.group = meta[META.size :].decode()
            extra.closes_group = bool(flags & CLOSES_GROUP)
            extra.reply = bool(flags & REPLY)
            extra.report = WANTED if flags & REPORT else None
            extra.retain = flags & (RETAIN | FORGET)
        return message
