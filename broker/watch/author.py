"""Messages of the broker's own: what it tells those who watch, and what it answers those who ask.

They are not stored, unless whoever asked wants his answer to be. Their ids are made as those of all others are, and no two are the same.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, TypeVar

from broker.core.broker import Broker
from broker.core.fanout import Service
from broker.core.lane import Read
from broker.core.message import Message
from broker.errors import Refusal
from broker.tail import new_tail, rename

ONE_GO = 200  # messages written before others get their turn, if it is not late before
FEW = 20  # before looking whether it is late
MOST_WAITING = 16 * 1024 * 1024  # bytes of requests that wait for their answers
COST = 1000  # bytes that a request takes beside its own
JSON = {"content-type": "application/json"}

Item = TypeVar("Item")


class Author:
    """Writes them."""

    def __init__(self, broker: Broker, id_prefix: bytes) -> None:
        """`id_prefix` begins the ids of messages; no two stores or runs share one."""
        self._broker = broker
        self._id_prefix = id_prefix
        self.answering = False  # what is sent now is an answer
        self._tasks = Tasks(broker)

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

    def send(self, request: Mapping[str, str], message: Message, beyond: int = 0) -> None:
        """Send a message to whoever asked, if it is still there and there is room for it.

        What the store has no room for is not stored, and in memory it may take so many bytes `beyond` the limit.
        """
        size = len(message.tail)
        self.answering = True
        try:
            route = self._broker.routes.find(request["reply-to"])
            stored = message.durable and route.durable and self._broker.journal.room >= size
            message.durable = stored
            if not stored:
                self._broker.admit(False, size - beyond)
            route.put(message)
        except Refusal:
            return
        finally:
            self.answering = False

    def serve(self, destination: str, answer: Callable[[Message], None]) -> Service:
        """Return a destination that answers whatever is sent there, unless that is an answer itself.

        Else two services, or one and what it shows, could talk to each other for ever.
        """

        def put(message: Message) -> None:
            if not self.answering:
                answer(message)

        return Service(destination, put)

    def gradually(
        self,
        find: Callable[[], Iterable[Item]],
        act: Callable[[Item, Read], None],
        request: Message | None = None,
    ) -> None:
        """Do something for each of many, some at a time and after what was asked for before.

        `find` returns them when it is their turn; `act` gets the reader of the store too. Raises `Refusal` if
        too many requests are waiting.
        """
        size = 0 if request is None else len(request.tail) + COST
        if size and self._tasks.size + size > MOST_WAITING:
            raise Refusal("Too many questions wait for their answers", "Ask again later.")
        self._tasks.add(Task(find, act, size))


class Task:
    """Something to be done for each of many."""

    __slots__ = ("act", "items", "size")

    def __init__(
        self,
        find: Callable[[], Iterable[Item]],
        act: Callable[[Item, Read], None],
        size: int,
    ) -> None:
        self.items = lazily(find)
        self.act: Callable[[Any, Read], None] = act
        self.size = size  # bytes that it keeps


class Tasks:
    """What is done some at a time, one task after the other, so that others get their turns."""

    def __init__(self, broker: Broker) -> None:
        self.size = 0  # bytes that those in line keep
        self._broker = broker
        self._line: deque[Task] = deque()

    def add(self, task: Task) -> None:
        """Do something at the end of a turn."""
        self._line.append(task)
        self.size += task.size
        self._broker.again[self] = None

    def go_on(self, read: Read) -> None:
        """Do some."""
        line, broker = self._line, self._broker
        left = ONE_GO
        try:
            while line and left > 0:
                task = line[0]
                some = list(islice(task.items, FEW))
                if len(some) < FEW:
                    line.popleft()
                    self.size -= task.size
                left -= len(some) + 1
                for item in some:
                    task.act(item, read)
                if broker.late:
                    return
        finally:
            if line:
                broker.again[self] = None


def lazily(find: Callable[[], Iterable[Item]]) -> Iterator[Item]:
    """Return what is found, looked for only when the first is asked for."""
    yield from find()


def to_json(value: Any) -> bytes:
    """Return JSON, as short as it can be."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def wanted_reply(headers: Mapping[str, str], what: str) -> None:
    """Check that a request says where the answer goes. Raises `Refusal`."""
    if not headers.get("reply-to"):
        raise Refusal(f"{what} needs a reply-to", "Add a header reply-to: the answer goes there.")
