"""Processes in which a worker runs those of its functions that say `run_in="process"`.

Arguments and results cross by pickle, between processes of this program only: never from the wire.
"""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any


class Processes:
    """So many of them, begun when they are needed, and again when a function has ended one."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._mutex = threading.Lock()
        self._pool: ProcessPoolExecutor | None = None

    def submit(self, call: Callable[[], Any]) -> Future[Any]:
        """Call a function that can be pickled; its future fails with `BrokenProcessPool` if a process ended."""
        with self._mutex:
            if self._pool is None:
                # Not forked: this process has threads.
                context = multiprocessing.get_context("spawn")
                self._pool = ProcessPoolExecutor(self._count, mp_context=context)
            pool = self._pool
            try:
                return pool.submit(call)
            except BrokenProcessPool:
                self._pool = None
        return self.submit(call)

    def close(self) -> None:
        """End them; what has not begun never does."""
        with self._mutex:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)
