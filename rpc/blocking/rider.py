"""The calls of a client that rides on a stomp.py connection, which is the program's and stays it.

`Line`'s counterpart: it hands frames over and wakes threads; what a call is, and what becomes of it, is
`rpc.calling.caller`'s to know. It never connects and never disconnects.

Theory of operation. stomp.py reads in a thread of its own and calls every listener with every frame; ours
picks the replies, by the id of our subscription, and wakes whoever waits for them. That thread must not
wait for a reply itself, for it is the one that would bring it. Frames are sent by whoever calls, outside
`_mutex`: a send may block until that thread has read. stomp.py wants frames in pieces and escapes them
itself, so the bytes that `Caller` makes are taken apart again. What is due at a moment (deadlines, and
streams that were left to the garbage collector) is done by a keeper, a thread that mostly sleeps.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import uuid
import weakref
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any, Protocol, TypeAlias

from stomp import ConnectionListener
from stomp.exception import NotConnectedException

from broker.stomp import Frame, Limits, Parser
from rpc.blocking.carrier import Carrier
from rpc.blocking.future import CallFuture
from rpc.calling.caller import CALL, Caller, ClientStats
from rpc.calling.calls import C, Call, Kind
from rpc.calling.items import Items
from rpc.calling.options import VERSION, CallOptions, OnLoss
from rpc.codec import JSON
from rpc.errors import BrokerRefused, ConnectionLost
from rpc.link import CONNECT_TIMEOUT, refusal

FOREVER = float("inf")
LONG = 3600.0  # seconds
TICK = 0.01  # seconds by which a deadline may be missed
#: What the keeper is to do besides: drop a call that was deserted, say so, or look at the deadlines.
Errand: TypeAlias = Call | bytes | None
#: What stomp.py writes as it is, by version: it would end the line, and begin another header.
UNESCAPED = {"1.0": "\r\n", "1.1": "\r"}


class Received(Protocol):
    """A frame as stomp.py hands it over."""

    headers: dict[str, str]
    body: Any  # text, or bytes if the connection does not decode; None: there is none


class Connection(Protocol):
    """What is used of a stomp.py connection, whatever its version."""

    version: str
    transport: Any

    def set_listener(self, name: str, listener: Any) -> object:
        """Let a listener hear all frames."""

    def remove_listener(self, name: str) -> object:
        """Let it hear no more."""

    def is_connected(self) -> bool:
        """Tell whether CONNECTED has come."""

    def send(self, destination: str, body: bytes, *, headers: dict[str, str]) -> object:
        """Send SEND."""

    def subscribe(self, destination: str, *, id: str, ack: str, receipt: str) -> object:
        """Send SUBSCRIBE."""

    def unsubscribe(self, *, id: str) -> object:
        """Send UNSUBSCRIBE."""


class Rider(Carrier):
    """The calls of one client on a connection of the program's, however often that is made anew."""

    def __init__(self, connection: Connection, service: str, *, durable: bool) -> None:
        unique = uuid.uuid4().hex
        self.caller = Caller(service, unique, durable=durable)
        self.closed = False
        self._connection = connection
        self._name = f"rpc-{unique}"  # ids of our subscriptions begin with it
        # stomp.py calls listeners in the order of their names, and others may dwell on a loss.
        self._ear = f"!{self._name}"
        self._call_ids = f"{unique[:8]}-"
        self._process = os.getpid()
        self._mutex = threading.Lock()
        self._parser = Parser(Limits(body=1 << 62))
        self._parser.version = VERSION
        self._boarding = threading.Lock()  # held by the one thread that subscribes
        self._socket: object = None  # of the connection that we know of
        self._aboard = False  # the connection stands, and we are subscribed
        self._refusal: BrokerRefused | None = None  # why we are not
        self._connections = 0
        self._subscription = ""
        self._confirmed = threading.Event()  # what became of SUBSCRIBE is known
        self._decodes = False  # stomp.py makes text of bodies
        self._parked: dict[Call, list[threading.Lock]] = {}  # who waits: released, a thread wakes
        self._futures: dict[Call, CallFuture] = {}  # under way
        self._errands: SimpleQueue[Errand] = SimpleQueue()  # the keeper's; finalizers may put
        self._keeper: threading.Thread | None = None
        self._wakes = FOREVER  # when the keeper will look at the deadlines
        connection.set_listener(self._ear, _Ear(self))
        with contextlib.suppress(ConnectionLost):  # a call will be told
            self.board()

    # rpc.blocking.carrier.Carrier

    def begin(self, method: str, params: bytes, options: CallOptions, kind: Kind[C]) -> C:
        """Begin a call and send it.

        Raises `ConnectionLost` while the program is not connected, and `ValueError` for a call that
        cannot be expressed over this connection.
        """
        self._check()
        if not self._aboard:
            self.board()
        if options.coder is not JSON:
            self._need_bytes()
        with self._mutex:
            if not self._aboard:
                raise self._absence()
            call = self.caller.open(method, params, options, monotonic(), time.time(), kind)
            self._watch(call.deadline)
        try:
            self._send(call.data)
        except ValueError:
            self._forget(call)
            raise
        except Exception as error:
            sent = not isinstance(error, NotConnectedException)
            if not sent or call.on_loss is OnLoss.FAIL:
                self._forget(call)
                raise _lost(error, sent=sent) from error
        return call

    def submit(self, method: str, params: bytes, options: CallOptions) -> CallFuture:
        """Begin a call whose end somebody may be told of."""
        call = self.begin(method, params, options, CALL)
        future = CallFuture(self, call)
        with self._mutex:
            over = (
                call.done
            )  # the reply was faster than we; else whoever ends the call settles its future
            if not over:
                self._futures[call] = future
        if over:
            future.settle()
        return future

    def next_item(self, items: Items) -> Any:
        """Wait for the next item of a stream and return it, or `END`. Raises how the stream failed."""
        with self._mutex:
            items.expect(monotonic())
            self._watch(items.deadline)
        if not items.done:
            self.wait_for(items, FOREVER)
        with self._mutex:
            item = items.next()
            more = self.caller.renew(items)
        self._say(more)
        return item

    def give_up(self, call: Call) -> None:
        """Drop a call that nobody waits for: its worker is told, its reply will be late."""
        self._say(self._forget(call))

    def desert(self, call: Call) -> None:
        """Drop a call from a finalizer, which may be run in the middle of anything, of our own locks too."""
        if not self._mutex.acquire(blocking=False):
            self._errands.put(call)  # perhaps it is this thread that has it
            return
        try:
            told = self._drop(call)
        finally:
            self._mutex.release()
        if told:
            self._errands.put(told)

    def connected(self, until: float) -> None:
        """Return once the broker has confirmed that replies reach us.

        Raises `ConnectionLost` if the program is not connected, `BrokerRefused` if the broker refuses.
        """
        self._check()
        self.board()
        if self._aboard and not self._confirmed.is_set():
            self._must_not_read("the broker's confirmation")
            until = min(until, monotonic() + CONNECT_TIMEOUT)
            if not self._confirmed.wait(max(0.0, until - monotonic())):
                raise ConnectionLost("The broker did not confirm SUBSCRIBE", sent=False)
        if not self._aboard:
            raise self._absence()

    def stats(self) -> ClientStats:
        """Return the counters as they are now."""
        with self._mutex:
            return self.caller.stats(self._connections)

    def close(self) -> None:
        """Unsubscribe and listen no longer, and end all calls. The connection stays."""
        with self._mutex:
            if self.closed:
                return
            self.closed = True
            was_aboard = self._aboard
        if os.getpid() == self._process:
            if was_aboard:
                with contextlib.suppress(Exception):  # whatever a socket that is gone makes of it
                    self._connection.unsubscribe(id=self._subscription)
            with contextlib.suppress(KeyError):
                self._connection.remove_listener(self._ear)
        self._lose(ConnectionLost("The client was closed", sent=True))
        self._errands.put(None)

    # rpc.blocking.future.Waiter

    def wait_for(self, call: Call, until: float) -> None:
        """Wait until the call is done, or until a moment. Raises `RuntimeError` in stomp.py's own thread."""
        parked = threading.Lock()
        with self._mutex:
            if call.done:
                return
            self._must_not_read("a reply")
            parked.acquire()
            self._parked.setdefault(call, []).append(parked)
        try:
            parked.acquire(timeout=-1.0 if until == FOREVER else max(0.0, until - monotonic()))
        finally:
            with self._mutex:
                waiting = self._parked.get(call, [])
                if parked in waiting:
                    waiting.remove(parked)
                    if not waiting:
                        del self._parked[call]

    def attend(self) -> None:
        """Somebody will be called back: by stomp.py's thread, which reads anyway."""

    # What stomp.py's thread tells.

    def board(self) -> None:
        """Subscribe, and send what outlived the last connection, if the program has made a new one.

        It is called by stomp.py's thread, and by who finds that there is one before that thread says so.
        """
        wire = self._connection.transport.socket
        known = wire is self._socket and (self._aboard or self._refusal is not None)
        if known or self.closed or not self._connection.is_connected():
            return
        self._lose(_lost(), found=wire)  # its end may be told behind the beginning of this one
        with self._boarding:
            if self.closed or wire is self._socket:  # another thread was faster: it is done
                return
            self._socket = wire
            self._refusal = None
            self._confirmed.clear()
            self._connections = number = self._connections + 1
            self._subscription = receipt = f"{self._name}-{number}"
            try:
                self._connection.subscribe(
                    self.caller.replies, id=self._subscription, ack="auto", receipt=receipt
                )
            except Exception as error:
                raise _lost(error, sent=False) from error
            with self._mutex:
                self._aboard = not self.closed and self._refusal is None
                calls = self.caller.calls.to_send() if self._aboard else []
        self.part()  # that may have been told meanwhile
        if calls:  # not from here: it may block until what has come was read
            threading.Thread(
                target=self._send_again, args=(calls, number), name="rpc-resend", daemon=True
            ).start()

    def hear(self, command: str, received: Received) -> None:
        """Take a frame, if it is for us."""
        headers, body = received.headers, received.body
        if command == "MESSAGE":
            if not headers.get("subscription", "").startswith(self._name):
                return
        elif headers.get("receipt-id") == self._subscription:
            self._decodes = isinstance(body, str)
            if command == "RECEIPT":
                self._confirmed.set()
            else:
                self._refuse(refusal(_frame(command, received)))
            return
        elif not headers.get("receipt-id", "").startswith(self._call_ids):
            return
        with self._mutex:
            done = self.caller.take([_frame(command, received)])
            told = self._end(done)
        _settle(told)

    def part(self) -> None:
        """The connection is lost, unless there is another already."""
        if not self._connection.is_connected():
            self._lose(_lost())

    def _refuse(self, error: BrokerRefused) -> None:
        self._refusal = error
        self._confirmed.set()
        self._lose(error)

    def _lose(self, error: ConnectionLost, *, found: object = None) -> None:
        """End the calls that do not outlive the connection, unless it is the one that was found."""
        with self._mutex:
            if not (self._aboard or self.closed) or (found is not None and found is self._socket):
                return
            self._aboard = False
            calls = self.caller.calls
            told = self._end(calls.interrupt(error, _has_left, not self.closed))
        self._confirmed.set()
        _settle(told)

    def _send_again(self, calls: list[Call], connection: int) -> None:
        for call in calls:
            if self._connections != connection or not self._aboard:
                return
            if not call.done:
                self._say(call.data)

    # Frames.

    def _send(self, data: bytes) -> None:
        """Send a SEND. Raises `ValueError` for what stomp.py would garble, and whatever it raises."""
        with self._mutex:
            [frame] = self._parser.feed(data)
        headers = dict(frame.headers)
        wrong = UNESCAPED.get(self._connection.version, "")
        for name, value in headers.items():
            if set(name) & set(":\r\n\\") or set(value) & set(wrong):
                raise ValueError(f"The header {name!r} cannot be sent with stomp.py's connection")
        self._connection.send(headers.pop("destination"), frame.body, headers=headers)

    def _say(self, data: bytes) -> None:
        """Send what needs no answer, if there is a connection."""
        if data and self._aboard:
            with contextlib.suppress(Exception):  # its loss will be told
                self._send(data)

    def _need_bytes(self) -> None:
        """Refuse what a connection that makes text of bodies cannot carry."""
        self.connected(FOREVER)
        if self._decodes:
            raise ValueError("MessagePack is no text: make the connection with auto_decode=False")

    # Who waits, and where.

    def _check(self) -> None:
        if os.getpid() != self._process:
            raise ConnectionLost("The connection belongs to the process that forked", sent=False)

    def _absence(self) -> ConnectionLost:
        if self.closed:
            return ConnectionLost("The client is closed", sent=False)
        if self._refusal is not None:
            return BrokerRefused(self._refusal.reason, sent=False)
        return ConnectionLost("The stomp.py connection is not connected", sent=False)

    def _must_not_read(self, what: str) -> None:
        if threading.current_thread() is getattr(self._connection.transport, "io_thread", None):
            raise RuntimeError(
                f"stomp.py's own thread cannot wait for {what}: it is the one that would bring it. "
                "Use submit and add_done_callback in a listener"
            )

    def _forget(self, call: Call) -> bytes:
        """Drop a call; return what is to be said about it."""
        with self._mutex:
            return self._drop(call)

    def _drop(self, call: Call) -> bytes:
        """The same with the mutex held."""
        self._futures.pop(call, None)
        self._wake(call)
        return self.caller.give_up(call)

    def _end(self, calls: list[Call]) -> list[CallFuture]:
        """Wake who waits for calls that are done; return their futures, to be told without the mutex."""
        for call in calls:
            self._wake(call)
        return [self._futures.pop(call) for call in calls if call in self._futures]

    def _wake(self, call: Call) -> None:
        for parked in self._parked.pop(call, ()):
            parked.release()

    # The keeper.

    def _watch(self, deadline: float | None) -> None:
        """See that the keeper looks at the deadlines by a moment. With the mutex held."""
        if deadline is None:
            deadline = monotonic() + LONG  # there are errands besides
        if deadline >= self._wakes:
            return
        self._wakes = deadline
        self._errands.put(None)
        if self._keeper is None:
            errands = self._errands
            self._keeper = threading.Thread(
                target=_keep,
                args=(weakref.ref(self, lambda gone: errands.put(None)), errands),
                name="rpc-keeper",
                daemon=True,
            )
            self._keeper.start()

    def tend(self, errand: Errand) -> float:
        """Do an errand, and end the calls whose time is over; return seconds to the next deadline."""
        if isinstance(errand, Call):
            self.give_up(errand)
        elif errand is not None:
            self._say(errand)
        with self._mutex:
            now = monotonic()
            told = self._end(self.caller.calls.expire(now))
            deadline = self.caller.calls.next_deadline()
            wait = LONG if deadline is None else min(LONG, max(TICK, deadline - now))
            self._wakes = now + wait
        _settle(told)
        return wait


class _Ear(ConnectionListener):  # type: ignore[misc]
    """What stomp.py tells of what happens, in its own thread."""

    def __init__(self, rider: Rider) -> None:
        self._rider = rider

    def on_connected(self, frame: Received) -> None:
        with contextlib.suppress(ConnectionLost):  # then its end is told as well
            self._rider.board()

    def on_message(self, frame: Received) -> None:
        self._rider.hear("MESSAGE", frame)

    def on_receipt(self, frame: Received) -> None:
        self._rider.hear("RECEIPT", frame)

    def on_error(self, frame: Received) -> None:
        self._rider.hear("ERROR", frame)

    def on_receiver_loop_completed(self, frame: Received | None) -> None:
        self._rider.part()  # comes first, if it was the broker who hung up

    def on_disconnected(self) -> None:
        self._rider.part()


def _frame(command: str, received: Received) -> Frame:
    body = received.body or b""
    return Frame(command, received.headers, body.encode() if isinstance(body, str) else body)


def _has_left(place: int) -> bool:
    """Whatever was handed to stomp.py may have left; a call is handed over as soon as it is begun."""
    return True


def _lost(error: Exception | None = None, *, sent: bool = True) -> ConnectionLost:
    why = f": {error}" if error is not None and str(error) else ""
    return ConnectionLost(f"The stomp.py connection is lost{why}", sent=sent)


def _settle(futures: list[CallFuture]) -> None:
    for future in futures:
        future.settle()


def _keep(reference: weakref.ref[Rider], errands: SimpleQueue[Errand]) -> None:
    """Tend a rider until it is closed, or forgotten: the life of the keeper."""
    wait = 0.0
    while True:
        try:
            errand = errands.get(timeout=wait)
        except Empty:
            errand = None
        rider = reference()
        if rider is None or rider.closed:
            return
        wait = rider.tend(errand)
        del rider, errand
