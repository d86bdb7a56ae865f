"""An asyncio event loop whose time is a test's clock: `asyncio.sleep`, `gather`, `timeout` take no time.

It has no sockets, processes or signals: asking for one raises `NotImplementedError`. What would run in a
thread (`asyncio.to_thread`) runs where the test does, between two steps of the loop.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from asyncio import events
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextvars import Context, copy_context
from functools import partial
from typing import Any, TypeVar, TypeVarTuple, Unpack, cast

from twisted.internet.interfaces import IDelayedCall

from rpc.testing.clock import Clock

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

log = logging.getLogger("asyncio")


class Timer(asyncio.TimerHandle):
    """Something that the loop will do."""

    delayed: IDelayedCall

    def cancel(self) -> None:
        """Let it not happen; the clock knows nothing of it any more."""
        asyncio.Handle.cancel(self)
        if self.delayed.active():
            self.delayed.cancel()


class Loop(asyncio.AbstractEventLoop):
    """What asyncio needs of an event loop, on a clock."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._factory: Any = None

    def time(self) -> float:
        """Return the clock's seconds."""
        return self._clock.seconds()

    def get_debug(self) -> bool:
        """Return no."""
        return False

    def is_running(self) -> bool:
        """Tell whether it is in the middle of something."""
        return self._clock.in_loop

    def is_closed(self) -> bool:
        """Return no: there is nothing to close."""
        return False

    def call_at(
        self,
        when: float,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> Timer:
        """Call a function at a moment."""
        timer = Timer(when, callback, args, self, context)
        wait = max(0.0, when - self._clock.seconds())
        timer.delayed = self._clock.callLater(wait, self._run, timer)
        return timer

    def call_later(
        self,
        delay: float,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> Timer:
        """Call a function after a while."""
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_soon(
        self,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> Timer:
        """Call a function after what is due already."""
        return self.call_at(self.time(), callback, *args, context=context)

    def call_soon_threadsafe(
        self,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> Timer:
        """Call a function after what is due already; there are no other threads."""
        return self.call_at(self.time(), callback, *args, context=context)

    def create_future(self) -> asyncio.Future[Any]:
        """Return a future."""
        return asyncio.Future(loop=self)

    def create_task(
        self, coro: Any, *, name: str | None = None, context: Context | None = None
    ) -> asyncio.Task[Any]:
        """Run a coroutine."""
        if self._factory is not None:
            task: asyncio.Task[Any] = self._factory(self, coro, context=context)
            return task
        return asyncio.Task(coro, loop=self, name=name, context=context)

    def set_task_factory(self, factory: Any) -> None:
        """Let somebody else make tasks."""
        self._factory = factory

    def get_task_factory(self) -> Any:
        """Return who makes tasks."""
        return self._factory

    def run_in_executor(  # type: ignore[override]  # typeshed: it is a coroutine; it never was
        self, executor: Any, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        """Call a function that may wait, outside of the loop."""
        return self.aside(partial(func, *args))

    def aside(self, call: Callable[[], T]) -> asyncio.Future[T]:
        """Call a function outside of the loop, as if in a thread: it may wait, on the clock."""
        future: asyncio.Future[T] = self.create_future()
        self._clock.callLater(0, copy_context().run, _call, call, future)
        return future

    def run_until_complete(self, future: Generator[Any, None, T] | Awaitable[T]) -> T:
        """Run a coroutine to its end and return its result. Raises as `Clock.wait_for` does."""
        self._clock.let_begin()
        task: asyncio.Future[T] = asyncio.ensure_future(cast(Awaitable[T], future), loop=self)
        try:
            self._clock.wait_for(task.done, "the coroutine is not done")
        except BaseException:
            task.cancel()
            raise
        return task.result()

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        """Log what nobody else takes care of."""
        log.error("%s", context.get("message"), exc_info=context.get("exception"))

    call_exception_handler = default_exception_handler

    def _run(self, timer: Timer) -> None:
        """Do one thing, as a running loop does."""
        clock, before = self._clock, events._get_running_loop()
        hooks = sys.get_asyncgen_hooks()
        events._set_running_loop(self)
        sys.set_asyncgen_hooks(firstiter=None, finalizer=self._finalize)
        clock.in_loop = True
        try:
            timer._run()
        finally:
            clock.in_loop = False
            sys.set_asyncgen_hooks(*hooks)
            events._set_running_loop(before)

    def _finalize(self, generator: AsyncGenerator[Any, Any]) -> None:
        """An asynchronous generator was left to nobody: let it clean up."""
        self.call_soon(self.create_task, generator.aclose())


def _call(call: Callable[[], Any], future: asyncio.Future[Any]) -> None:
    if future.cancelled():
        return
    try:
        result = call()
    except StopIteration as error:  # which no future takes (PEP 479)
        outcome = RuntimeError("The function raised StopIteration")
        outcome.__cause__ = error
        _fail(future, outcome)
    except (Exception, SystemExit) as error:
        _fail(future, error)
    else:
        if not future.cancelled():
            future.set_result(result)


def _fail(future: asyncio.Future[Any], error: BaseException) -> None:
    if not future.cancelled():
        future.set_exception(error)


def make_loop(clock: Clock) -> Loop:
    """Return a loop. What it does not have raises `NotImplementedError`, as in all of asyncio."""
    return Loop(clock)  # type: ignore[abstract]  # for typeshed only
