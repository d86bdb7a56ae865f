"""Many calls of one method in a few messages: JSON-RPC batches (JSON-RPC 2.0, section 6), cut and read.

Pure, like `calls`. Requests in a batch are numbered, and their replies may come in any order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

from rpc.calling.calls import Call
from rpc.calling.options import OnLoss
from rpc.codec import Codec
from rpc.errors import ErrorReply, RpcError
from rpc.message import MOST_IN_BATCH


class Batch(Call):
    """A message of several requests. Its `result` is a list: for each a result, or an `RpcError`."""

    __slots__ = ("count",)

    def __init__(
        self,
        call_id: str,
        deadline: float | None,
        method: str,
        timeout: float | None,
        on_loss: OnLoss,
        codec: Codec,
        *,
        count: int,
    ) -> None:
        """`count`: requests in it."""
        super().__init__(call_id, deadline, method, timeout, on_loss, codec)
        self.count = count

    def result(self) -> list[Any]:
        """Return what became of each request, in their order. What the whole batch failed with, each did."""
        try:
            if self.error is not None:
                raise self.error
            outcomes = self.codec.read_batch(self.reply)
        except RpcError as error:
            return [error] * self.count
        try:
            return [outcomes[call_id] for call_id in map(str, range(self.count))]
        except KeyError:
            unread = outcomes.get(None)
            missing = unread if isinstance(unread, ErrorReply) else _missing()
            return [outcomes.get(str(n), missing) for n in range(self.count)]


def _missing() -> ErrorReply:
    return ErrorReply("The reply to a batch says nothing of this request")


class Batches:
    """The calls `method(a, b, …)` for a, b, … in iterables, cut into batches, taken when they are wanted."""

    def __init__(
        self, codec: Codec, method: str, iterables: Iterable[Iterable[Any]], size: int
    ) -> None:
        """`size`: calls in one batch. Raises `ValueError` for one that makes no sense."""
        if not 1 <= size <= MOST_IN_BATCH:
            raise ValueError(f"A batch has 1 to {MOST_IN_BATCH} calls, not {size}")
        self._codec = codec
        self._name = codec.encode(method)
        self._rows = zip(*iterables, strict=False)
        self._size = size
        self._failure: Exception | None = None  # met behind calls that are still to be sent

    def next(self) -> tuple[bytes, int] | None:
        """Return the next batch's body and the number of calls in it, None behind the last.

        Raises what an iterable raised, or `TypeError` and `ValueError` for an argument that cannot be
        sent, behind the batch of the calls before.
        """
        if self._failure is not None:
            raise self._failure
        codec, name = self._codec, self._name
        encode, write = codec.encode, codec.call_body
        bodies: list[bytes] = []
        try:
            for row in self._rows:
                bodies.append(write(b"%d" % len(bodies), name, encode(row)))
                if len(bodies) == self._size:
                    break
        except Exception as error:
            self._failure = error
            if not bodies:
                raise
        return (codec.batch(bodies), len(bodies)) if bodies else None


T = TypeVar("T")


class Pipeline(Generic[T]):
    """Batches on their way: at most so many at once, taken in their order."""

    def __init__(self, batches: Batches, begin: Callable[[bytes, int], T], ahead: int) -> None:
        """`begin` sends one. Raises `ValueError` if `ahead` makes no sense."""
        if ahead < 1:
            raise ValueError(f"The batches under way are a positive number, not {ahead}")
        self.pending: deque[T] = deque()
        self._batches = batches
        self._begin = begin
        self._ahead = ahead
        self._ended = False
        self._failure: Exception | None = None

    def fill(self) -> None:
        """Send as many as may be under way."""
        while not self._ended and len(self.pending) < self._ahead:
            try:
                batch = self._batches.next()
                if batch is not None:
                    self.pending.append(self._begin(*batch))
                    continue
            except Exception as error:  # raised when its place is reached
                self._failure = error
            self._ended = True

    def next(self) -> T | None:
        """Return the next one, None behind the last. Raises what kept it from being sent."""
        self.fill()
        if self.pending:
            return self.pending.popleft()
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure
        return None
