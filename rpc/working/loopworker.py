"""A worker on an event loop, whoever's: each request is a coroutine.

The faces for asyncio and Twisted differ in how a coroutine is begun and stopped, how one waits, and where
blocking functions run: that is their `WorkerHost`. What is said about a request is `rpc.working.serving`'s. Pure.

A life: `start` connects and subscribes, again and again; `drain` takes nothing new, waits for what runs,
and says goodbye; then `WorkerHost.over` is called.
"""

from __future__ import annotations

import inspect
import logging
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterable, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any, Protocol

from broker.stomp import Frame
from rpc.address import Address
from rpc.context import CURRENT, Context
from rpc.errors import BrokerRefused, ConnectionLost
from rpc.lifeline import Host, Lifeline, Timer
from rpc.link import Link, refusal
from rpc.working.asked import Asked, Method
from rpc.working.job import Job
from rpc.working.limits import FAREWELL, STREAM_PATIENCE
from rpc.working.serving import GOODBYE, LOOK, SERVING, Serving

log = logging.getLogger("rpc")


TURN = 0.05  # seconds one request may have the loop for what does not wait

Wrap = Callable[[Context, Callable[[], Any]], Callable[[], Any]]


class Task(Protocol):
    """A coroutine that runs."""

    def cancel(self) -> Any:
        """Stop it."""


class Pause(Protocol):
    """Something to wait for."""

    def __await__(self) -> Any: ...

    def resume(self) -> None:
        """Let whoever waits go on; may be called again."""


class WorkerHost(Host, Protocol):
    """What a worker needs of the event loop it lives on."""

    def spawn(self, work: Coroutine[Any, Any, None]) -> Task:
        """Run a coroutine; it raises nothing but what cancelling does. Whoever lets it run keeps the task."""

    def pause(self) -> Pause:
        """Return something to wait for."""

    def is_end(self, error: BaseException) -> bool:
        """Tell whether what was raised in the coroutine that runs ends it, or the loop."""

    def elsewhere(self, where: str, call: Callable[[], Any]) -> Awaitable[Any]:
        """Call a function in a "thread" or a "process" (then it can be pickled)."""

    def ready(self) -> None:
        """Calls reach the worker."""

    def over(self, error: ConnectionLost | None) -> None:
        """Everything is done; `error`: the broker did not even let it begin."""


class LoopWorker:
    """Serves calls with coroutines."""

    def __init__(
        self,
        host: WorkerHost,
        address: Address,
        serving: Serving,
        wrap: Wrap | None,
        heart_beat: float,
        patience: float,
        *,
        runs_here: bool,
    ) -> None:
        """`wrap` puts hooks around a call; `runs_here`: plain functions run on the loop unless told otherwise.

        `heart_beat` and `patience`: as `Lifeline`.
        """
        self.lifeline = Lifeline(host, self, address, heart_beat, patience)
        self._host = host
        self._address = address
        self._serving = serving
        self._wrap = wrap
        self._runs_here = runs_here
        self._served = False  # was subscribed once
        self._parting = False  # goodbye was said
        self._over = False
        self._waiting: deque[Job] = deque()
        self._running: set[Job] = set()
        self._starting = False
        #: Of those that run, unless they were done at once. A loop by itself may forget a task that waits.
        self._tasks: dict[Job, Task] = {}
        self._pauses: dict[Job, Pause] = {}  # streams that wait for credit
        self._deadline: tuple[float, Timer] | None = None
        self._farewell: Timer | None = None

    def start(self) -> None:
        """Connect and serve."""
        self.lifeline.connect()

    def drain(self) -> None:
        """Take nothing new; be over once what runs is done."""
        self._serving.stop()
        self._part_if_done()

    def abandon(self) -> None:
        """Be over at once, whatever runs: what was not acknowledged goes to another worker."""
        self._end()

    # rpc.lifeline.Speaker

    def greeting(self, link: Link) -> bytes:
        """Return what a new connection is to be told first."""
        return self._serving.greeting(link)

    def begun(self) -> None:
        """The connection is open; RECEIPT `SERVING` will tell when calls reach us."""

    def heard(self, frames: list[Frame]) -> None:
        """Requests have come."""
        for frame in frames:
            if frame.command == "RECEIPT":
                receipt = frame.headers.get("receipt-id")
                if receipt == SERVING:
                    log.info("Serving %s at %s", self._serving.queue, self._address)
                    if not self._served:
                        self._served = True
                        self._host.ready()
                elif receipt == GOODBYE:
                    self._end()
                    return
            elif frame.command == "ERROR":
                if not self._served:
                    self._end(refusal(frame))
                    return
                # A reply to a queue that is gone, for one. If the link must end, the broker ends it.
                log.warning("The broker refused: %s", refusal(frame))
        jobs, data = self._serving.take(frames)
        self._say(data)
        self._run(jobs)
        if self._serving.is_looking:
            self._watch(self._host.now() + LOOK)

    def ended(self, error: ConnectionLost, was_open: bool, has_left: Callable[[int], bool]) -> bool:
        """The connection is lost; make another, unless it is over."""
        serving = self._serving
        serving.lost()
        if self._over:
            return False
        refused = error if isinstance(error, BrokerRefused) and not self._served else None
        if refused is not None or self._parting or (serving.stopping and not serving.busy):
            self._end(refused)
            return False
        log.warning("%s; trying again", error)
        return True

    # A request.

    def _run(self, jobs: Iterable[Job]) -> None:
        """Run jobs, now or when others are done. May be called out of itself."""
        self._waiting.extend(jobs)
        if self._starting:
            return
        self._starting = True
        try:
            while self._waiting and len(self._running) < self._serving.concurrency:
                self._start(self._waiting.popleft())
        finally:
            self._starting = False

    def _start(self, job: Job) -> None:
        if not self._serving.begin(job, self._host.now()):
            self._finish(job)
            return
        if job.deadline is not None:
            self._watch(job.deadline)
        job.changed = partial(self._changed, job)
        self._running.add(job)
        task = self._host.spawn(self._respond_to_all(job))
        if job in self._running:
            self._tasks[job] = task

    async def _respond_to_all(self, job: Job) -> None:
        begun = self._host.now()
        turn = begun + TURN
        responses: list[bytes | None] = []
        failure: BaseException | None = None
        try:
            for asked in job.request.asked:
                try:
                    response = await self._respond(job, asked)
                except BaseException as error:
                    if self._is_end(job, asked, error):
                        raise
                    failure = error  # whatever it is, it is the caller's to know
                    response = self._serving.failed(job, asked, error)
                responses.append(response)
                if self._host.now() >= turn:
                    turn = await self._take_turns()
        except BaseException:  # stopped: nobody waits, or the loop ends
            responses.clear()
            job.settled = job.settled or not job.cancelled  # then another worker gets it
            raise
        finally:
            self._finish(job, responses, self._host.now() - begun, failure)

    def _is_end(self, job: Job, asked: Asked, error: BaseException) -> bool:
        """Tell whether a job was stopped, or the program is; a function may raise the same by itself."""
        if isinstance(error, Exception | SystemExit):
            return False
        if isinstance(error, KeyboardInterrupt) and self._where(asked.found()) != "loop":
            return False
        return job.cancelled or self._host.is_end(error)

    async def _take_turns(self) -> float:
        """Let others have the loop; return when it is their turn again."""
        pause = self._host.pause()
        self._host.later(0.0, pause.resume)
        await pause
        return self._host.now() + TURN

    async def _respond(self, job: Job, asked: Asked) -> bytes | None:
        """Run one function and return its response. Raises what it raises."""
        method = asked.found()
        context = Context(self._serving.service, method.name, job, self._host.wall)
        token = CURRENT.set(context)
        try:
            if self._wrap is None:
                result = self._call(asked, method)
            else:
                result = self._wrap(context, lambda: self._proceed(asked, method))()
            if inspect.isawaitable(result):
                result = await result
            if method.is_stream:
                result = await self._drain(job, self._items(method, result))
            elif job.credit is not None:
                result = await self._drain(job, _one(result))
        finally:
            CURRENT.reset(token)
        return asked.succeeded(result)

    def _call(self, asked: Asked, method: Method) -> Any:
        """Call a function; what it returns is perhaps to be awaited."""
        where = self._where(method)
        if where == "loop":
            return asked.call()
        return self._host.elsewhere(where, partial(method.function, *asked.args, **asked.kwargs))

    async def _proceed(self, asked: Asked, method: Method) -> Any:
        """The same, for hooks to await."""
        result = self._call(asked, method)
        return await result if inspect.isawaitable(result) else result

    def _where(self, method: Method) -> str:
        here = method.is_async or self._runs_here
        return method.options.run_in or ("loop" if here else "thread")

    async def _items(self, method: Method, items: Any) -> AsyncGenerator[Any, None]:
        """Return the items of either kind of generator."""
        if inspect.isasyncgen(items):
            async with aclosing(items):
                async for item in items:
                    yield item
            return
        following = partial(next, items, MISSING)
        is_here = self._where(method) == "loop"
        try:
            while True:
                item = following() if is_here else await self._host.elsewhere("thread", following)
                if item is MISSING:
                    return
                yield item
        finally:
            items.close()

    async def _drain(self, job: Job, items: AsyncGenerator[Any, None]) -> list[Any] | None:
        """Return all items of a stream, or send them as the caller's credit allows."""
        async with aclosing(items):
            if job.credit is None:
                return [item async for item in items]
            turn = self._host.now() + TURN
            async for item in items:
                while job.credit <= 0:
                    await self._credit(job)
                self._say(self._serving.item(job, item))
                if self._host.now() >= turn:
                    turn = await self._take_turns()
        return None

    async def _credit(self, job: Job) -> None:
        """Wait until a stream's caller has said something."""
        pause = self._pauses[job] = self._host.pause()
        timer = self._host.later(STREAM_PATIENCE, partial(self._serving.give_up, job))
        try:
            await pause
        finally:
            timer.cancel()
            del self._pauses[job]

    def _changed(self, job: Job) -> None:
        """A job was cancelled, or has more credit."""
        if job.cancelled:
            if task := self._tasks.get(job):
                task.cancel()
        elif pause := self._pauses.get(job):
            pause.resume()

    def _finish(
        self,
        job: Job,
        responses: Sequence[bytes | None] = (),
        seconds: float = 0.0,
        failure: BaseException | None = None,
    ) -> None:
        jobs, data = self._serving.finish(job, responses, seconds, failure)
        self._running.discard(job)
        self._tasks.pop(job, None)
        job.changed = None
        self._say(data)
        if jobs or self._waiting:
            self._run(jobs)
        if self._serving.stopping:
            self._part_if_done()

    def _say(self, data: bytes) -> None:
        if data and self.lifeline.is_open:
            self.lifeline.send(data)

    # Time.

    def _watch(self, deadline: float) -> None:
        """See that what is overdue at a moment is ended, unless that is looked after anyway."""
        if self._deadline is not None:
            if self._deadline[0] <= deadline:
                return
            self._deadline[1].cancel()
        wait = max(0.0, deadline - self._host.now())
        self._deadline = deadline, self._host.later(wait, self._end_overdue)

    def _end_overdue(self) -> None:
        self._deadline = None
        jobs, data = self._serving.end_overdue(self._host.now())
        self._say(data)
        self._run(jobs)
        deadline = self._serving.next_overdue()
        if deadline is not None:
            self._watch(deadline)
        if self._serving.is_looking:
            self._watch(self._host.now() + LOOK)

    # The end.

    def _part_if_done(self) -> None:
        link = self.lifeline.link
        if self._serving.busy or self._parting or self._over:
            return
        if link is None or not self.lifeline.is_open:
            self._end()
            return
        self._parting = True
        self.lifeline.send(self._serving.farewell(link))
        self._farewell = self._host.later(FAREWELL, self._end)

    def _end(self, error: ConnectionLost | None = None) -> None:
        self._over = True
        for timer in (self._farewell, self._deadline and self._deadline[1]):
            if timer is not None:
                timer.cancel()
        self._farewell = self._deadline = None
        self.lifeline.close(ConnectionLost("The worker has ended", sent=True))
        self._host.over(error)


async def _one(item: Any) -> AsyncGenerator[Any, None]:
    yield item


MISSING = object()
