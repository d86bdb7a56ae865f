"""Workers of all faces, over connections in memory: `rpc.working.loopworker` on a test's clock.

Nothing runs in a thread or process. A plain function, which has a thread of its own in earnest, is called
between two steps of the event loop; it may wait (call, let the clock go on), and what happens meanwhile happens
inside of that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.python.failure import Failure

import rpc.aio
import rpc.blocking
import rpc.tx
from rpc.context import Context
from rpc.errors import ConnectionLost
from rpc.link import CONNECT_TIMEOUT
from rpc.offer import Offer
from rpc.testing.client import ADDRESS, NO_HEART_BEAT, URL
from rpc.testing.world import Host, World
from rpc.working.loopworker import LoopWorker, Task, Wrap


class _AioPause(asyncio.Future[None]):
    """Something to wait for, in a task."""

    def resume(self) -> None:
        """Let whoever waits go on."""
        if not self.done():
            self.set_result(None)


class _TxPause(Deferred[None]):
    """Something to wait for, with Deferreds."""

    def resume(self) -> None:
        """Let whoever waits go on."""
        if not self.called:
            self.callback(None)


class WorkerHost(Host):
    """A worker's event loop: asyncio's names, on the test's clock. See `rpc.working.loopworker.WorkerHost`."""

    def __init__(self, world: World, party: str) -> None:
        super().__init__(world, party, is_worker=True)
        self.is_ready = False
        self.is_over = False
        self.tasks: dict[Task, None] = {}

    def spawn(self, work: Coroutine[Any, Any, None]) -> Task:
        """Run a coroutine."""
        task = self.world.loop.create_task(work)
        self.tasks[task] = None
        task.add_done_callback(lambda _: self.tasks.pop(task, None))
        return task

    def pause(self) -> Any:
        """Return something to wait for."""
        return _AioPause(loop=self.world.loop)

    def is_end(self, error: BaseException) -> bool:
        """Tell whether the task that runs was cancelled, or the loop is to end (Ctrl-C)."""
        task = asyncio.current_task(self.world.loop)
        is_cancelled = task is not None and task.cancelling() > 0
        return is_cancelled or isinstance(error, KeyboardInterrupt)

    def elsewhere(self, where: str, call: Callable[[], Any]) -> Awaitable[Any]:
        """Call a function as if in a thread or process."""
        return self.world.loop.aside(call)

    def ready(self) -> None:
        """Calls reach the worker."""
        self.is_ready = True

    def over(self, error: ConnectionLost | None) -> None:
        """Everything is done."""
        self.is_over = True


class TxWorkerHost(WorkerHost):
    """The same with Deferreds."""

    def spawn(self, work: Coroutine[Any, Any, None]) -> Task:
        """Run a coroutine."""
        running = ensureDeferred(work)
        self.tasks[running] = None

        def stopped(result: Failure | None) -> None:
            self.tasks.pop(running, None)
            if isinstance(result, Failure) and not isinstance(result.value, Exception):
                result.raiseException()

        return running.addBoth(stopped)

    def pause(self) -> Any:
        """Return something to wait for."""
        return _TxPause()

    def is_end(self, error: BaseException) -> bool:
        """A reactor is not ended by what is raised, and cancelling raises an `Exception`."""
        return False

    def elsewhere(self, where: str, call: Callable[[], Any]) -> Awaitable[Any]:
        """Call a function as if in a thread or process."""
        return Deferred.fromFuture(self.world.loop.aside(call))


class Served:
    """A worker at work."""

    def __init__(self, world: World, party: str, offer: Offer, *, shared: bool) -> None:
        """`shared`: what is registered later is offered as well."""
        self._world = world
        is_tx = isinstance(offer, rpc.tx.Worker)
        self._host = (TxWorkerHost if is_tx else WorkerHost)(world, party)
        wrap: Wrap | None = offer._wrapped if offer._hooks or shared else None
        if wrap is not None and isinstance(offer, rpc.blocking.Worker):
            wrap = self._around(offer)
        methods = offer._methods if shared else offer._methods.copy()
        serving = offer.serving(methods, self._host.now, self._host.wall)
        serving.name = party
        self._worker = LoopWorker(
            self._host,
            ADDRESS,
            serving,
            wrap,
            NO_HEART_BEAT,
            CONNECT_TIMEOUT,
            runs_here=is_tx,
        )
        self._host.lifeline = self._worker.lifeline
        host = self._host
        world.clock.at_first(self._worker.start, lambda: host.is_ready or host.is_over)

    @property
    def name(self) -> str:
        """Name it as the trace and `Broker.disconnect` do."""
        return self._host.party

    @property
    def is_over(self) -> bool:
        """True once it has stopped, or was killed."""
        return self._host.is_over

    def wait_until_over(self) -> None:
        """Let happen what it takes until it has stopped."""
        host = self._host
        self._world.clock.wait_for(lambda: host.is_over, f"nobody stops {self.name}")

    def stop(self) -> None:
        """Ask it to stop: it takes no more calls, and is over once those that run are finished."""
        self._worker.drain()

    def kill(self) -> None:
        """Die in the middle of whatever it is: nothing more is said, what it had goes to another worker."""
        host = self._host
        host.die()
        if not host.is_over:
            self._worker.abandon()
        for task in tuple(host.tasks):
            task.cancel()

    def _around(self, offer: Offer) -> Wrap:
        """Return what puts plain hooks around a call: as the function in a thread of its own, they may wait."""
        loop, clock = self._world.loop, self._world.clock

        def wrap(context: Context, call: Callable[[], Any]) -> Callable[[], Any]:
            if not offer._hooks:
                return call

            def proceed() -> Any:
                task = loop.create_task(call())
                clock.wait_for(task.done, f"{context.method!r} is not done")
                return task.result()

            whole = offer._wrapped(context, proceed)
            return lambda: loop.aside(whole)

        return wrap


class Worker(rpc.blocking.Worker):
    """`rpc.Worker` in memory, at work from the beginning; what is registered later is offered at once."""

    def __init__(self, world: World, party: str, service: str, **options: Any) -> None:
        super().__init__(URL, service, name=party, **options)
        self.served = Served(world, party, self, shared=True)

    def run(self, on_ready: Callable[[], None] | None = None) -> None:
        """Let happen what it takes until the worker has stopped; it serves without this."""
        if on_ready is not None:
            on_ready()
        self.served.wait_until_over()

    def stop(self) -> None:
        """Ask it to stop; calls that run are finished."""
        self.served.stop()

    def kill(self) -> None:
        """Let it die in the middle of whatever it is; what it had goes to another worker."""
        self.served.kill()
