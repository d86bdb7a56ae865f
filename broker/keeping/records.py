"""What the records of each stored queue are, told by its name, and read as the core reads them.

Whoever stores something new writes a row into `KINDS`: `hoofbeat check` looks into what has one. Knows no store.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from typing import NamedTuple

from broker.core.dedup import STORED_AS as DEDUP
from broker.core.durable.log import LANE, read_record
from broker.core.durable.log import STORED_AS as LOG
from broker.core.message import DEFAULT_PRIORITY, Message, UnknownFormat
from broker.core.names import HIDDEN
from broker.core.schedule import STORED_AS as SCHEDULE
from broker.core.schedule.job import FIRST as FIRST_JOB
from broker.core.schedule.job import PRIORITY as SCHEDULED
from broker.core.schedule.job import Job
from broker.core.tracking import ENDED_AS, Part
from broker.core.tracking import FIRST as FIRST_PART
from broker.core.tracking import STORED_AS as TRACKED
from broker.errors import StompError
from broker.peering.address import TARGET
from broker.peering.queue import STORED_AS as PEER
from broker.tail import END, ID, parse

#: What is raised by reading what makes no sense.
NONSENSE = (
    *(UnknownFormat, StompError, struct.error),
    *(ValueError, TypeError, LookupError, AttributeError),
)
LENGTH = b"content-length"


class Kind(NamedTuple):
    """What records of some queues are."""

    what: str  # several of them, for an operator
    begins: str  # the names of the queues
    read: Callable[
        [int, int, bytes, bytes], object
    ]  # priority, number, meta, tail; raises NONSENSE
    lane: int | None = None  # the only one that is looked at, if there is one
    arrival: bool = True  # their numbers count arrivals


class Broken(ValueError):
    """A record cannot be what it should be."""


def split_tail(tail: bytes) -> tuple[dict[str, str], bytes]:
    """Return headers and body of a message's tail. Raises `NONSENSE`."""
    end = tail.index(b"\n\n")
    lines, _, last = tail[:end].rpartition(b"\n")
    name, _, length = last.partition(b":")
    if not tail.startswith(ID) or name != LENGTH:
        raise Broken("a message begins with its id, and its headers end with the body's length")
    body = tail[end + 2 : -len(END)]
    if not tail.endswith(END) or int(length) != len(body):
        raise Broken(f"the body has {len(body)} bytes, and should have {length.decode()}")
    return parse(lines), body


def _read_message(priority: int, seq: int, meta: bytes, tail: bytes) -> object:
    Message.from_record(seq, priority, meta, tail)
    return split_tail(tail)


def _read_for_peer(priority: int, seq: int, meta: bytes, tail: bytes) -> object:
    Message.from_record(seq, priority, meta, tail)
    return split_tail(tail)[0][TARGET]


def _read_logged(priority: int, seq: int, meta: bytes, tail: bytes) -> object:
    message, _ = read_record(seq, meta, tail)
    return split_tail(message.tail)


def _read_job(priority: int, seq: int, meta: bytes, tail: bytes) -> object:
    if seq < FIRST_JOB:
        raise Broken("its number is no moment")
    return split_tail(Job.from_record(seq, meta, tail).tail)


def _read_id(priority: int, seq: int, meta: bytes, tail: bytes) -> object:
    if not tail:
        raise Broken("the id is empty")
    return Message.from_record(seq, priority, meta, tail)


def _read_part(priority: int, seq: int, meta: bytes, tail: bytes) -> object:
    if not FIRST_PART <= seq < FIRST_JOB:
        raise Broken("its number is that of no message's id")
    return Part(Message.from_record(seq, priority, meta, tail)).status


def _read_end(priority: int, seq: int, meta: bytes, tail: bytes) -> object:
    Message.from_record(seq, priority, meta, tail)
    return int(tail)


#: The first one whose `begins` fits.
KINDS = (
    Kind("scheduled messages", SCHEDULE, _read_job, SCHEDULED, arrival=False),
    Kind("ids of messages that came before (dedup-id)", DEDUP, _read_id, DEFAULT_PRIORITY),
    Kind("messages for durable subscriptions", LOG, _read_logged, LANE),
    Kind("ends of tracked messages", ENDED_AS, _read_end, DEFAULT_PRIORITY),
    Kind("statuses of tracked messages", TRACKED, _read_part, DEFAULT_PRIORITY, arrival=False),
    Kind("messages for other brokers", PEER, _read_for_peer),
    Kind("records of a kind not known here, not looked into", HIDDEN, lambda *record: None),
    Kind("messages in queues", "", _read_message),
)


def kind_of(name: str) -> Kind:
    """Return what the records of a stored queue of this name are."""
    return next(kind for kind in KINDS if name.startswith(kind.begins))


def why(error: Exception) -> str:
    """Return in words what is wrong with a record that could not be read."""
    if isinstance(error, KeyError):
        return f"{error} is missing"
    if isinstance(error, struct.error | IndexError | json.JSONDecodeError):
        return f"it is cut off, or not what it should be ({error})"
    return str(error)
