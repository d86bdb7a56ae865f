"""`Worker` for Twisted."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import copy_context
from typing import Any, Unpack, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads, IReactorTime
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from rpc.errors import ConnectionLost
from rpc.offer import Offer, WorkerOptions
from rpc.processes import Processes
from rpc.tx.host import ReactorHost, the_reactor
from rpc.working.loopworker import LoopWorker


class _Pause(Deferred[None]):
    """Something to wait for."""

    def resume(self) -> None:
        """Let whoever waits go on."""
        if not self.called:
            self.callback(None)


class _Host(ReactorHost):
    """A worker's reactor. See `rpc.working.loopworker.WorkerHost`."""

    def __init__(
        self, reactor: IReactorTime, worker: Worker, on_ready: Callable[[], None] | None
    ) -> None:
        super().__init__(reactor, worker._address)
        self.ended: Deferred[None] = Deferred()
        self._on_ready = on_ready
        self._size = worker._limits.concurrency
        self._threads: ThreadPool | None = None
        self._processes = Processes(self._size)

    def spawn(self, work: Coroutine[Any, Any, None]) -> Deferred[None]:
        """Run a coroutine."""
        running = Deferred.fromCoroutine(work)

        def stopped(failure: Failure) -> None:
            if not isinstance(failure.value, Exception):  # else it was cancelled
                failure.raiseException()

        running.addErrback(stopped)
        return running

    def pause(self) -> _Pause:
        """Return something to wait for."""
        return _Pause()

    def is_end(self, error: BaseException) -> bool:
        """A reactor is not ended by what is raised, and cancelling raises an `Exception`."""
        return False

    def elsewhere(self, where: str, call: Callable[[], Any]) -> Awaitable[Any]:
        """Call a function in a thread or process."""
        if where == "process":
            submitted = self._processes.submit(call)
            call = submitted.result
        if self._threads is None:
            self._threads = ThreadPool(0, self._size, name="rpc-worker")
            self._threads.start()
        reactor = cast(IReactorFromThreads, self.reactor)
        return deferToThreadPool(reactor, self._threads, copy_context().run, call)

    def ready(self) -> None:
        """Calls reach the worker."""
        if self._on_ready is not None:
            self._on_ready()

    def over(self, error: ConnectionLost | None) -> None:
        """Everything is done."""
        self._processes.close()
        if self._threads is not None:
            self._threads.stop()
        if error is None:
            self.ended.callback(None)
        else:
            self.ended.errback(error)


class Worker(Offer):
    """Serves calls to one service in the reactor.

    Functions run in the reactor's thread and may return Deferreds or be `async`; what blocks says
    `run_in="thread"`. `concurrency` calls run at once. All else is as with `rpc.Worker`; hooks are
    `async`, and await `proceed()`.
    """

    def __init__(
        self,
        url: str,
        service: str,
        *,
        reactor: IReactorTime | None = None,
        **options: Unpack[WorkerOptions],
    ) -> None:
        """See `rpc.offer.Offer`; `reactor` is Twisted's unless another is given."""
        super().__init__(url, service, **options)
        self._reactor = reactor
        self._worker: LoopWorker | None = None
        self._ended: Deferred[None] | None = None

    def _check_hook(self, hook: Callable[..., Any]) -> None:
        if not inspect.iscoroutinefunction(hook):
            raise TypeError("A hook of this worker is an async function, which awaits proceed()")

    def run(self, on_ready: Callable[[], None] | None = None) -> Deferred[None]:
        """Serve until `stop` is called; the Deferred fires when the calls that ran then are finished.

        A reactor that is stopped (SIGTERM) waits for them. `on_ready` is called once the broker has
        confirmed that calls reach this worker. A broker that cannot be reached, or that goes away, is
        tried again and again. The Deferred fails with `BrokerRefused` if the broker refuses the very
        first CONNECT or SUBSCRIBE.
        """
        self._begin()
        reactor = self._reactor or the_reactor()
        host = _Host(reactor, self, on_ready)
        worker = self._worker = self._loop_worker(host, runs_here=True)
        host.lifeline = worker.lifeline
        at_end = getattr(reactor, "addSystemEventTrigger", None)
        if at_end is not None:
            at_end("before", "shutdown", self.stop)
        worker.start()
        self._ended = host.ended
        return self._ended

    def stop(self) -> Deferred[None]:
        """Take no more calls; the Deferred fires when those that run are finished."""
        stopped: Deferred[None] = Deferred()
        if self._worker is None or self._ended is None:
            stopped.callback(None)
            return stopped

        def tell(result: Failure | None) -> Failure | None:
            stopped.callback(None)
            return result

        self._ended.addBoth(tell)
        self._worker.drain()
        return stopped
