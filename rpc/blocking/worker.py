"""`Worker` for programs with threads: functions offered to whoever calls the service.

A crew of threads takes turns at waiting for requests and running them (`crew`), so that a quick function
costs no thread hop and heart-beats go on while a slow one blocks. What is said about a request is decided
by `rpc.working.serving`, under `_mutex`.
"""

from __future__ import annotations

import inspect
import logging
import random
import select
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import attrgetter
from time import monotonic
from typing import Any, Unpack

from broker.stomp import Frame
from rpc.backoff import backoff
from rpc.blocking.crew import WATCH, Crew, Duties
from rpc.blocking.runner import Runner
from rpc.blocking.signals import stopped_by_signals
from rpc.blocking.stream import Bell
from rpc.blocking.wire import Wire
from rpc.context import CURRENT, Context
from rpc.errors import BrokerRefused, ConnectionLost
from rpc.link import refusal
from rpc.offer import Offer, WorkerOptions
from rpc.working.job import Job
from rpc.working.limits import FAREWELL, STREAM_PATIENCE
from rpc.working.methods import Asked
from rpc.working.serving import GOODBYE, LOOK, SERVING

log = logging.getLogger("rpc")

FOREVER = float("inf")

#: Responses to what was asked, what the last function raised, seconds that they took.
Done = tuple[Sequence[bytes | None], BaseException | None, float]


class Worker(Offer):
    """Serves calls to one service with the functions that were given to `method` or `register`.

    Plain functions run in threads, `async` ones on an event loop of the worker's own, those with
    `run_in="process"` in processes. Any number of workers share a service's queue. A call is
    acknowledged behind its reply: if this process dies before, another worker gets the call, so a
    function may run more than once, unless its `delivery` is "at-most-once".
    """

    def __init__(self, url: str, service: str, **options: Unpack[WorkerOptions]) -> None:
        """See `rpc.offer.Offer`. A `concurrency` of 1 is for functions that are not thread-safe."""
        super().__init__(url, service, **options)
        self._bell = Bell()  # wakes `run`
        self._stop_asked = False
        self._stopping = threading.Event()
        self._wire: Wire | None = None
        self._failures = 0  # tries to connect that failed in a row
        self._served = False  # was connected once
        self._on_ready: Callable[[], None] | None = None

    def _prepare(self) -> None:
        super()._prepare()
        size = self._limits.concurrency
        self._mutex = threading.Lock()  # guards _serving and the crew
        duties = Duties(
            self._lead,
            self._take,
            attrgetter("name"),
            self._start,
            self._work,
            self._end,
            self._ring,
        )
        self._crew = Crew(duties, self._mutex, size)
        self._runner = Runner(size)

    def _check_hook(self, hook: Callable[..., Any]) -> None:
        if inspect.iscoroutinefunction(hook):
            raise TypeError("A hook of this worker is a plain function: those of rpc.aio are async")

    def run(self, on_ready: Callable[[], None] | None = None) -> None:
        """Serve until SIGTERM, SIGINT or `stop`; then finish the calls that run, and return.

        Signals are heeded when called in the main thread; a second one ends the process as it would
        without us. `on_ready` is called, in another thread, once the broker has confirmed that calls
        reach this worker. A broker that cannot be reached, or that goes away, is tried again and
        again. Raises `BrokerRefused` if the broker refuses the very first CONNECT or SUBSCRIBE.
        """
        self._begin()
        self._on_ready = on_ready
        crew = self._crew
        poll = select.poll()
        poll.register(self._bell, select.POLLIN)
        with stopped_by_signals(self.stop, self._bell.rope):
            crew.start()
            while not self._stop_asked and crew.failure is None:
                self._watch(poll)
            self._finish(poll)
        self._runner.close()
        if crew.failure is not None:
            raise crew.failure

    def stop(self) -> None:
        """Ask `run` to return, from any thread or signal handler; a call that runs is finished."""
        self._stop_asked = True
        self._ring()

    def _ring(self) -> None:
        self._bell.ring()

    def _watch(self, poll: select.poll) -> None:
        """Wait until the crew rings or a call is overdue, and see to either."""
        again = self._crew.watch()
        with self._mutex:
            overdue = self._serving.next_overdue()
            looking = self._serving.is_looking
        wait = WATCH if again else FOREVER
        if looking:
            wait = min(wait, LOOK)
        if overdue is not None:
            wait = min(wait, max(0.0, overdue - monotonic()))
        poll.poll(None if wait == FOREVER else wait * 1000 + 1)
        self._bell.hush()
        if overdue is not None or looking:
            self._end_overdue()

    def _end_overdue(self) -> None:
        with self._mutex:
            jobs, data = self._serving.end_overdue(monotonic())
            self._say(data)
        self._crew.add(jobs)

    # What the crew does: `_lead` in one thread at a time, `_work` in several, the rest with the mutex held

    def _lead(self) -> Sequence[Frame]:
        """Wait for requests, and see to the connection."""
        wire = self._wire
        try:
            if wire is None:
                self._dial()
                return ()
            frames = wire.pump(FOREVER)
        except BrokerRefused as error:
            if not self._served:
                raise
            self._lose(error)
            return ()
        except ConnectionLost as error:
            self._lose(error)
            return ()
        if not frames:
            return ()
        for frame in frames:
            if frame.command == "RECEIPT" and frame.headers.get("receipt-id") == SERVING:
                self._subscribed()
            elif frame.command == "ERROR":
                if not self._served:
                    raise refusal(frame)
                # A reply to a queue that is gone, for one. If the link must end, the broker ends it.
                log.warning("The broker refused: %s", refusal(frame))
        return frames

    def _take(self, frames: Sequence[Frame]) -> Iterable[Job]:
        jobs, data = self._serving.take(frames)
        self._say(data)
        if self._serving.is_looking:
            self._ring()
        return jobs

    def _dial(self) -> None:
        wire = Wire(self._address, heart_beat=self._heart_beat, timeout=self._connect_timeout)
        with self._mutex:
            wire.write(self._serving.greeting(wire.link))
            self._wire = wire
        if self._stopping.is_set():  # `run` may be gone already
            self._wire = None
            wire.close()

    def _subscribed(self) -> None:
        log.info("Serving %s at %s", self._serving.queue, self._address)
        self._failures = 0
        if not self._served:
            self._served = True
            if self._on_ready is not None:
                self._on_ready()

    def _lose(self, error: ConnectionLost) -> None:
        """Give the connection up, and wait before the next try."""
        with self._mutex:
            wire, self._wire = self._wire, None
            self._serving.lost()
        if wire is not None:
            wire.close()
        if self._stopping.is_set():
            return
        self._failures += 1
        wait = backoff(self._failures, random.random())  # noqa: S311  # no secret
        log.warning("%s; trying again in %.1f s", error, wait)
        self._stopping.wait(wait)

    def _start(self, job: Job) -> None:
        self._serving.begin(job, monotonic())
        if job.deadline is not None:
            self._ring()

    def _work(self, job: Job) -> Done:
        """Run what was asked."""
        responses: list[bytes | None] = []
        failure: BaseException | None = None
        if job.begun is None:  # nobody waits for it
            return responses, failure, 0.0
        for asked in job.request.asked:
            try:
                response = self._respond(job, asked)
            except BaseException as error:  # whatever it is, it is the caller's to know
                failure = error
                with self._mutex:
                    response = self._serving.failed(job, asked, error)
            responses.append(response)
        return responses, failure, monotonic() - job.begun

    def _end(self, job: Job, done: Done, more: bool) -> tuple[Iterable[Job], float]:
        """Send the reply, and acknowledge the request; return what waited for it, and how long it took.

        `more` replies follow at once: they leave together. The last one, or the only one, does not wait until
        everything is noted and somebody reads: its caller does.
        """
        responses, failure, seconds = done
        jobs, data = self._serving.finish(job, responses, seconds, failure)
        self._say(data, held=more)
        return jobs, seconds

    def _respond(self, job: Job, asked: Asked) -> bytes | None:
        """Run one function and return its response. Raises what it raises."""
        method = asked.found()
        context = Context(self._service, method.name, job, time.time)
        token = CURRENT.set(context)
        try:
            if self._hooks:
                result = self._wrapped(context, lambda: self._runner.call(job, asked))()
            else:
                result = self._runner.call(job, asked)
            if method.is_stream:
                result = self._drain(job, iter(result))
            elif job.credit is not None:
                result = self._drain(job, iter((result,)))
        finally:
            CURRENT.reset(token)
        return asked.succeeded(result)

    def _drain(self, job: Job, items: Iterator[Any]) -> list[Any] | None:
        """Return all items of a stream, or send them as the caller's credit allows."""
        if job.credit is None:
            return list(items)
        credited = threading.Event()
        try:
            for item in items:
                job.changed = credited.set
                while job.credit <= 0 and not job.cancelled:
                    if not credited.wait(STREAM_PATIENCE):
                        job.cancelled = True
                    credited.clear()
                if job.cancelled:
                    break
                with self._mutex:
                    self._say(self._serving.item(job, item))
        finally:
            job.changed = None
            close = getattr(items, "close", None)
            if close is not None:
                close()
        return None

    def _say(self, data: bytes, *, held: bool = False) -> None:
        """Send over the connection that there is. With the mutex held, so that it is the one meant."""
        if data and self._wire is not None:
            self._wire.write(data, held=held)

    # The end

    def _finish(self, poll: select.poll) -> None:
        """Let the crew do what it has begun, then say goodbye; heart-beats go on meanwhile."""
        with self._mutex:
            self._serving.stop()
        until = monotonic() + FAREWELL
        # What was acknowledged, but not run yet, nobody else would run.
        while self._serving.is_owed and self._crew.failure is None and monotonic() < until:
            self._crew.watch()
            poll.poll(WATCH * 1000)
            self._bell.hush()
            self._end_overdue()
        self._stopping.set()
        self._crew.stop()
        if self._wire is not None:
            self._wire.wake()
        try:
            while self._crew.busy or (self._crew.led and self._wire is not None):
                wire = self._wire
                if wire is None or self._crew.led:  # the leader is on its way out, and rings
                    self._crew.watch()
                    poll.poll(WATCH * 1000)
                    self._bell.hush()
                elif frames := wire.pump(monotonic() + WATCH):
                    with self._mutex:  # requests go to other workers, but streams hear of credit
                        self._say(self._serving.take(frames)[1])
                self._end_overdue()
            if self._wire is not None:
                self._part(self._wire)
        except ConnectionLost as error:
            log.warning("%s; requests that were not acknowledged will be served again", error)
        finally:
            wire, self._wire = self._wire, None
            if wire is not None:
                wire.close()
        if not self._crew.led:  # else the leader is still trying to connect, and will find us gone
            self._crew.join()

    def _part(self, wire: Wire) -> None:
        """Acknowledge what was held back, and wait until the broker has processed everything."""
        with self._mutex:
            wire.write(self._serving.farewell(wire.link))
        until = monotonic() + FAREWELL
        while monotonic() < until:
            for frame in wire.pump(until) or ():
                if frame.command == "RECEIPT" and frame.headers.get("receipt-id") == GOODBYE:
                    return
