"""Messages of the broker's own: what it tells those who watch, and what it answers those who ask.

They are never stored. Their ids are made as those of all others are, and no two are the same.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any, Generic, TypeVar

from broker.core.broker import Broker
from broker.core.lane import Read
from broker.core.message import Message
from broker.errors import Refusal
from broker.tail import new_tail, rename

ONE_GO = 200  # messages written before others get their turn
JSON = {"content-type": "application/json"}

Item = TypeVar("Item")


class Author:
    """Writes them."""

    def __init__(self, broker: Broker, id_prefix: bytes) -> None:
        """`id_prefix` begins the ids of messages; no two stores or runs share one."""
        self._broker = broker
        self._id_prefix = id_prefix

    def write(self, headers: Mapping[str, str], body: bytes) -> Message:
        """Return a new message."""
        seq = self._next_seq()
        headers = {"timestamp": str(self._broker.now), **headers}
        tail = new_tail(b"%b%d" % (self._id_prefix, seq), headers, body)
        return Message(seq, tail, durable=False, plain=False)

    def copy(self, tail: bytes) -> Message:
        """Return a message with the tail of another, but for its message-id."""
        seq = self._next_seq()
        return Message(
            seq, rename(tail, b"%b%d" % (self._id_prefix, seq)), durable=False, plain=False
        )

    def _next_seq(self) -> int:
        seq = self._broker.next_seq
        self._broker.next_seq += 1
        return seq

    def reply(self, request: Mapping[str, str], headers: Mapping[str, str], body: bytes) -> None:
        """Answer a request, if whoever asked is still there. `request`: its headers."""
        if "correlation-id" in request:
            headers = {"correlation-id": request["correlation-id"], **headers}
        self.send(request, self.write(headers, body))

    def send(self, request: Mapping[str, str], message: Message) -> None:
        """Send a message to whoever asked, if it is still there and there is room for it."""
        try:
            self._broker.admit(False, len(message.tail))
            self._broker.routes.find(request["reply-to"]).put(message)
        except Refusal:
            return


class Gradually(Generic[Item]):
    """Something to be done for each of many, some a turn so that others get theirs."""

    def __init__(
        self, broker: Broker, items: Iterable[Item], act: Callable[[Item, Read], None]
    ) -> None:
        """Begin at the end of the turn. `act` gets the reader of the store too."""
        self._broker = broker
        self._items = iter(items)
        self._act = act
        broker.again[self] = None

    def go_on(self, read: Read) -> None:
        """Do some."""
        some = list(islice(self._items, ONE_GO))
        if len(some) == ONE_GO:
            self._broker.again[self] = None
        for item in some:
            self._act(item, read)


def to_json(value: Any) -> bytes:
    """Return JSON, as short as it can be."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def wanted_reply(headers: Mapping[str, str], what: str) -> None:
    """Check that a request says where the answer goes. Raises `Refusal`."""
    if not headers.get("reply-to"):
        raise Refusal(f"{what} needs a reply-to", "Add a header reply-to: the answer goes there.")
