"""Runs what is asked of a worker that has threads: plain functions here, others on a loop or elsewhere."""

from __future__ import annotations

import asyncio
import inspect
import multiprocessing
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from rpc.job import Job
from rpc.methods import Asked


class Runner:
    """One worker's places to run functions in, besides the threads that call it."""

    def __init__(self, processes: int) -> None:
        """`processes`: how many for functions that run in processes; none is begun before it is needed."""
        self._processes = processes
        self._mutex = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._pool: ProcessPoolExecutor | None = None

    def call(self, job: Job, asked: Asked) -> Any:
        """Run a function and return its result; a generator's is an iterator. Raises what it raises."""
        method = asked.found()
        run_in = method.options.run_in
        if method.is_async:
            result = asked.call()
            if inspect.isasyncgen(result):
                return self._items(job, result)
            return self._on_loop(job, result)
        if run_in == "process":
            return self._in_process(asked)
        if run_in == "loop":

            async def there() -> Any:
                return asked.call()

            return self._on_loop(job, there())
        return asked.call()

    def close(self) -> None:
        """Give everything back; nothing runs any more."""
        with self._mutex:
            loop, self._loop = self._loop, None
            pool, self._pool = self._pool, None
        if loop is not None and self._thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            self._thread.join()
            loop.close()
        if pool is not None:
            pool.shutdown(cancel_futures=True)

    # On a loop.

    def _on_loop(self, job: Job, work: Coroutine[Any, Any, Any]) -> Any:
        future = asyncio.run_coroutine_threadsafe(work, self._running_loop())

        def changed() -> None:
            if job.cancelled:
                future.cancel()

        job.changed = changed
        changed()
        try:
            return future.result()
        finally:
            job.changed = None

    def _items(self, job: Job, items: AsyncIterator[Any]) -> Iterator[Any]:
        """Return what an async generator yields, for a thread to iterate over."""
        missing = object()

        async def following() -> Any:
            return await anext(items, missing)

        try:
            while (item := self._on_loop(job, following())) is not missing:
                yield item
        finally:
            close = getattr(items, "aclose", None)
            if close is not None:
                asyncio.run_coroutine_threadsafe(close(), self._running_loop()).result()

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        with self._mutex:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(
                    target=self._loop.run_forever, name="rpc-loop", daemon=True
                )
                self._thread.start()
            return self._loop

    # In a process.

    def _in_process(self, asked: Asked) -> Any:
        pool, function = self._running_pool(), asked.found().function
        try:
            future: Future[Any] = pool.submit(function, *asked.args, **asked.kwargs)
            return future.result()
        except BrokenProcessPool:  # a function has ended its process: the next ones get new ones
            with self._mutex:
                if self._pool is pool:
                    self._pool = None
            raise

    def _running_pool(self) -> ProcessPoolExecutor:
        with self._mutex:
            if self._pool is None:
                # Not forked: this process has threads.
                context = multiprocessing.get_context("spawn")
                self._pool = ProcessPoolExecutor(self._processes, mp_context=context)
            return self._pool
