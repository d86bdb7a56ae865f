"""Carries batches to a store, one at a time: in a thread if the store blocks, else at once.

Group commit needs no timer: while one batch is being written the next one collects, and is handed over
when the first is done. A write transaction never leaves its thread (LMDB demands it), which is why the
batch crosses over and not the transaction.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from functools import partial
from typing import Protocol

from broker.store import Store, Writes

Done = Callable[[], None]
Failed = Callable[[BaseException], None]
Post = Callable[[Callable[[], None]], None]


class Writer(Protocol):
    """Writes one batch at a time."""

    def write(self, batch: Writes, done: Done) -> None:
        """Write, then call `done` where the broker lives."""

    def stop(self) -> None:
        """Wait for what is being written. Raises what the store raised."""


class InlineWriter:
    """For a store that does not block."""

    def __init__(self, store: Store, failed: Failed) -> None:
        self._store = store
        self._failed = failed

    def write(self, batch: Writes, done: Done) -> None:
        """Write at once."""
        try:
            self._store.write(batch)
        except Exception as error:
            self._failed(error)
        else:
            done()

    def stop(self) -> None:
        """Nothing is ever on the way."""


class ThreadWriter:
    """For a store that waits for a disk."""

    def __init__(self, store: Store, post: Post, failed: Failed) -> None:
        """`post` runs a callable where the broker lives, from any thread."""
        self._store = store
        self._post = post
        self._failed = failed
        self._batches: queue.SimpleQueue[tuple[Writes, Done] | None] = queue.SimpleQueue()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="store writer", daemon=True)
        self._thread.start()

    def write(self, batch: Writes, done: Done) -> None:
        """Hand over to the thread."""
        self._batches.put((batch, done))

    def stop(self) -> None:
        """Wait until everything handed over is written. Raises what the store raised."""
        self._batches.put(None)
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        while (work := self._batches.get()) is not None:
            batch, done = work
            try:
                self._store.write(batch)
            except BaseException as error:
                self._failure = error
                self._post(partial(self._failed, error))
                return  # after a failed write nothing is known about the disk
            self._post(done)
            del batch, done, work  # do not hold the messages until the next batch comes


def start_writer(store: Store, post: Post, failed: Failed) -> Writer:
    """Return the writer that suits a store."""
    if store.blocking:
        return ThreadWriter(store, post, failed)
    return InlineWriter(store, failed)
