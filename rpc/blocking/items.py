"""The items of a streamed result, for threads: an iterator that can be closed."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import Any, Protocol, Self

from rpc.calling.calls import Call
from rpc.calling.items import END, Items


class Source(Protocol):
    """What a stream needs of its client."""

    def next_item(self, items: Items) -> Any:
        """Wait for the next item and return it, or `END`."""

    def give_up(self, call: Call) -> None:
        """Nobody wants more of it."""

    def desert(self, call: Call) -> None:
        """The same, from where no lock may be waited for."""


class Stream(Iterator[Any]):
    """What `Client.stream` returns: the items as they come, for one thread.

    Closed, or left to nobody (`break` out of a loop), it lets the worker stop.
    """

    def __init__(self, client: Source, items: Items) -> None:
        self._client = client
        self._items: Items | None = items  # None: it is over

    def __next__(self) -> Any:
        """Return the next item; see `Client.stream` for what is raised."""
        if self._items is None:
            raise StopIteration
        try:
            item = self._client.next_item(self._items)
        except BaseException:
            self.close()
            raise
        if item is END:
            self._items = None
            raise StopIteration
        return item

    def close(self) -> None:
        """Take no more items. May be called again."""
        items, self._items = self._items, None
        if items is not None:
            self._client.give_up(items)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        items = getattr(self, "_items", None)
        if items is not None:
            self._client.desert(items)
