"""The calls that wait for a reply: one table, keyed by correlation-id, with deadlines.

Pure. It decides what happens to a call and tells who asked; waking whoever waits for it (a thread, a
future, a Deferred) is the face's work. Times are monotonic seconds, passed in. It is not locked: a face
that has threads holds its own lock around every method.

One call's life::

    open ──> answer ──> done       the reply came; with several of them (`single` is False) the last one
      │ └──> expire ──> done       its deadline passed: a reply that comes now is late
      │ └──> interrupt             the connection went: ended, or kept for the next one (`OnLoss`)
      └────> forget                the caller went away
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Generic, TypeAlias, TypeVar, overload

from broker.stomp import Frame
from rpc.calling.options import OnLoss
from rpc.codec import JSON, Codec
from rpc.errors import BrokerRefused, Cancelled, ConnectionLost, RpcError, Timeout


class Call:
    """One call that waits. `done` turns true once; `result` tells how it ended."""

    __slots__ = (
        "call_id",
        "codec",
        "data",
        "deadline",
        "done",
        "error",
        "kept",
        "method",
        "on_loss",
        "place",
        "reply",
        "runs_on",
        "sent",
        "timeout",
    )

    single = True  # one reply ends it
    is_run = True  # by a worker, under its correlation-id

    def __init__(
        self,
        call_id: str,
        deadline: float | None,
        method: str = "",
        timeout: float | None = None,
        on_loss: OnLoss = OnLoss.FAIL,
        codec: Codec = JSON,
    ) -> None:
        self.call_id = call_id
        self.deadline = deadline  # monotonic seconds; None: waits for ever
        self.method = method
        self.timeout = timeout  # seconds, for the words of `Timeout`
        self.on_loss = on_loss
        self.codec = codec  # of its replies
        self.data = b""  # the SEND
        self.place = 0  # where it was written in the connection's stream
        self.sent = False  # it may have left on a connection that was lost
        self.kept = False  # it has outlived a connection
        self.done = False
        self.runs_on = False  # it has ended here, and the worker that runs it does not know
        self.reply = b""  # the reply's body, unless there is an error
        self.error: RpcError | None = None

    def take(self, headers: Mapping[str, str], body: bytes, error: RpcError | None) -> bool:
        """Take one of several replies; return whether it was the last."""
        raise NotImplementedError

    def overdue(self) -> RpcError | None:
        """Return what the call ends with at its deadline; None if that is no failure."""
        return Timeout(f"No reply to {self.method!r} within {self.timeout} s")

    def result(self) -> Any:
        """Return what a call that is done gave, or raise how it failed."""
        if self.error is not None:
            raise self.error
        return self.codec.read_reply(self.reply)


class Notification(Call):
    """One that gets no reply: it is done when the broker has confirmed it."""

    __slots__ = ()

    is_run = False

    def result(self) -> None:
        """Return nothing, or raise how it failed."""
        if self.error is not None:
            raise self.error


C = TypeVar("C", bound=Call)
Make: TypeAlias = Callable[[str, float | None, str, float | None, OnLoss, Codec], C]


class Kind(Generic[C]):
    """What sort of call: which `Call` it is, and how its frame differs."""

    __slots__ = ("head", "is_request", "is_whole", "lines", "make")

    def __init__(self, make: Make[C], head: str) -> None:
        self.make = make
        self.head = head  # which of the heads prepared
        self.lines = b""  # header lines besides
        self.is_request = True  # for a worker, who is to heed its deadline and to know it again
        self.is_whole = False  # `params` is the body


NO_HEADERS: Mapping[str, str] = MappingProxyType({})


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

    def waits(self, call_id: str) -> bool:
        """Tell whether a call of this id is pending."""
        return call_id in self._pending

    @overload
    def open(
        self,
        deadline: float | None,
        method: str = "",
        timeout: float | None = None,
        on_loss: OnLoss = OnLoss.FAIL,
        codec: Codec = JSON,
    ) -> Call: ...

    @overload
    def open(
        self,
        deadline: float | None,
        method: str,
        timeout: float | None,
        on_loss: OnLoss,
        codec: Codec,
        make: Make[C],
    ) -> C: ...

    def open(
        self,
        deadline: float | None,
        method: str = "",
        timeout: float | None = None,
        on_loss: OnLoss = OnLoss.FAIL,
        codec: Codec = JSON,
        make: Make[Call] = Call,
    ) -> Call:
        """Begin a call that must be answered before `deadline`."""
        self.opened += 1
        call_id = f"{self._prefix}{self.opened}"
        call = make(call_id, deadline, method, timeout, on_loss, codec)
        self._pending[call_id] = call
        return call

    def answer(
        self,
        call_id: str,
        body: bytes,
        error: RpcError | None = None,
        reply: Frame | None = None,
    ) -> Call | None:
        """Give a reply to the call that waits for it; None, and one more `late`, if none does.

        None also if the call gathers several, and whoever waits for it is to wait on.
        """
        call = self._pending.pop(call_id, None)
        if call is None:
            self.late += 1
            return None
        if call.single:
            call.reply = body
            call.error = error
            call.done = True
        elif not call.take(NO_HEADERS if reply is None else reply.headers, body, error):
            self._pending[call_id] = call
            return call if call.done else None
        return call

    def expire(self, now: float) -> list[Call]:
        """End every call whose deadline has passed, and return them."""
        overdue = [
            call
            for call in self._pending.values()
            if call.deadline is not None and call.deadline <= now
        ]
        for call in overdue:
            self._end(call, call.overdue())
        return overdue

    def next_deadline(self) -> float | None:
        """Return when the first call is overdue, None for never."""
        return min(
            (call.deadline for call in self._pending.values() if call.deadline is not None),
            default=None,
        )

    def interrupt(
        self, reason: ConnectionLost, has_left: Callable[[int], bool], keeps: bool = True
    ) -> list[Call]:
        """End the calls that do not outlive their connection, and return them.

        The others wait for the next one: those that certainly never left, and those whose caller wants
        it so (`OnLoss`). `has_left` tells of a place in the stream whether it may have left. Nothing is
        kept without `keeps`, or if the broker refused: it does not say which call, and none may hang.
        """
        keeps = keeps and not isinstance(reason, BrokerRefused)
        ended = []
        for call in list(self._pending.values()):
            call.sent = call.sent or has_left(call.place)
            if keeps and (not call.sent or call.on_loss is not OnLoss.FAIL):
                call.kept = True
                continue
            self._lose(call, reason)
            ended.append(call)
        return ended

    def refuse(self, reason: ConnectionLost) -> list[Call]:
        """No connection can be made: end the calls that did not outlive one, and return them."""
        refused = [call for call in self if not call.kept or isinstance(reason, BrokerRefused)]
        for call in refused:
            self._lose(call, reason)
        return refused

    def to_send(self) -> list[Call]:
        """Return those of an interrupted connection's calls that the next one is to be given, in order."""
        return [call for call in self if not call.sent or call.on_loss is OnLoss.RESEND]

    def forget(self, call: Call) -> bool:
        """End a call that nobody waits for any more, its reply will be late; False if it had ended."""
        if self._pending.get(call.call_id) is not call:
            return False
        self._end(call, Cancelled("The call was cancelled"))
        return True

    def _lose(self, call: Call, reason: ConnectionLost) -> None:
        lost = type(reason)(reason.reason, sent=call.sent)  # each its own
        lost.__cause__ = reason.__cause__
        self._end(call, lost)

    def _end(self, call: Call, error: RpcError | None) -> None:
        del self._pending[call.call_id]
        call.error = error
        call.done = True
