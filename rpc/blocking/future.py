"""A call under way, as `concurrent.futures` knows it.

Waking another thread costs more than writing and reading a call: `result` therefore reads from the
connection itself where it can. Everything else that futures are used for (callbacks, `wait`,
`as_completed`, `asyncio.wrap_future`) is served by the client's background thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from time import monotonic
from typing import Any, Protocol

from rpc.calling.calls import Call

_cancelling = threading.Lock()


class Waiter(Protocol):
    """What a future needs of its client."""

    def wait_for(self, call: Call, until: float) -> None:
        """Wait until the call is done, or until a monotonic moment; read if nobody else does."""

    def attend(self) -> None:
        """Let the background thread read: somebody will be called back."""

    def give_up(self, call: Call) -> None:
        """Nobody wants the call's reply any more."""


class CallFuture(Future[Any]):
    """The result of `Client.submit`. Cancelled, its reply is not waited for; the function may have run."""

    _told = False  # who waits for several has been told that it was cancelled

    def __init__(self, client: Waiter, call: Call) -> None:
        super().__init__()
        self._client = client
        self._call = call

    def result(self, timeout: float | None = None) -> Any:
        """Return the result, or raise as `Client.call` does; `TimeoutError` after `timeout` seconds."""
        self._wait(timeout)
        return super().result(None if self._call.done else 0)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Return what the call failed with, None if it did not; `TimeoutError` as `result`."""
        self._wait(timeout)
        return super().exception(None if self._call.done else 0)

    def add_done_callback(self, fn: Callable[[Future[Any]], object]) -> None:
        """Call a function with this future once it is done, in the thread that read the reply."""
        super().add_done_callback(fn)
        if not self.done():
            self._client.attend()

    def cancel(self) -> bool:
        """Stop waiting; False if it is done already."""
        if not super().cancel():
            return False
        self._client.give_up(self._call)
        self._tell_of_cancelling()
        return True

    def settle(self) -> None:
        """The call is done: for the client, outside its locks, for callbacks may be run."""
        try:
            try:
                result = self._call.result()
            except Exception as error:
                self.set_exception(error)
            else:
                self.set_result(result)
        except InvalidStateError:  # it was cancelled meanwhile
            self._tell_of_cancelling()

    def _tell_of_cancelling(self) -> None:
        """Let `wait` and `as_completed` know; that may be done but once, and several may cancel."""
        with _cancelling:
            told, self._told = self._told, True
        if not told:
            self.set_running_or_notify_cancel()

    def _wait(self, timeout: float | None) -> None:
        if not self._call.done:
            until = float("inf") if timeout is None else monotonic() + timeout
            self._client.wait_for(self._call, until)
