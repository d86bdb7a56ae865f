"""The replies of idempotent calls, kept for a while, so that a call which comes twice is run once.

`Results` is what a worker needs of such a memory; `MemoryResults` is one process's own. Workers in several
processes share one that outlives them: `rpc.blocking.SqliteResults`, or anything with the same two verbs.
Pure: the clock is passed in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

KEPT = 3600.0  # seconds: longer than any caller tries again
MOST = 10_000  # replies


class Results(Protocol):
    """Remembers replies by idempotency key. A worker calls it from any of its threads, one at a time."""

    def get(self, key: str) -> bytes | None:
        """Return the reply's body that was kept under a key, if any."""

    def put(self, key: str, body: bytes) -> None:
        """Keep a reply's body; when it returns, the reply is as safe as it will ever be."""


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

    def put(self, key: str, body: bytes) -> None:
        """Keep a reply's body."""
        kept, now = self._kept, self._now()
        kept.pop(key, None)
        kept[key] = now + self._seconds, body
        while True:
            oldest = next(iter(kept))
            if len(kept) <= self._most and kept[oldest][0] > now:
                break
            del kept[oldest]
