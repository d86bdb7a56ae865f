"""The calls that wait for a reply: one table, keyed by correlation-id, with deadlines.

Pure. It decides what happens to a call and tells who asked; waking whoever waits for it (a thread, a
future, a Deferred) is the face's work. Times are monotonic seconds, passed in. It is not locked: a face
that has threads holds its own lock around every method.

One call's life::

    open ──> answer ──> reply      the reply came
      │ └──> expire ──> overdue    its deadline passed: a reply that comes now is late
      │ └──> abandon ─> lost       the connection went: nobody will answer
      └────> forget                the caller went away
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from rpc.errors import ConnectionLost


class Call:
    """One call that waits. `done` turns true once, with exactly one of the three outcomes set."""

    __slots__ = ("call_id", "deadline", "done", "lost", "overdue", "reply", "wake")

    def __init__(self, call_id: str, deadline: float | None) -> None:
        self.call_id = call_id
        self.deadline = deadline  # monotonic seconds; None: waits for ever
        self.done = False
        self.reply = b""  # outcome 1: the reply's body
        self.overdue = False  # outcome 2
        self.lost: ConnectionLost | None = None  # outcome 3: why
        self.wake: Callable[[], Any] | None = None  # the face's: whom to tell; unused by this file


class Calls:
    """All pending calls of one client."""

    def __init__(self, unique: str) -> None:
        """Begin every correlation-id with `unique`, which must need no escape in JSON or STOMP."""
        self._prefix = unique + "-"
        self._pending: dict[str, Call] = {}
        self.opened = 0  # calls ever opened
        self.late = 0  # replies that nobody waited for any more

    def __len__(self) -> int:
        return len(self._pending)

    def __iter__(self) -> Iterator[Call]:
        return iter(self._pending.values())

    def open(self, deadline: float | None) -> Call:
        """Begin a call that must be answered before `deadline`."""
        self.opened += 1
        call_id = f"{self._prefix}{self.opened}"
        call = self._pending[call_id] = Call(call_id, deadline)
        return call

    def answer(self, call_id: str, body: bytes) -> Call | None:
        """Give a reply to the call that waits for it; None, and one more `late`, if none does."""
        call = self._pending.pop(call_id, None)
        if call is None:
            self.late += 1
            return None
        call.reply = body
        call.done = True
        return call

    def expire(self, now: float) -> list[Call]:
        """End every call whose deadline has passed, and return them."""
        overdue = [
            call
            for call in self._pending.values()
            if call.deadline is not None and call.deadline <= now
        ]
        for call in overdue:
            del self._pending[call.call_id]
            call.overdue = call.done = True
        return overdue

    def abandon(self, reason: ConnectionLost) -> list[Call]:
        """End every call because nothing will answer any more, and return them."""
        lost = list(self._pending.values())
        self._pending.clear()
        for call in lost:
            call.lost = reason
            call.done = True
        return lost

    def forget(self, call: Call) -> None:
        """Drop a call that nobody waits for any more."""
        self._pending.pop(call.call_id, None)
