"""What is stored of a durable subscription beside its messages: who it is, and how far it has come.

Marks of the store (`Journal.mark`), numbers in their keys, so that names may be as long as they like:

    durable/NUMBER/what      JSON: format = 1, and the fields of `What`
    durable/NUMBER/progress  u8 format = 1 | u64 high | u64 passed | u64 left | u32 n | n × u64 | n × u8
    durable-log/NUMBER       u64 deleted: records of a log that were deleted since it began

all big endian, the fields of `Progress` in their order; `open` is first the sequence numbers, ascending, then how
often each was given back. NUMBER is the subscription's own, or that of the log's stored queue.

Whoever changes it: a new format number here, and the old one stays readable.
"""

from __future__ import annotations

import json
import struct
import sys
from array import array
from typing import NamedTuple

from broker.core.message import UnknownFormat

FORMAT = 1
PROGRESS = struct.Struct(">BQQQI")
COUNT = struct.Struct(">Q")
PREFIX, WHAT = b"durable/", b"/what"


class What(NamedTuple):
    """Who subscribes to what."""

    client_id: str
    name: str
    topic: str  # or a pattern
    selector: str
    no_local: bool  # not what the client itself sends
    shared: bool  # several consumers may take turns
    created: int  # ms since 1970

    def encode(self) -> bytes:
        """Return the mark."""
        return json.dumps({"format": FORMAT, **self._asdict()}).encode()

    @classmethod
    def decode(cls, mark: bytes) -> What:
        """Return what a mark says. Raises `UnknownFormat`."""
        fields = json.loads(mark)
        check_format(fields.pop("format"))
        return cls(**fields)


class Progress(NamedTuple):
    """How far a subscription has come."""

    high: int  # all up to here was handed out, passed over or done
    passed: int  # messages of the log up to there
    left: int  # when the last consumer went, ms since 1970; 0: one is there
    #: seq → times given back (255: or more), of what is not done up to high; ascending
    open: dict[int, int]

    def encode(self) -> bytes:
        """Return the mark."""
        head = PROGRESS.pack(FORMAT, self.high, self.passed, self.left, len(self.open))
        if not self.open:
            return head
        open_ = array("Q", self.open)
        if sys.byteorder == "little":
            open_.byteswap()
        return b"".join((head, open_.tobytes(), bytes(self.open.values())))

    @classmethod
    def decode(cls, mark: bytes) -> Progress:
        """Return what a mark says. Raises `UnknownFormat`."""
        check_format(mark[0])
        _, high, passed, left, count = PROGRESS.unpack_from(mark)
        end = PROGRESS.size + 8 * count
        open_ = array("Q", mark[PROGRESS.size : end])
        if sys.byteorder == "little":
            open_.byteswap()
        return cls(high, passed, left, dict(zip(open_, mark[end:], strict=True)))


def check_format(found: int) -> None:
    """Raise `UnknownFormat` for a mark that we cannot read."""
    if found != FORMAT:
        raise UnknownFormat(f"mark of a durable subscription of format {found}, known is {FORMAT}")


def what_key(number: int) -> bytes:
    """Return the key of the mark that says who a subscription is."""
    return b"%b%d%b" % (PREFIX, number, WHAT)


def number_of(key: bytes) -> int | None:
    """Return the subscription that a key says `what_key` of, None for any other key."""
    if not (key.startswith(PREFIX) and key.endswith(WHAT)):
        return None
    return int(key[len(PREFIX) : -len(WHAT)])


def progress_key(number: int) -> bytes:
    """Return the key of the mark that says how far a subscription has come."""
    return b"%b%d/progress" % (PREFIX, number)


def log_key(number: int) -> bytes:
    """Return the key of a log's mark."""
    return b"durable-log/%d" % number
