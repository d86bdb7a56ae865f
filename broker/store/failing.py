"""A store that fails when it is told to: for tests of everything that must not lie when a disk does.

Wraps any other store. The write that fails is either lost, as when the disk refused it, or kept, as when
it reached the disk and only the confirmation did not: nobody can tell the two apart, so a broker must be
right in both cases. After a failure nothing works any more, as after a real one.
"""

from __future__ import annotations

import errno
import os

from broker.store import Store, Stored, Writes


class FailingStore:
    """Another store, whose write number `fail_at` (from 1) and all later calls raise `OSError` (EIO)."""

    def __init__(self, store: Store, fail_at: int, *, kept: bool = False) -> None:
        """`kept`: the failing write is on disk nevertheless."""
        self.blocking = store.blocking
        self.writes = 0  # that were tried
        self._store = store
        self._fail_at = fail_at
        self._kept = kept

    def load(self) -> Stored:
        """As the other store."""
        return self._store.load()

    def read(
        self, queue: int, priority: int, after: int, count: int, size: int
    ) -> list[tuple[int, bytes, bytes]]:
        """As the other store. Raises `OSError` after the failure."""
        self._check()
        return self._store.read(queue, priority, after, count, size)

    def write(self, batch: Writes) -> None:
        """As the other store. Raises `OSError` when its time has come, and from then on."""
        self._check()
        self.writes += 1
        if self.writes < self._fail_at or self._kept:
            self._store.write(batch)
        self._check()

    def room(self) -> int:
        """As the other store. Raises `OSError` after the failure."""
        self._check()
        return self._store.room()

    def close(self) -> None:
        """As the other store, also after the failure, so that a test can open it again."""
        self._store.close()

    def _check(self) -> None:
        if self.writes >= self._fail_at:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
