r"""A message's tail: the bytes every consumer gets behind a head of its own, written once.

    message-id:…\n timestamp:…\n user's headers\n content-length:…\n\n body \0\n

It is kept, in memory and on disk, as STOMP 1.2 escapes it. A tail without anything to escape (`plain`)
reads the same in every version; another is written anew for a consumer of another version.

The user's headers pass untouched and in order. Left out are those that are ours to write and those that
were meant for the broker alone, so that a MESSAGE never has a header twice: the first occurrence wins, but
naive clients take the last.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping

from broker.stomp.frame import Frame, header_lines
from broker.stomp.parser import Limits, Parser
from broker.stomp.template import Template

TAIL_VERSION = "1.2"
END = b"\0\n"  # exactly one LF, in the same write: php-stomp needs it, and no more
ID = b"message-id:"
#: What was let in is not measured again: escaped it may be longer than it came, and settings may change.
UNLIMITED = Limits(
    header_line=sys.maxsize, headers=sys.maxsize, header_block=sys.maxsize, receipt=sys.maxsize
)

#: Headers of a SEND that its MESSAGE does not repeat.
OURS = frozenset(
    (
        "ack",
        "ActiveMQ.Retained",
        "browser",
        "content-length",
        "destination",
        "JMSXDeliveryCount",
        "JMSXGroupFirstForConsumer",
        "JMSXUserID",
        "message-id",
        "peer-to",
        "peer-via",
        "receipt",
        "report-id",
        "report-owner",
        "report-to",
        "redelivered",
        "subscription",
        "transaction",
        # A schedule is for the broker; what it sends in the end is an ordinary message.
        "AMQ_SCHEDULED_CRON",
        "AMQ_SCHEDULED_DELAY",
        "AMQ_SCHEDULED_PERIOD",
        "AMQ_SCHEDULED_REPEAT",
        "AMQ_SCHEDULED_TIME",
    )
)
ESCAPED = re.compile(r"\\[\\cnr]")
MEANING = {"\\\\": "\\", "\\c": ":", "\\n": "\n", "\\r": "\r"}


def middle(frame: Frame, changed: Mapping[str, str]) -> bytes:
    """Return what stands between timestamp and body of a SEND's tail; `changed` headers are as given."""
    headers = frame.headers
    if changed:
        headers = {**{n: v for n, v in headers.items() if n not in OURS}, **changed}
        users = header_lines(headers.items(), TAIL_VERSION)
    elif frame.plain:
        users = "".join([f"{n}:{v}\n" for n, v in headers.items() if n not in OURS]).encode()
    else:
        users = header_lines(
            [item for item in headers.items() if item[0] not in OURS], TAIL_VERSION
        )
    return b"%bcontent-length:%d\n\n" % (users, len(frame.body))


def middle_form(template: Template, changed: Mapping[str, str]) -> bytes:
    """Return the same for every SEND of a template: bytes to be filled with its values and the length."""
    form = b""
    rest = dict(changed)
    for name, value in template.headers.items():
        is_hole = name in template.holes
        if is_hole and (name in OURS or name in changed):
            form += b"%.0b"  # takes a value and writes nothing
        if name in OURS:
            continue
        if is_hole and name not in changed:
            form += b"%b:%%b\n" % name.replace("%", "%%").encode()
        else:
            item = name, rest.pop(name, value)
            form += header_lines([item], TAIL_VERSION).replace(b"%", b"%%")
    form += header_lines(rest.items(), TAIL_VERSION).replace(b"%", b"%%")
    return form + b"content-length:%d\n\n"


def message_id(tail: bytes) -> str:
    """Return the message-id of a tail."""
    return tail[len(ID) : tail.index(b"\n")].decode()


def rename(tail: bytes, id: bytes) -> bytes:
    """Return a tail with another message-id."""
    return ID + id + tail[tail.index(b"\n") :]


def rewrite(tail: bytes, version: str) -> bytes:
    """Return a tail as another version writes it."""
    head, _, body = tail.partition(b"\n\n")
    users, _, length = head.rpartition(b"\n")
    return b"%b%b\n\n%b" % (header_lines(parse(users).items(), version), length, body)


def parse(lines: bytes) -> dict[str, str]:
    """Return what the header lines of a tail say."""
    parser = Parser(UNLIMITED)
    parser.version = TAIL_VERSION
    [frame] = parser.feed(b"MESSAGE\n%b\n\n\0" % lines)
    return frame.headers


def read_headers(tail: bytes) -> dict[str, str]:
    """Return the headers of a tail as their sender meant them, and its message-id; no content-length."""
    return parse(tail[: tail.index(b"\n\n")].rpartition(b"\n")[0])


def new_tail(id: bytes, headers: Mapping[str, str], body: bytes) -> bytes:
    """Return the tail of a message of our own. `id` is unique; reserved headers are left out."""
    return b"".join((ID, id, b"\n", middle(Frame("MESSAGE", dict(headers), body), {}), body, END))


def replace_reply_to(tail: bytes, others: Mapping[str, str]) -> bytes:
    """Return a tail whose reply-to has another name, if there is one for it."""
    mark = b"\nreply-to:"
    start = tail.index(mark) + len(mark)
    end = tail.index(b"\n", start)
    other = others.get(tail[start:end].decode())
    if other is None:
        return tail
    return tail[:start] + header_lines([("", other)], TAIL_VERSION)[1:-1] + tail[end:]


def unescape(value: str) -> str:
    """Return the text that a header's value in a tail stands for."""
    return ESCAPED.sub(lambda found: MEANING[found[0]], value)


def annotate(tail: bytes, headers: Mapping[str, str | None]) -> bytes:
    """Return a tail with these headers behind its message-id, without those of the same names it had.

    None stands for a header that is only taken out.
    """
    end = tail.index(b"\n\n")
    first, *lines = tail[:end].split(b"\n")
    marks = tuple(header_lines([(name, "")], TAIL_VERSION)[:-1] for name in headers)
    kept = [line for line in lines if not line.startswith(marks)]
    new = [(name, value) for name, value in headers.items() if value is not None]
    head = b"\n".join(
        (first, header_lines(new, TAIL_VERSION)[:-1], *kept) if new else (first, *kept)
    )
    return b"".join((head, memoryview(tail)[end:]))
