"""The results of idempotent calls, kept for a while, so that a call which comes twice is run once.

`Results` is what a worker needs of such a memory; `MemoryResults` is one process's own. `SharedResults` knows
besides what is being run: with one that outlives them, as `rpc.SqliteResults`, workers in several processes
run a call once among them. Pure: the clock is passed in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

KEPT = 3600.0  # seconds: longer than any caller tries again
MOST = 10_000  # replies


class Results(Protocol):
    """Remembers results by key. A worker calls it from any of its threads, one at a time.

    Keys and values are the worker's: a key tells service, method, user and what the caller said. What `get`
    raises is told to the caller, and the function is not run; what `put` raises is logged.
    """

    def get(self, key: str) -> bytes | None:
        """Return what was kept under a key, if anything."""

    def put(self, key: str, value: bytes) -> None:
        """Keep a value; when it returns, that is as safe as it will ever be."""


@runtime_checkable
class SharedResults(Results, Protocol):
    """One that several workers share, and that knows which of them runs what.

    A call that a broker hands out again, because it was restarted, say, while the first worker still runs
    it, waits at the second one for the first one's result, or for its death.
    """

    def claim(self, key: str) -> bool:
        """Note that the caller of this runs what has this key, unless somebody who lives does, or has: False."""

    def release(self, key: str) -> None:
        """What was claimed has ended without a result; `put` releases, too."""


class MemoryResults:
    """Keeps the last replies of this process."""

    def __init__(
        self, now: Callable[[], float], *, seconds: float = KEPT, most: int = MOST
    ) -> None:
        """`now`: monotonic seconds; a reply is kept for `seconds`, and not more than `most` of them."""
        self._now = now
        self._seconds = seconds
        self._most = most
        self._kept: dict[str, tuple[float, bytes]] = {}  # in order of time

    def get(self, key: str) -> bytes | None:
        """Return what was kept under a key, unless it is too old."""
        kept = self._kept.get(key)
        return kept[1] if kept is not None and kept[0] > self._now() else None

    def put(self, key: str, value: bytes) -> None:
        """Keep a value."""
        kept, now = self._kept, self._now()
        kept.pop(key, None)
        kept[key] = now + self._seconds, value
        while True:
            oldest = next(iter(kept))
            if len(kept) <= self._most and kept[oldest][0] > now:
                break
            del kept[oldest]
