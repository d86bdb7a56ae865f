"""One message, and the record of it that goes to disk.

The core reads only what it decides on: order, priority, expiry, durability. The rest is `tail`: the
bytes that every consumer gets behind its own head, made once when the message arrived. How those bytes
are written is the business of whoever made them.

Record format 1 (big endian), kept by the store in two pieces so that a large tail is never copied:

    meta:  u8 format = 1 | u8 flags | u8 times given back | u64 expires      tail: bytes

Whoever changes it: a new format number here, the old one stays readable in `Message.from_record`, and
the fixtures of the old format go to tests/store/.
"""

from __future__ import annotations

import struct

RECORD_FORMAT = 1
META = struct.Struct(">BBBQ")
PLAIN, REDELIVERED = 1, 2  # flags

BULKY = 256 * 1024  # bytes of a tail that is handled with care
DEFAULT_PRIORITY = 4  # of 0 to 9, as in JMS


class UnknownFormat(Exception):
    """A stored record was written by a version of the broker that we do not know."""


class Message:
    """A message on its way through the core."""

    __slots__ = (
        "durable",
        "expires",
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
        self.returns = 0  # how often a consumer gave it back on purpose
        # Not plain, redelivered or large: one question on the common way, not three.
        self.special = not plain or len(tail) >= BULKY

    def mark_redelivered(self) -> None:
        """Remember that a consumer had it."""
        self.redelivered = self.special = True

    def copy(self) -> Message:
        """Return a message of its own with the same tail, for one of several who share it."""
        twin = Message(self.seq, self.tail, self.durable, self.plain, self.priority, self.expires)
        twin.returns = self.returns
        twin.redelivered = self.redelivered
        twin.special = self.special
        return twin

    def meta(self) -> bytes:
        """Return the record's first piece; the second is `tail`."""
        flags = (PLAIN if self.plain else 0) | (REDELIVERED if self.redelivered else 0)
        return META.pack(RECORD_FORMAT, flags, min(self.returns, 255), self.expires)

    @classmethod
    def from_record(cls, seq: int, priority: int, meta: bytes, tail: bytes) -> Message:
        """Return the message of a record. Raises `UnknownFormat`."""
        if meta[0] != RECORD_FORMAT:
            raise UnknownFormat(f"message record of format {meta[0]}, known is {RECORD_FORMAT}")
        _, flags, returns, expires = META.unpack(meta)
        message = cls(seq, tail, True, bool(flags & PLAIN), priority, expires)
        message.returns = returns
        if flags & REDELIVERED:
            message.mark_redelivered()
        return message
