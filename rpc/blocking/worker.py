"""`Worker` for programs with threads: functions offered to whoever calls the service.

A crew of threads takes turns at waiting for requests and running them (`crew`), so that a quick function
costs no thread hop and heart-beats go on while a slow one blocks.
"""

from __future__ import annotations

import contextlib
import logging
import random
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator
from time import monotonic
from types import FrameType
from typing import Any, TypeVar, overload

from broker.stomp import Frame
from rpc.address import parse_address
from rpc.backoff import backoff
from rpc.blocking.crew import WATCH, Crew
from rpc.blocking.stream import Bell
from rpc.blocking.wire import Wire
from rpc.errors import BrokerRefused, ConnectionLost
from rpc.link import CONNECT_TIMEOUT, HEART_BEAT_SECONDS, refusal
from rpc.message import has_expired, reply_headers, request_queue
from rpc.methods import Invocation, Methods

Function = TypeVar("Function", bound=Callable[..., Any])

log = logging.getLogger("rpc")

FAREWELL = 5.0  # seconds a worker waits for the broker to confirm its last acknowledgements
FOREVER = float("inf")


class _Request:
    """A request that was taken in: from where, its frame, and what to run."""

    __slots__ = ("frame", "invocation", "wire")

    def __init__(self, wire: Wire, frame: Frame, invocation: Invocation) -> None:
        self.wire = wire
        self.frame = frame
        self.invocation = invocation


class Worker:
    """Serves calls to one service with the functions that were given to `method`.

    Any number of workers share a service's queue. A call is acknowledged once its reply was sent: if
    this process dies before, another worker gets the call, so a function may run more than once.
    """

    def __init__(
        self,
        url: str,
        service: str,
        *,
        concurrency: int = 8,
        tracebacks: bool = False,
        heart_beat: float = HEART_BEAT_SECONDS,
        connect_timeout: float = CONNECT_TIMEOUT,
    ) -> None:
        """`url`: as for `Client`; `service`: a name of letters, digits, `_`, `.` and `-`.

        `concurrency`: so many functions run at once, each in a thread, and so many calls are taken
        from the queue ahead; 1 for functions that are not thread-safe. `tracebacks`: callers get the
        traceback of what a function raised, and with it a view of this program's code. Raises
        `ValueError` for what makes no sense.
        """
        if concurrency < 1:
            raise ValueError(f"concurrency is a number of threads from 1 on, not {concurrency}")
        self._address = parse_address(url)
        self._queue = request_queue(service)
        self._concurrency = concurrency
        self._heart_beat = heart_beat
        self._connect_timeout = connect_timeout
        self._methods = Methods(tracebacks=tracebacks)
        self._crew = Crew(self._lead, self._work, _kind, self._ring, concurrency)
        self._bell = Bell()  # wakes `run`
        self._stop_asked = False
        self._stopping = threading.Event()
        self._wire: Wire | None = None
        self._failures = 0  # tries to connect that failed in a row
        self._served = False  # was connected once
        self._on_ready: Callable[[], None] | None = None
        self._held: list[tuple[Wire, bytes]] = []  # acknowledgements held back while stopping

    @overload
    def method(self, function: Function, *, name: str | None = None) -> Function: ...
    @overload
    def method(
        self, function: None = None, *, name: str | None = None
    ) -> Callable[[Function], Function]: ...
    def method(
        self, function: Function | None = None, *, name: str | None = None
    ) -> Function | Callable[[Function], Function]:
        """Offer a function, under its own name or `name`: `@worker.method`, `@worker.method(name="a")`.

        The function is left as it is. Raises `ValueError` for a name that is taken.
        """
        if function is None:
            return self._methods.add(name=name)
        return self._methods.add(function, name=name)

    def run(self, on_ready: Callable[[], None] | None = None) -> None:
        """Serve until SIGTERM, SIGINT or `stop`; then finish the calls that run, and return.

        Signals are heeded when called in the main thread; a second one ends the process as it would
        without us. `on_ready` is called, in another thread, once the broker has confirmed that calls
        reach this worker. A broker that cannot be reached, or that goes away, is tried again and
        again. Raises `BrokerRefused` if the broker refuses the very first CONNECT or SUBSCRIBE.
        """
        self._on_ready = on_ready
        crew = self._crew
        poll = select.poll()
        poll.register(self._bell, select.POLLIN)
        with self._signals():
            crew.start()
            while not self._stop_asked and crew.failure is None:
                again = crew.watch()
                poll.poll(WATCH * 1000 if again else None)
                self._bell.hush()
            self._finish(poll)
        if crew.failure is not None:
            raise crew.failure

    def stop(self) -> None:
        """Ask `run` to return, from any thread or signal handler; a call that runs is finished."""
        self._stop_asked = True
        self._ring()

    def _ring(self) -> None:
        self._bell.ring()

    # What the crew does: `_lead` in one thread at a time, `_work` in several

    def _lead(self) -> list[_Request]:
        """Wait for requests, and see to the connection."""
        wire = self._wire
        try:
            if wire is None:
                self._dial()
                return []
            frames = wire.pump(FOREVER)
        except BrokerRefused as error:
            if not self._served:
                raise
            self._lose(error)
            return []
        except ConnectionLost as error:
            self._lose(error)
            return []
        requests = []
        for frame in frames or ():
            if frame.command == "MESSAGE":
                requests.append(_Request(wire, frame, self._methods.read(frame.body)))
            elif frame.command == "RECEIPT":
                self._subscribed()
            elif frame.command == "ERROR":
                if not self._served:
                    raise refusal(frame)
                # A reply to a queue that is gone, for one. If the link must end, the broker ends it.
                log.warning("The broker refused: %s", refusal(frame))
        return requests

    def _dial(self) -> None:
        wire = Wire(self._address, heart_beat=self._heart_beat, timeout=self._connect_timeout)
        wire.write(
            wire.link.subscribe(
                self._queue,
                "requests",
                "client-individual",
                prefetch=self._concurrency,
                receipt="subscribed",
            )
        )
        self._wire = wire
        if self._stopping.is_set():  # `run` may be gone already
            self._wire = None
            wire.close()

    def _subscribed(self) -> None:
        log.info("Serving %s at %s", self._queue, self._address)
        self._failures = 0
        if not self._served:
            self._served = True
            if self._on_ready is not None:
                self._on_ready()

    def _lose(self, error: ConnectionLost) -> None:
        """Give the connection up, and wait before the next try."""
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.close()
        if self._stopping.is_set():
            return
        self._failures += 1
        wait = backoff(self._failures, random.random())  # noqa: S311  # no secret
        log.warning("%s; trying again in %.1f s", error, wait)
        self._stopping.wait(wait)

    def _work(self, request: _Request, in_place: bool) -> float:
        """Run one request, send its reply, acknowledge it; return how long the function took."""
        frame, link = request.frame, request.wire.link
        body = None
        begun = monotonic()
        if not has_expired(frame.headers, time.time()):
            body = request.invocation.run()
        seconds = monotonic() - begun
        headers = reply_headers(frame.headers)
        data = b""
        if body is not None and headers is not None:
            data = link.send(headers, body, plain=frame.plain)
        ack = link.ack(frame)
        if self._stopping.is_set():
            # An acknowledgement makes the broker send the next request: not any more.
            self._held.append((request.wire, ack))
        else:
            data += ack
        request.wire.write(data, held=in_place)  # who leads will read, and then it leaves
        return seconds

    # The end

    def _finish(self, poll: select.poll) -> None:
        """Let the crew do what it has begun, then say goodbye; heart-beats go on meanwhile."""
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
                else:
                    wire.pump(monotonic() + WATCH)  # what comes now goes to another worker
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
        acks = [ack for origin, ack in self._held if origin is wire]
        wire.write(b"".join(acks) + wire.link.disconnect(receipt="goodbye"))
        until = monotonic() + FAREWELL
        while monotonic() < until:
            for frame in wire.pump(until) or ():
                if frame.command == "RECEIPT" and frame.headers.get("receipt-id") == "goodbye":
                    return

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Let SIGTERM and SIGINT stop us, once; then put back what was."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before: dict[int, Any] = {}

        def restore() -> None:
            while before:
                signal.signal(*before.popitem())

        def stop(number: int, frame: FrameType | None) -> None:
            restore()
            self.stop()

        for number in (signal.SIGTERM, signal.SIGINT):
            before[number] = signal.signal(number, stop)
        try:
            yield
        finally:
            restore()


def _kind(request: _Request) -> str:
    return request.invocation.name
