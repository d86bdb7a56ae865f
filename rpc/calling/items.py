"""A call whose result comes item by item: numbers are checked, credit is counted, little is kept.

Pure, like `calls`. `done` means here: there is something to take, an item or the end.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

from rpc.calling.calls import Call
from rpc.calling.options import OnLoss
from rpc.codec import Codec
from rpc.errors import RpcError, StreamBroken, Timeout


class End:
    """Behind the last item."""


END = End()


class Items(Call):
    """A stream of results. Whoever takes items says so with `expect`, waits until `done`, then calls `next`."""

    __slots__ = ("_bodies", "_expected", "_last", "_taken", "credit", "over")

    single = False

    def __init__(
        self,
        call_id: str,
        deadline: float | None,
        method: str,
        timeout: float | None,
        on_loss: OnLoss,
        codec: Codec,
        *,
        credit: int,
    ) -> None:
        """`credit`: items that may wait here. `timeout` is for each item, and counts while one is waited for."""
        super().__init__(call_id, None, method, timeout, OnLoss.FAIL, codec)
        self.credit = credit
        self.over = False  # nothing more will come
        self._bodies: deque[bytes] = deque()  # items that nobody has taken yet
        self._expected = 0  # the number of the next one
        self._last: bytes | None = None  # what ended it, unless that was an item
        self._taken = 0  # since the credit was last renewed

    def take(self, headers: Mapping[str, str], body: bytes, error: RpcError | None) -> bool:
        """Take a reply; return whether it was the last."""
        number, ends = headers.get("stream-seq"), headers.get("stream-end") == "true"
        if error is not None:
            return self._end(error)
        if number is None and not ends:  # a worker that does not stream: one result, and no more
            self._bodies.append(body)
            return self._end(None)
        if number is not None and number != str(self._expected):
            return self._break(f"it should be item {self._expected}, and is {number}")
        if ends:
            self._last = body
            return self._end(None)
        if len(self._bodies) >= self.credit:
            return self._break(f"more than {self.credit} items came at once")
        self._expected += 1
        self._bodies.append(body)
        self._wait_no_longer()
        return False

    def _end(self, error: RpcError | None) -> bool:
        self.error = error
        self.over = True
        self._wait_no_longer()
        return True

    def _break(self, what: str) -> bool:
        self.runs_on = True
        return self._end(StreamBroken(f"The stream of {self.method!r} is broken: {what}"))

    def _wait_no_longer(self) -> None:
        self.done = True
        self.deadline = None

    def overdue(self) -> RpcError:
        """The next item did not come in time."""
        self.over = self.runs_on = True
        return Timeout(f"No item of {self.method!r} within {self.timeout} s")

    def expect(self, now: float) -> None:
        """Begin to wait for the next item, unless there is something to take."""
        if not self._bodies and not self.over and self.error is None:
            self.done = False
            self.deadline = None if self.timeout is None else now + self.timeout

    def next(self) -> Any:
        """Return the next item, or `END`; raises what the stream ended with. Once it is `done`."""
        if self._bodies:
            self._taken += 1
            return self.codec.read_reply(self._bodies.popleft())
        if self.error is not None:
            raise self.error
        if self._last is not None:
            self.codec.read_reply(self._last)
        return END

    def renewal(self) -> int:
        """Return how much credit the worker is to get now: what was taken, once that is half of it."""
        taken = self._taken
        if self.over or taken * 2 < self.credit:
            return 0
        self._taken = 0
        return taken

    def result(self) -> None:
        """Return nothing: there is something to take."""
