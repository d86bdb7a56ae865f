"""Stores as lines of JSON: the format of `hoofbeat export`, version 1. docs/operations.md describes it.

A message is written as what it means: destination, headers, body. So a person reads it with `jq`, and another version
of the broker may store it in another way. That nothing is lost is not left to hope: each line is at once made a
record again, and if that is not the one there was, to the byte, the record is written as it is instead, in base64.

Pure: records in, lines out, and back. Whoever changes what a line means: a new FORMAT, and `Reader` still reads the old.
"""

from __future__ import annotations

import json
from typing import TypeAlias

import msgspec

from broker.core.durable.log import NOTE, NOTED, Record, read_record
from broker.core.durable.log import STORED_AS as LOG
from broker.core.message import FORGET, META, RECORD_FORMAT, RETAIN, WANTED, Message
from broker.core.schedule import STORED_AS as SCHEDULE
from broker.core.schedule.job import FORMAT as JOB_FORMAT
from broker.core.schedule.job import Job, Plan
from broker.keeping.records import LENGTH, NONSENSE, Broken, split_tail
from broker.stomp.frame import header_lines
from broker.tail import END, TAIL_VERSION

FORMAT = 1
KEEPS = {0: "", RETAIN: "this", FORGET: "none"}  # what a topic is to retain
RETAINS = {word: flag for flag, word in KEEPS.items()}

Row = tuple[int, int, bytes, bytes]  # priority, number, meta, tail


class Head(msgspec.Struct, tag="hoofbeat", forbid_unknown_fields=True):
    """The first line: whose messages these are."""

    format: int
    version: str  # of the broker that wrote it
    node: str
    boot: int
    next_seq: int
    clean: bool  # the broker had ended in order; else whatever is here may have been delivered
    written: str  # when, for people


class Queue(msgspec.Struct, tag="queue", forbid_unknown_fields=True):
    """A stored queue. All stand before the first record."""

    number: int
    name: str
    lanes: dict[int, int]  # priority → records, for people


class Note(msgspec.Struct, forbid_unknown_fields=True):
    """What the log of a topic has of a message that is not as most."""

    priority: int
    persistent: bool
    sender: str
    destination: str


class Due(msgspec.Struct, forbid_unknown_fields=True):
    """When a message is to be delivered, and where: `broker.core.schedule.job.Plan`."""

    id: str
    destination: str
    priority: int
    sent: int
    first: bool
    delay: int
    period: int
    repeat: int
    cron: str


class Line(msgspec.Struct, tag="record", omit_defaults=True, forbid_unknown_fields=True):
    """A record. Those of one queue and priority stand together, in the order of their numbers."""

    queue: str
    priority: int
    seq: int
    # What the core knows of it.
    plain: bool = True
    redelivered: bool = False
    returns: int = 0
    expires: int = 0
    group: str = ""
    closes_group: bool = False
    reply: bool = False
    report: bool = False
    retain: str = ""
    note: Note | None = None
    due: Due | None = None
    # A message; or the tail of what is none; or the record as it is. Of each pair one.
    headers: dict[str, str] | None = None
    body: str | None = None
    body64: bytes | None = None
    tail: str | None = None
    tail64: bytes | None = None
    meta64: bytes | None = None


class Mark(msgspec.Struct, tag="mark", omit_defaults=True, forbid_unknown_fields=True):
    """A mark. Of each pair one."""

    key: str | None = None
    key64: bytes | None = None
    value: str | None = None
    value64: bytes | None = None


class End(msgspec.Struct, tag="end", forbid_unknown_fields=True):
    """The last line: what has it is complete."""


AnyLine: TypeAlias = Head | Queue | Line | Mark | End


class Decoder:
    """Reads lines."""

    def __init__(self) -> None:
        self._decoder = msgspec.json.Decoder(AnyLine)

    def decode(self, text: bytes) -> AnyLine:
        """Return what a line says. Raises `Broken`, in words for whoever wrote it."""
        try:
            line: AnyLine = self._decoder.decode(text)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise Broken(str(error)) from None
        return line


ENCODER = msgspec.json.Encoder()


def encode(line: AnyLine) -> bytes:
    """Return a line, with its end."""
    return ENCODER.encode(line) + b"\n"


# Records.


def line_of(queue: str, priority: int, seq: int, meta: bytes, tail: bytes) -> Line:
    """Return the line of a record."""
    try:
        line = _written(queue, priority, seq, meta, tail)
        again = row_of(line)
    except NONSENSE:
        pass
    else:
        if again == (priority, seq, current(meta), tail):
            return line
    return Line(queue, priority, seq, meta64=meta, tail64=tail)


def row_of(line: Line) -> Row:
    """Return the record of a line. Raises `NONSENSE` if it cannot be one."""
    if line.meta64 is not None:
        if line.tail64 is None:
            raise Broken("meta64 goes with tail64")
        return line.priority, line.seq, line.meta64, line.tail64
    if line.retain not in RETAINS:
        raise Broken(f"retain cannot be {line.retain!r}")
    tail = _tail_of(line)
    message = (Message if line.note is None else Record)(
        line.seq, tail, True, line.plain, line.priority, line.expires
    )
    message.redelivered, message.returns = line.redelivered, line.returns
    if line.group or line.closes_group or line.reply or line.report or line.retain:
        extra = message.mark()
        extra.group, extra.closes_group, extra.reply = line.group, line.closes_group, line.reply
        extra.report = WANTED if line.report else None
        extra.retain = RETAINS[line.retain]
    return line.priority, line.seq, message.meta(), tail


def current(meta: bytes) -> bytes:
    """Return a record's meta as it is written today. Format 1 differs in its number, and has no group."""
    if len(meta) == META.size and meta[0] == 1:
        return bytes((RECORD_FORMAT,)) + meta[1:]
    return meta


def _written(queue: str, priority: int, seq: int, meta: bytes, tail: bytes) -> Line:
    """Return what a record means. Raises `NONSENSE` if it is not as expected."""
    message = Message.from_record(seq, priority, meta, tail)
    line = Line(
        queue,
        priority,
        seq,
        message.plain,
        message.redelivered,
        message.returns,
        message.expires,
    )
    if (extra := message.extra) is not None:
        line.group, line.closes_group, line.reply = extra.group, extra.closes_group, extra.reply
        line.report, line.retain = extra.report is not None, KEEPS[extra.retain]
    if queue.startswith(LOG) and meta[1] & NOTED:
        sent, sender = read_record(seq, meta, tail)
        destination = "" if sent.extra is None else sent.extra.destination
        line.note = Note(sent.priority, sent.durable, sender, destination)
        tail = sent.tail
    elif queue == SCHEDULE:
        job = Job.from_record(seq, meta, tail)
        line.due = Due(*job.plan)
        tail = job.tail
    elif queue.startswith("\0") and not tail.startswith(b"message-id:"):
        line.tail, line.tail64 = text_or_bytes(tail)
        return line
    line.headers, body = split_tail(tail)
    line.body, line.body64 = text_or_bytes(body)
    return line


def _tail_of(line: Line) -> bytes:
    if line.headers is None:
        return one_of(line.tail, line.tail64, "tail")
    body = one_of(line.body, line.body64, "body")
    head = header_lines(line.headers.items(), TAIL_VERSION)
    tail = b"".join((head, LENGTH, b":%d\n\n" % len(body), body, END))
    if line.note is not None:
        note = line.note
        names = note.sender.encode(), note.destination.encode()
        return b"".join((NOTE.pack(note.priority, note.persistent, *map(len, names)), *names, tail))
    if line.due is not None:
        plan = Plan(*msgspec.structs.astuple(line.due))
        return json.dumps((JOB_FORMAT, *plan)).encode() + b"\n" + tail
    return tail


# Marks.


def mark_of(key: bytes, value: bytes) -> Mark:
    """Return the line of a mark."""
    return Mark(*text_or_bytes(key), *text_or_bytes(value))


def key_and_value(mark: Mark) -> tuple[bytes, bytes]:
    """Return the mark of a line. Raises `Broken`."""
    return one_of(mark.key, mark.key64, "key"), one_of(mark.value, mark.value64, "value")


def text_or_bytes(data: bytes) -> tuple[str | None, bytes | None]:
    """Return bytes as text if they are some, else as they are."""
    try:
        return data.decode(), None
    except UnicodeDecodeError:
        return None, data


def one_of(text: str | None, data: bytes | None, name: str) -> bytes:
    """Return what `text_or_bytes` was given. Raises `Broken`."""
    if text is not None and data is None:
        return text.encode()
    if data is not None and text is None:
        return data
    raise Broken(f"there must be {name} or {name}64, and not both")
