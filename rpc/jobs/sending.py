"""A message before it is sent: what its sender may choose, checked, and the header lines that say it. Pure.

    SEND  destination, persistent:true, correlation-id:ID, dedup-id:ID, report:processed …

One id is all that a message is known by: to its receiver, to whoever asks what became of it, and to the broker, which
keeps only one message of an id. So a SEND whose RECEIPT was lost can be sent again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypedDict
from uuid import uuid4

from broker.stomp.frame import header_lines
from rpc.calling.calls import Kind
from rpc.calling.options import VERSION
from rpc.calling.posting import Posting, posting

SEND_TIMEOUT = 30.0  # seconds for the broker to confirm a message
TEXT = "text/plain;charset=utf-8"
#: Headers that are ours to write.
RESERVED = frozenset(
    (
        *("content-length", "correlation-id", "dedup-id", "destination", "expiration", "expires"),
        *("persistent", "priority", "receipt", "report", "transaction", "ttl"),
    )
)


class SendOptions(TypedDict, total=False):
    """How a message is sent, as keyword arguments."""

    feedback: bool  # its status is kept, and can be asked for; True unless told otherwise
    priority: int | None  # 0 to 9: higher ones are handed out first; the broker's default is 4
    ttl: float | None  # seconds after which nobody needs to process it any more; None: never
    headers: Mapping[str, str] | None  # more of them, for the receiver to read
    id: (
        str | None
    )  # nobody else's; None: a new one. Two messages of one id to one destination are one


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message that is ready to be sent."""

    id: str
    destination: str
    body: bytes
    kind: Kind[Posting]
    feedback: bool


def prepare(
    destination: str,
    body: bytes | str,
    *,
    feedback: bool = True,
    priority: int | None = None,
    ttl: float | None = None,
    headers: Mapping[str, str] | None = None,
    id: str | None = None,
) -> Outgoing:
    """Return a message that is ready to be sent. Raises `ValueError` and `TypeError` for what makes no sense."""
    more = dict(headers or {})
    if taken := sorted(RESERVED & more.keys()):
        raise ValueError(f"The header {taken[0]} is the message's own")
    if isinstance(body, str):
        more.setdefault("content-type", TEXT)
        body = body.encode()
    elif not isinstance(body, bytes):
        raise TypeError(f"A body is bytes or str, not {type(body).__name__}")
    if id is None:
        id = uuid4().hex
    elif not id:
        raise ValueError("An id is a text of your own, or None for a new one")
    own = {
        "destination": destination,
        "persistent": "true",
        "correlation-id": id,
        "dedup-id": id,
    }
    if feedback:
        own["report"] = "processed"
    if priority is not None:
        if priority not in range(10):
            raise ValueError(f"A priority is 0 to 9, not {priority!r}")
        own["priority"] = str(priority)
    if ttl is not None:
        if not 0 < ttl < math.inf:
            raise ValueError(f"A ttl is a positive number of seconds, or None, not {ttl!r}")
        own["ttl"] = str(math.ceil(ttl * 1000))
    lines = header_lines((own | more).items(), VERSION)
    return Outgoing(id, destination, body, posting(lines), feedback)
