"""What comes in a row, for `async for`: the items of a stream, the results of a map.

The same for asyncio and Twisted, whose futures and Deferreds can both be awaited. Pure.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

from rpc.calling.batch import Pipeline
from rpc.calling.engine import Engine
from rpc.calling.items import END, Items
from rpc.errors import RpcError


class Source(Protocol):
    """What a stream needs of its client."""

    engine: Engine

    def arrival(self, items: Items) -> Awaitable[Any]:
        """Return what is over when there is something to take. Cancelled, the stream is given up."""

    def desert(self, items: Items) -> None:
        """Give a stream up, from a finalizer: in any thread, in the middle of anything."""


class Stream(AsyncIterator[Any]):
    """What `Client.stream` returns: the items as they come, for one `async for`.

    Closed, or left to nobody (`break` out of a loop), it lets the worker stop.
    """

    def __init__(self, client: Source, items: Items) -> None:
        self._client = client
        self._items: Items | None = items  # None: it is over
        self._waits = False

    async def __anext__(self) -> Any:
        """Return the next item; see `Client.stream` for what is raised."""
        items, client = self._items, self._client
        if items is None:
            raise StopAsyncIteration
        if self._waits:
            raise RuntimeError("Somebody is waiting for this stream's next item already")
        try:
            client.engine.expect(items)
            while not items.done:  # it may be told of several items at once, and have taken them
                self._waits = True
                await client.arrival(items)
            item = client.engine.next_item(items)
        except BaseException:
            self._close()
            raise
        finally:
            self._waits = False
        if item is END:
            self._items = None
            raise StopAsyncIteration
        return item

    def _close(self) -> None:
        items, self._items = self._items, None
        if items is not None:
            self._client.engine.forget(items)

    async def aclose(self) -> None:
        """Take no more items. May be called again."""
        self._close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._close()

    def __del__(self) -> None:
        items = getattr(self, "_items", None)
        if items is not None:
            self._client.desert(items)


A = TypeVar("A", bound=Awaitable[Any])


async def results(
    pipeline: Pipeline[A], drop: Callable[[A], None], *, return_errors: bool
) -> AsyncGenerator[Any, None]:
    """Yield what became of each call, batch after batch. `drop` gives one up, in any thread."""
    try:
        while (batch := pipeline.next()) is not None:
            outcomes = await batch
            pipeline.fill()
            for outcome in outcomes:
                if not return_errors and isinstance(outcome, RpcError):
                    raise outcome
                yield outcome
    finally:  # perhaps of a generator that was left to nobody
        for batch in pipeline.pending:
            drop(batch)
