"""The blocking face of remote calls: `Client` and `Worker`, for programs with threads or without.

    client = rpc.Client("stomp://127.0.0.1:61613", service="demo")
    client.call("whee", "Hello", timeout=5)

    worker = rpc.Worker("stomp://127.0.0.1:61613", service="demo")
    @worker.method
    def whee(argument):
        return {"Whee": 123}
    worker.run()

Theory of operation. Waking another thread costs more than writing and reading a call, so the thread
that needs something from the socket fetches it itself. In the client the first thread that waits for a
reply *leads*: it reads, and gives every reply to the call it belongs to; when its own has come it leaves
the lead to another that waits. Nobody waits: nobody reads, except for a look at each heart-beat. In the
worker the same is done by a `Crew`.

Only this file's locks: `Client._mutex` guards the table of calls and the lead, is held for moments, and
never while waiting; `Client._dialling` is held by the one thread that connects.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import select
import signal
import threading
import time
import uuid
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import monotonic
from types import FrameType, TracebackType
from typing import Any, Self, TypeVar, overload

from broker.stomp import Frame
from rpc.address import parse_address
from rpc.backoff import backoff
from rpc.calls import Call, Calls
from rpc.crew import WATCH, Crew
from rpc.errors import BrokerRefused, ConnectionLost, Timeout
from rpc.link import refusal
from rpc.message import (
    call_body,
    encode,
    has_expired,
    read_reply,
    reply_headers,
    reply_queue,
    request_headers,
    request_queue,
)
from rpc.methods import Invocation, Methods
from rpc.stream import Bell
from rpc.wire import Wire

Function = TypeVar("Function", bound=Callable[..., Any])

log = logging.getLogger("rpc")

TIMEOUT = 30.0  # seconds a call waits for its reply; a call that waits for ever is a bug that hides
HEART_BEAT = 10.0  # seconds: a dead broker is noticed within twice that
CONNECT_TIMEOUT = 10.0  # seconds for TCP and CONNECT together
FAREWELL = 5.0  # seconds a worker waits for the broker to confirm its last acknowledgements
FRESH = 0.1  # seconds since bytes last came, within which nobody looks whether the link still lives
FOREVER = float("inf")


@dataclass(frozen=True, slots=True)
class ClientStats:
    """A client's counters at one moment."""

    calls: int  # calls ever begun
    pending: int  # calls waiting for a reply
    late: int  # replies that came when nobody waited for them any more
    connections: int  # connections made


class Client:
    """Calls the functions of one service. Any number of threads may use one client at once.

    It connects at the first call, and again at the first call after the connection was lost. One
    connection and one reply queue serve all calls. A forked process gets a connection of its own.
    """

    def __init__(
        self,
        url: str,
        service: str,
        *,
        durable: bool = True,
        heart_beat: float = HEART_BEAT,
        connect_timeout: float = CONNECT_TIMEOUT,
    ) -> None:
        """`url`: `stomp://[login:passcode@]host[:61613][/vhost]`; `service`: what the worker is named.

        `durable`: requests and replies are kept on the broker's disk until they were consumed, so a
        call outlives a broker that restarts; without, they are kept in memory only. `heart_beat`:
        seconds, 0 for none. Raises `ValueError` for a URL or name that makes no sense.
        """
        self._address = parse_address(url)
        self._request_queue = request_queue(service)
        self._durable = durable
        self._heart_beat = heart_beat
        self._connect_timeout = connect_timeout
        self._connections = 0
        self._begin_anew()
        _clients.add(self)

    def _begin_anew(self) -> None:
        """Set up all that two processes must not share."""
        unique = uuid.uuid4().hex
        self._reply_queue = reply_queue(unique)
        self._headers = request_headers(
            self._request_queue, self._reply_queue, durable=self._durable
        )
        self._closed = threading.Event()
        self._mutex = threading.Lock()
        self._dialling = threading.Lock()
        self._calls = Calls(unique[:8])
        self._wire: Wire | None = None
        self._led = False  # a thread is reading
        self._keeper: threading.Thread | None = None  # keeps heart-beats while nobody calls

    def _after_fork(self) -> None:
        """Leave the connection to the parent; the next call makes one of this process's own."""
        wire, closed = self._wire, self._closed.is_set()
        self._begin_anew()
        if wire is not None:
            wire.stream.disown()
        if closed:
            self._closed.set()

    def call(
        self, method: str, /, *args: Any, timeout: float | None = TIMEOUT, **kwargs: Any
    ) -> Any:
        """Call a remote function and return its result.

        Arguments go by position or by name, not both: that is how JSON-RPC 2.0 has it. `timeout` is
        in seconds; None waits for ever. Raises `Timeout`, `ConnectionLost` (`sent` tells whether the
        function may have run), `MethodNotFound`, `InvalidParams`, `RemoteError`; before anything was
        sent `TypeError` or `ValueError` for arguments that JSON cannot express.
        """
        if args and kwargs:
            raise TypeError("JSON-RPC takes arguments by position or by name, not both in one call")
        params = encode(kwargs or args)
        deadline, headers = None, self._headers.copy()
        if timeout is not None:
            if timeout <= 0:
                raise ValueError(f"A timeout is a positive number of seconds, not {timeout}")
            deadline = monotonic() + timeout
            headers["expires"] = str(int((time.time() + timeout) * 1000))
        wire, call = self._begin(deadline)
        try:
            headers["correlation-id"] = call.call_id
            body = call_body(call.call_id, method, params)
            place = wire.write(wire.link.send(headers, body, plain=True))
            if not call.done:
                self._wait(wire, call)
        except BaseException:  # Ctrl-C, for one: the reply will be late
            with self._mutex:
                self._calls.forget(call)
            raise
        if call.lost is not None:  # shared by all calls on the connection, so each raises its own
            lost = type(call.lost)(call.lost.reason, sent=wire.has_left(place))
            raise lost from call.lost.__cause__
        if call.overdue:
            raise Timeout(f"No reply to {method!r} within {timeout} s")
        return read_reply(call.reply)

    def connect(self) -> None:
        """Connect now instead of at the first call. Raises `ConnectionLost` or `BrokerRefused`."""
        self._connected(None)

    def stats(self) -> ClientStats:
        """Return the counters as they are now."""
        with self._mutex:
            calls = self._calls
            return ClientStats(calls.opened, len(calls), calls.late, self._connections)

    def close(self) -> None:
        """Disconnect. Pending calls of other threads, and later ones, end with `ConnectionLost`."""
        with self._mutex:
            self._closed.set()
            wire = self._wire
        if wire is not None:
            wire.write(wire.link.disconnect())
            self._lose(wire, ConnectionLost("The client was closed", sent=True))
        keeper = self._keeper
        if keeper is not None and keeper is not threading.current_thread():
            keeper.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # One call: a connection, then the reply

    def _begin(self, deadline: float | None) -> tuple[Wire, Call]:
        """Open a call on a connection that is alive as far as anybody knows."""
        while True:
            wire = self._wire
            if wire is None or (wire.idle_for() > FRESH and not self._alive(wire)):
                wire = self._connected(deadline)
            with self._mutex:
                if self._wire is wire:
                    return wire, self._calls.open(deadline)

    def _alive(self, wire: Wire) -> bool:
        """Look whether a connection that was quiet still stands, so that no call is wasted on it."""
        self._look(wire)
        return self._wire is wire

    def _connected(self, deadline: float | None) -> Wire:
        """Return the connection, and make one first if there is none."""
        patience = self._connect_timeout
        if deadline is not None:
            patience = min(patience, max(0.001, deadline - monotonic()))
        until = monotonic() + patience
        if not self._dialling.acquire(timeout=patience):
            raise ConnectionLost("Another thread is still trying to connect", sent=False)
        try:
            if self._closed.is_set():
                raise ConnectionLost("The client is closed", sent=False)
            if self._wire is not None:
                return self._wire
            wire = Wire(
                self._address,
                heart_beat=self._heart_beat,
                timeout=max(0.001, until - monotonic()),
            )
            wire.write(wire.link.subscribe(self._reply_queue, "replies", "auto"))
            with self._mutex:
                if not self._closed.is_set():
                    self._wire = wire
                    self._led = False
                    self._connections += 1
                    self._keep(wire)
                    return wire
            wire.close()
            raise ConnectionLost("The client is closed", sent=False)
        finally:
            self._dialling.release()

    def _wait(self, wire: Wire, call: Call) -> None:
        """Return when the call is done: lead, or wait for whoever leads to say so."""
        with self._mutex:
            leads = not self._led and not call.done
            if leads:
                self._led = True
        if leads:
            self._lead(wire, call)
        else:
            self._follow(wire, call)

    def _follow(self, wire: Wire, call: Call) -> None:
        parked = threading.Lock()
        parked.acquire()
        while True:
            with self._mutex:
                if call.done:
                    return
                leads = not self._led
                if leads:
                    self._led = True
                else:
                    call.wake = parked.release
            if leads:
                self._lead(wire, call)
                return
            if call.deadline is None:
                parked.acquire()
            elif not parked.acquire(timeout=max(0.0, call.deadline - monotonic())):
                self._expire()

    def _lead(self, wire: Wire, call: Call) -> None:
        """Read until the call is done, then leave the lead to another that waits."""
        deadline = FOREVER if call.deadline is None else call.deadline
        try:
            while not call.done:
                if frames := wire.pump(deadline):
                    self._deliver(frames)
                if not call.done and monotonic() >= deadline:
                    self._expire()
        except ConnectionLost as error:
            self._lose(wire, error)
        finally:
            self._leave_lead(wire)

    def _leave_lead(self, wire: Wire) -> None:
        with self._mutex:
            if self._wire is wire:
                self._led = False
                self._name_leader()

    def _name_leader(self) -> None:
        """Wake one call that waits, so that it leads. With the mutex held and the lead free."""
        for waiting in self._calls:
            if waiting.wake is not None:
                wake, waiting.wake = waiting.wake, None
                wake()
                return

    def _deliver(self, frames: list[Frame]) -> None:
        """Give replies to their calls.

        Raises `BrokerRefused` for an ERROR. It does not tell which call it is about, and none of them
        may hang, so it ends the connection even if the broker would go on.
        """
        with self._mutex:
            for frame in frames:
                if frame.command == "MESSAGE":
                    call = self._calls.answer(frame.headers.get("correlation-id", ""), frame.body)
                    if call is not None and call.wake is not None:
                        call.wake()
        for frame in frames:
            if frame.command == "ERROR":
                raise refusal(frame)

    def _expire(self) -> None:
        """End the calls whose time is over."""
        with self._mutex:
            self._tell(self._calls.expire(monotonic()))
            if not self._led:  # the lead may have been offered to one of them
                self._name_leader()

    def _lose(self, wire: Wire, error: ConnectionLost) -> None:
        """Give a connection up and end the calls on it."""
        with self._mutex:
            if self._wire is wire:
                self._wire = None
                self._tell(self._calls.abandon(error))
        wire.close()

    def _tell(self, calls: list[Call]) -> None:
        for call in calls:
            if call.wake is not None:
                call.wake()

    # Heart-beats while nobody calls

    def _look(self, wire: Wire) -> None:
        """Take in what has arrived, and keep the heart-beats, unless somebody is reading anyway."""
        with self._mutex:
            if self._led or self._wire is not wire:
                return
            self._led = True
        try:
            while (frames := wire.pump(0.0)) is not None:
                self._deliver(frames)
        except ConnectionLost as error:
            self._lose(wire, error)
        finally:
            self._leave_lead(wire)

    def _keep(self, wire: Wire) -> None:
        """See that a keeper runs if there are heart-beats to keep. With the mutex held."""
        if wire.next_check < FOREVER and self._keeper is None:
            self._keeper = threading.Thread(
                target=_keep_alive,
                args=(weakref.ref(self), self._closed),
                name="rpc-heart-beats",
                daemon=True,
            )
            self._keeper.start()

    def _tend(self) -> float:
        """Look at the connection; return in how many seconds to look again."""
        wire = self._wire
        if wire is None:
            return self._heart_beat
        self._look(wire)
        return min(self._heart_beat, max(0.01, wire.next_check - monotonic()))


def _keep_alive(reference: weakref.ref[Client], closed: threading.Event) -> None:
    """Tend a client until it is closed, or forgotten: the life of the keeper."""
    wait = 0.0
    while not closed.wait(wait):
        client = reference()
        if client is None:
            return
        wait = client._tend()
        del client


_clients: weakref.WeakSet[Client] = weakref.WeakSet()


def _after_fork() -> None:
    for client in list(_clients):
        client._after_fork()


os.register_at_fork(after_in_child=_after_fork)


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
        heart_beat: float = HEART_BEAT,
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

    def _work(self, request: _Request) -> float:
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
        request.wire.write(data)
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
