"""`Worker` for asyncio."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from contextvars import copy_context
from typing import Any, Unpack

from rpc.aio.host import LoopHost
from rpc.aio.signals import stopped_by_signals
from rpc.errors import ConnectionLost
from rpc.offer import Offer, WorkerOptions
from rpc.processes import Processes
from rpc.working.loopworker import LoopWorker


class _Pause(asyncio.Future[None]):
    """Something to wait for."""

    def resume(self) -> None:
        """Let whoever waits go on."""
        if not self.done():
            self.set_result(None)


class _Host(LoopHost):
    """A worker's event loop. See `rpc.working.loopworker.WorkerHost`."""

    def __init__(self, worker: Worker, on_ready: Callable[[], None] | None) -> None:
        super().__init__(worker._address)
        self.ended: asyncio.Future[None] = self.loop.create_future()
        self._on_ready = on_ready
        size = worker._limits.concurrency
        self._threads = ThreadPoolExecutor(size, thread_name_prefix="rpc-worker")
        self._processes = Processes(size)

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a coroutine."""
        return self.loop.create_task(work)

    def pause(self) -> _Pause:
        """Return something to wait for."""
        return _Pause(loop=self.loop)

    def is_end(self, error: BaseException) -> bool:
        """Tell whether the task that runs was cancelled, or the loop is to end (Ctrl-C)."""
        task = asyncio.current_task()
        is_cancelled = task is not None and task.cancelling() > 0
        return is_cancelled or isinstance(error, KeyboardInterrupt)

    def elsewhere(self, where: str, call: Callable[[], Any]) -> Awaitable[Any]:
        """Call a function in a thread or process."""
        if where == "process":
            return asyncio.wrap_future(self._processes.submit(call), loop=self.loop)
        return self.loop.run_in_executor(self._threads, copy_context().run, call)

    def ready(self) -> None:
        """Calls reach the worker."""
        if self._on_ready is not None:
            self._on_ready()

    def over(self, error: ConnectionLost | None) -> None:
        """Everything is done."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._processes.close()
        if self.ended.done():
            return
        if error is None:
            self.ended.set_result(None)
        else:
            self.ended.set_exception(error)


class Worker(Offer):
    """Serves calls to one service on the event loop.

    `async` functions run on the loop, plain ones in threads unless they say `run_in="loop"`, so that
    none of them holds up the others. `concurrency` calls run at once. All else is as with `rpc.Worker`;
    hooks are `async`, and await `proceed()`.
    """

    def __init__(self, url: str, service: str, **options: Unpack[WorkerOptions]) -> None:
        """See `rpc.offer.Offer`."""
        super().__init__(url, service, **options)
        self._worker: LoopWorker | None = None
        self._stop_asked = False

    def _check_hook(self, hook: Callable[..., Any]) -> None:
        if not inspect.iscoroutinefunction(hook):
            raise TypeError("A hook of this worker is an async function, which awaits proceed()")

    async def run(
        self, on_ready: Callable[[], None] | None = None, *, signals: bool = False
    ) -> None:
        """Serve until `stop` is called, or the task is cancelled; then finish the calls that run.

        `signals`: SIGTERM and SIGINT stop it too. `on_ready` is called once the broker has confirmed
        that calls reach this worker. A broker that cannot be reached, or that goes away, is tried
        again and again. Raises `BrokerRefused` if the broker refuses the very first CONNECT or SUBSCRIBE.
        """
        self._begin()
        host = _Host(self, on_ready)
        worker = self._worker = self._loop_worker(host, runs_here=False)
        host.lifeline = worker.lifeline
        with stopped_by_signals(self.stop) if signals else nullcontext():
            worker.start()
            if self._stop_asked:
                worker.drain()
            try:
                await asyncio.shield(host.ended)
            except asyncio.CancelledError:
                worker.drain()
                with suppress(ConnectionLost):
                    await host.ended
                raise

    def stop(self) -> None:
        """Ask `run` to return, in the loop's thread; calls that run are finished."""
        self._stop_asked = True
        if self._worker is not None:
            self._worker.drain()
