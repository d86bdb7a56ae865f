"""Runs what is asked of a worker that has threads: plain functions here, others on a loop or in a process.

Loop and processes are imported when they are needed: most workers need neither, and they load slowly.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator, Coroutine, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from rpc.working.job import Job
from rpc.working.methods import Asked

if TYPE_CHECKING:
    from rpc.blocking.loop import Loop
    from rpc.processes import Processes

MISSING = object()


class Runner:
    """One worker's places to run functions in, besides the threads that call it."""

    def __init__(self, processes: int) -> None:
        """`processes`: how many, for functions that run in one."""
        self._count = processes
        self._mutex = threading.Lock()  # guards both
        self._loop: Loop | None = None
        self._processes: Processes | None = None

    def call(self, job: Job, asked: Asked) -> Any:
        """Run a function and return its result; a generator's is an iterator. Raises what it raises."""
        method = asked.found()
        if method.is_plain:
            return asked.call()
        if method.is_async:
            result: Any = asked.call()
            return self._items(job, result) if method.is_stream else self._on_loop(job, result)
        if method.options.run_in == "process":
            call = partial(method.function, *asked.args, **asked.kwargs)
            return self._needed_processes().submit(call).result()

        async def there() -> Any:
            return asked.call()

        return self._on_loop(job, there())

    def close(self) -> None:
        """Give everything back; nothing runs any more."""
        for place in (self._loop, self._processes):
            if place is not None:
                place.close()

    def _on_loop(self, job: Job, work: Coroutine[Any, Any, Any]) -> Any:
        future = self._needed_loop().run(_harmless(work))

        def changed() -> None:
            if job.cancelled:
                future.cancel()

        job.changed = changed
        changed()
        try:
            result, failure = future.result()
        finally:
            job.changed = None
        if failure is not None:
            raise failure
        return result

    def _items(self, job: Job, items: AsyncGenerator[Any, None]) -> Iterator[Any]:
        """Return what an async generator yields, for a thread to iterate over."""

        async def following() -> Any:
            return await anext(items, MISSING)

        async def close() -> None:
            await items.aclose()

        try:
            while (item := self._on_loop(job, following())) is not MISSING:
                yield item
        finally:
            self._needed_loop().run(close()).result()

    def _needed_loop(self) -> Loop:
        with self._mutex:
            if self._loop is None:
                from rpc.blocking.loop import Loop

                self._loop = Loop()
            return self._loop

    def _needed_processes(self) -> Processes:
        with self._mutex:
            if self._processes is None:
                from rpc.processes import Processes

                self._processes = Processes(self._count)
            return self._processes


async def _harmless(work: Coroutine[Any, Any, Any]) -> tuple[Any, BaseException | None]:
    """Return what a coroutine returns, or what it raises that would end the loop, and all that is on it."""
    try:
        return await work, None
    except (SystemExit, KeyboardInterrupt) as failure:
        return None, failure
