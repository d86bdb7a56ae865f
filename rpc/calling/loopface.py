"""What the clients for event loops have in common, whoever's: what is awaited item by item. Pure."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable
from typing import Any, Protocol

from rpc.calling.batch import Batches, Pipeline
from rpc.calling.caller import ClientStats, batch_of, encode_params, stream
from rpc.calling.calls import Kind
from rpc.calling.face import Face
from rpc.calling.flow import Source, Stream, results
from rpc.calling.options import UNSET, CallOptions, Unset


class LoopLine(Source, Protocol):
    """A client's connection, as its face sees it. What is to come can be awaited."""

    def submit(self, method: str, params: bytes, options: CallOptions, kind: Kind[Any]) -> Any:
        """Begin a call, and return its result to come."""

    def drop(self, pending: Any) -> None:
        """Give a call up, from any thread."""


class LoopFace(Face):
    """A client for an event loop."""

    _line: Callable[[], LoopLine]  # made when it is asked for the first time

    def map(
        self,
        method: str,
        /,
        *iterables: Iterable[Any],
        batch: int = 100,
        ahead: int = 4,
        return_errors: bool = False,
        timeout: float | Unset | None = UNSET,
    ) -> AsyncGenerator[Any, None]:
        """As `rpc.Client.map`, for `async for`; the iterables themselves are ordinary ones.

        In Twisted: in a coroutine that `Deferred.fromCoroutine` runs.
        """
        line, options = self._line(), self._with(timeout)
        pipeline = Pipeline(
            Batches(options.coder, method, iterables, batch),
            lambda body, count: line.submit(method, body, options, batch_of(count)),
            ahead,
        )
        return results(pipeline, line.drop, return_errors=return_errors)

    def stream(
        self, method: str, /, *args: Any, timeout: float | Unset | None = UNSET, **kwargs: Any
    ) -> Stream:
        """Call a function that yields its result item by item; as `rpc.Client.stream`, for `async for`.

        `async with client.stream(...) as items:` lets the worker stop in any case. Cancelled while it
        waits for an item, the stream is over. In Twisted: in a coroutine that `Deferred.fromCoroutine` runs.
        """
        line, options = self._line(), self._with(timeout)
        params = encode_params(args, kwargs, options.coder)
        return Stream(line, line.engine.begin(method, params, options, stream(options)))

    def stats(self) -> ClientStats:
        """Return the counters as they are now."""
        return self._line().engine.stats()
