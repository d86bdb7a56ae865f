"""A store driver from outside: another driver, made slow or made to fail. It comes in by an entry point.

`trouble:URL` opens the store of URL and obeys a directory named in the environment (TROUBLE):

    fail        "before 3" or "after 3": the third write raises EIO, before or after the data is on disk
    gate        a named pipe: a write waits, before or after it did its work, until it reads a byte there;
                "gate-after" is the same once the data is on disk
    waiting     a named pipe where a write says "w" when it waits at a gate
"""

from __future__ import annotations

import errno
import os
from itertools import count
from pathlib import Path

from broker.store import Store, Stored, StoreSettings, Writes, open_store


class TroubledStore:
    """A store in trouble."""

    def __init__(self, store: Store, orders: Path) -> None:
        self.blocking = store.blocking
        self._store = store
        self._orders = orders
        self._writes = count(1)
        self._fail = (orders / "fail").read_text() if (orders / "fail").exists() else ""

    def load(self) -> Stored:
        return self._store.load()

    def read(
        self, queue: int, priority: int, after: int, count: int, size: int
    ) -> list[tuple[int, bytes, bytes]]:
        return self._store.read(queue, priority, after, count, size)

    def write(self, batch: Writes) -> None:
        number = next(self._writes)
        self._fail_at(f"before {number}")
        self._wait_at("gate")
        self._store.write(batch)
        self._wait_at("gate-after")
        self._fail_at(f"after {number}")

    def room(self) -> int:
        return self._store.room()

    def close(self) -> None:
        self._store.close()

    def _fail_at(self, moment: str) -> None:
        if moment == self._fail:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    def _wait_at(self, gate: str) -> None:
        if (self._orders / gate).exists():
            with (self._orders / "waiting").open("wb", buffering=0) as waiting:
                waiting.write(b"w")
            with (self._orders / gate).open("rb", buffering=0) as pipe:
                pipe.read(1)


def open_troubled(path: str, settings: StoreSettings) -> TroubledStore:
    """Open `trouble:URL`."""
    return TroubledStore(open_store(path, settings), Path(os.environ["TROUBLE"]))
