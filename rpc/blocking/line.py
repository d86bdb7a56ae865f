"""One connection for the calls of many threads: who reads from it, who waits, who connects again.

It moves bytes and wakes threads; what a call is, and what becomes of it, is `rpc.calling.caller`'s to know, and what
users call is `client`'s.

Theory of operation. Waking another thread costs more than writing and reading a call, so the thread
that needs something from the socket fetches it itself: the first thread that waits for a reply *leads*.
It reads, gives every reply to the call it belongs to, and connects again if the connection is lost; when
its own reply has come it leaves the lead to another that waits. Nobody waits: nobody reads, except for a
look at each heart-beat, and while futures are under way that somebody else will be told of.

`_mutex` guards the table of calls and the lead, is held for moments, and never while waiting; `_dialling`
is held by the one thread that connects.
"""

from __future__ import annotations

import contextlib
import os
import random
import threading
import time
import uuid
import weakref
from collections import deque
from time import monotonic
from typing import Any

from broker.stomp import Frame
from rpc.address import Address
from rpc.backoff import backoff
from rpc.blocking.carrier import Carrier
from rpc.blocking.future import CallFuture
from rpc.blocking.wire import Wire
from rpc.calling.caller import CALL, Caller, ClientStats
from rpc.calling.calls import C, Call, Kind
from rpc.calling.items import Items
from rpc.calling.options import CallOptions
from rpc.errors import ConnectionLost

FRESH = 0.1  # seconds since bytes last came, within which nobody looks whether the link still lives
GRACE = 0.003  # seconds after which futures that nobody reads for are read for
UNREAD = 0.02  # seconds after which they are read for although more are being submitted
LINGER = 1.0  # seconds after the last future in which the keeper need not be called
LONG = 3600.0  # seconds
FOREVER = float("inf")
LOOK = Call("", None)  # what who only looks leads for: it is never done


class Line(Carrier):
    """The connection of one client, the calls on it, and who reads."""

    def __init__(
        self,
        address: Address,
        service: str,
        *,
        durable: bool,
        heart_beat: float,
        connect_timeout: float,
    ) -> None:
        self._address = address
        self._service = service
        self._durable = durable
        self._heart_beat = heart_beat
        self._connect_timeout = connect_timeout
        self._begin_anew()
        _lines.add(self)

    def _begin_anew(self) -> None:
        """Set up all that two processes must not share."""
        self._connections = 0
        self.caller = Caller(self._service, uuid.uuid4().hex, durable=self._durable)
        self._closed = threading.Event()
        self._mutex = threading.Lock()
        self._dialling = threading.Lock()
        self._wire: Wire | None = None
        self._leader: Call | None = None  # whose waiter is reading
        self._taken = 0  # how often something was read
        self._parked: dict[Call, list[threading.Lock]] = {}  # who waits: released, a thread wakes
        self._offered: Call | None = None  # whose waiters were last woken so that one of them leads
        self._futures: dict[Call, CallFuture] = {}  # under way
        self._deserted: deque[Call] = deque()  # to be dropped when somebody is here
        self._keeper: threading.Thread | None = None  # keeps heart-beats, and reads for futures
        self._called = threading.Event()  # there are futures that the keeper may have to read for
        self._urgent = False  # somebody will be called back
        self._idle = 0  # how often in a row the keeper found no futures
        self._unread = 0  # and how often that nothing had been read

    def after_fork(self) -> None:
        """Leave the connection to the parent; the next call makes one of this process's own."""
        wire, closed = self._wire, self._closed.is_set()
        self._begin_anew()
        if wire is not None:
            wire.stream.disown()
        if closed:
            self._closed.set()

    def begin(
        self,
        method: str,
        params: bytes,
        options: CallOptions,
        kind: Kind[C],
        *,
        held: bool = False,
    ) -> C:
        """Begin a call on a connection that is alive as far as anybody knows, and send it.

        `held`: not before somebody reads, or something else is sent.
        """
        if self._deserted:
            self._tidy_up()
        while True:
            wire = self._wire
            if wire is None or (wire.idle_for() > FRESH and not self._is_alive(wire)):
                timeout = options.timeout
                wire = self.connected(FOREVER if timeout is None else monotonic() + timeout)
            with self._mutex:
                if self._wire is wire:
                    call = self.caller.open(method, params, options, monotonic(), time.time(), kind)
                    call.place = wire.write(call.data, held=held)
                    return call

    def submit(self, method: str, params: bytes, options: CallOptions) -> CallFuture:
        """Begin a call whose end somebody may be told of."""
        # With others under way: whoever waits for one of them, or the keeper, will soon read.
        call = self.begin(method, params, options, CALL, held=bool(self._futures))
        future = CallFuture(self, call)
        with self._mutex:
            over = call.done  # by another thread; else whoever ends it settles its future
            if not over:
                self._futures[call] = future
        if over:
            future.settle()
        elif not self._called.is_set():
            self._call_keeper()
        return future

    def next_item(self, items: Items) -> Any:
        """Wait for the next item of a stream and return it, or `END`. Raises how the stream failed."""
        with self._mutex:
            items.expect(monotonic())
        if not items.done:
            self.wait_for(items, FOREVER)
        with self._mutex:
            item = items.next()
            more, wire = self.caller.renew(items), self._wire
        if more and wire is not None:
            wire.write(more)
        return item

    def attend(self) -> None:
        """Let the keeper read: somebody will be called back."""
        self._urgent = True
        self._call_keeper()

    def give_up(self, call: Call) -> None:
        """Drop a call that nobody waits for: its worker is told, its reply will be late."""
        with self._mutex:
            told = self.caller.give_up(call)
            self._futures.pop(call, None)
            self._wake(call)
            wire = self._wire
        if self._offered is call:
            self._decline(call)
        if wire is not None:
            if told:
                wire.write(told)
            wire.wake()  # somebody may be reading for it

    def desert(self, call: Call) -> None:
        """Drop a call from a finalizer, which may be run in the middle of anything, of our own locks too."""
        wire = self._wire
        free = self._mutex.acquire(blocking=False)  # then it is not this thread that has it
        if free:
            self._mutex.release()
        if free and (wire is None or wire.stream.is_free()):
            self.give_up(call)
        else:
            self._deserted.append(call)

    def _tidy_up(self) -> None:
        while self._deserted:
            with contextlib.suppress(IndexError):  # another thread was faster
                self.give_up(self._deserted.popleft())

    def stats(self) -> ClientStats:
        """Return the counters as they are now."""
        with self._mutex:
            return self.caller.stats(self._connections)

    def close(self) -> None:
        """Disconnect, and end all calls."""
        with self._mutex:
            self._closed.set()
            wire = self._wire
        if wire is not None:
            wire.write(wire.link.disconnect())
        self._lose(wire, ConnectionLost("The client was closed", sent=True))
        self._called.set()
        keeper = self._keeper
        if keeper is not None and keeper is not threading.current_thread():
            keeper.join()

    # A connection.

    def connected(self, until: float) -> Wire:
        """Return the connection, and make one before that moment if there is none.

        Raises `ConnectionLost`. Calls that outlived the last connection are sent over the new one.
        """
        until = min(until, monotonic() + self._connect_timeout)
        if not self._dialling.acquire(timeout=max(0.001, until - monotonic())):
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
            wire.write(self.caller.greeting(wire.link))
            with self._mutex:
                closed = self._closed.is_set()
                if not closed:
                    self._wire = wire
                    self._connections += 1
                    for call in self.caller.calls.to_send():
                        call.place = wire.write(call.data)
        finally:
            self._dialling.release()
        if closed:
            wire.close()
            raise ConnectionLost("The client is closed", sent=False)
        if wire.next_check < FOREVER:
            self._start_keeper()
        return wire

    def _is_alive(self, wire: Wire) -> bool:
        """Look whether a connection that was quiet still stands, so that no call is wasted on it."""
        self._look(wire)
        return self._wire is wire

    def _lose(self, wire: Wire | None, error: ConnectionLost) -> None:
        """Give a connection up, and end the calls that do not outlive it."""
        if wire is not None:
            wire.close()
        with self._mutex:
            if self._wire is not wire:
                return
            self._wire = None
            has_left = (lambda place: False) if wire is None else wire.has_left
            keeps = not self._closed.is_set()
            told = self._end(self.caller.calls.interrupt(error, has_left, keeps))
        _settle(told)

    # Waiting for a call.

    def wait_for(self, call: Call, until: float) -> None:
        """Wait until the call is done, or until a moment: lead, or be woken by whoever leads."""
        try:
            while not call.done and monotonic() < until:
                parked = self._park(call)
                if parked is None:
                    self._lead(call, until)
                else:
                    self._follow(call, parked, until)
        finally:
            if self._offered is call:
                self._decline(call)

    def _park(self, call: Call) -> threading.Lock | None:
        """Take the lead, or return a lock that is released when there is something to do."""
        with self._mutex:
            parked = None
            if self._leader is None and not call.done:
                self._leader = call
                self._offered = None
            else:
                parked = threading.Lock()
                if not call.done:
                    parked.acquire()
                    self._parked.setdefault(call, []).append(parked)
        return parked

    def _follow(self, call: Call, parked: threading.Lock, until: float) -> None:
        """Wait to be woken, but not beyond the call's deadline."""
        deadline, woken = _first(call.deadline, until), False
        try:
            wait = -1.0 if deadline == FOREVER else max(0.0, deadline - monotonic())
            woken = parked.acquire(timeout=wait)
        finally:  # Ctrl-C, for one
            if not woken:
                self._unpark(call, parked)
        if not woken:
            self._expire()

    def _unpark(self, call: Call, parked: threading.Lock) -> None:
        with self._mutex:
            waiting = self._parked.get(call, [])
            if parked in waiting:
                waiting.remove(parked)
                if not waiting:  # or it might be named leader, and nobody be there
                    del self._parked[call]

    def _lead(self, call: Call, until: float) -> None:
        """Read until the call is done, then leave the lead to another that waits."""
        deadline, failures = _first(call.deadline, until), 0
        try:
            while not call.done:
                wire = self._wire
                try:
                    if wire is None:
                        wire = self.connected(deadline)
                    if frames := wire.pump(deadline):
                        self._deliver(frames)
                        failures = 0
                except ConnectionLost as error:
                    if wire is not None:
                        self._lose(wire, error)
                    if not call.done:
                        failures += 1
                        self._rest(failures, deadline)
                if not call.done and monotonic() >= deadline:
                    self._expire()
                    return
        finally:
            if self._leader is call:  # else `_deliver` has left it
                self._leave_lead()

    def _rest(self, failures: int, deadline: float) -> None:
        """Wait before the next try to connect."""
        wait = backoff(failures, random.random())  # noqa: S311  # no secret
        self._closed.wait(max(0.0, min(wait, deadline - monotonic())))

    def _leave_lead(self) -> None:
        with self._mutex:
            self._name_leader()

    def _name_leader(self) -> None:
        """Leave the lead, and wake who waits for one call, so that one of them leads. With the mutex held."""
        self._leader = self._offered = None
        if self._parked:
            self._offered = next(iter(self._parked))
            self._wake(self._offered)

    def _decline(self, call: Call) -> None:
        """Offer the lead to others if it was offered to this call's waiters, who do not wait any more."""
        with self._mutex:
            if self._offered is call and self._leader is None:
                self._name_leader()

    def _wake(self, call: Call) -> None:
        for parked in self._parked.pop(call, ()):
            parked.release()

    def _deliver(self, frames: list[Frame]) -> None:
        """Give replies to their calls, and leave the lead if there is nothing more to lead for.

        Raises `BrokerRefused` for an ERROR that does not tell which call it is about: none of them may
        hang, so it ends the connection even if the broker would go on.
        """
        with self._mutex:
            refused = self.caller.refused(frames)
            self._taken += 1
            told = self._end(self.caller.take(frames))
            leader = self._leader
            if leader is not None and leader.done and refused is None:
                self._name_leader()
        if told:
            _settle(told)
        if refused is not None:
            raise refused

    def _expire(self) -> None:
        """End the calls whose time is over."""
        with self._mutex:
            told = self._end(self.caller.calls.expire(monotonic()))
        _settle(told)

    def _end(self, calls: list[Call]) -> list[CallFuture]:
        """Wake who waits for calls that are done; return their futures, to be told without the mutex."""
        if self._parked:
            for call in calls:
                self._wake(call)
        futures = self._futures
        return [futures.pop(call) for call in calls if call in futures] if futures else []

    # The keeper: heart-beats while nobody calls, and futures that nobody reads for.

    def _look(self, wire: Wire) -> None:
        """Take in what has arrived, and keep the heart-beats, unless somebody is reading anyway."""
        with self._mutex:
            if self._leader is not None or self._wire is not wire:
                return
            self._leader = LOOK
        try:
            while (frames := wire.pump(0.0)) is not None:
                self._deliver(frames)
        except ConnectionLost as error:
            self._lose(wire, error)
        finally:
            self._leave_lead()

    def _start_keeper(self) -> None:
        with self._mutex:
            if self._keeper is None and not self._closed.is_set():
                self._keeper = threading.Thread(
                    target=_keep,
                    args=(weakref.ref(self), self._called),
                    name="rpc-keeper",
                    daemon=True,
                )
                self._keeper.start()

    def _call_keeper(self) -> None:
        if self._keeper is None:
            self._start_keeper()
        self._called.set()

    def tend(self) -> float:
        """Do what the keeper is for; return in how many seconds to do it again, less if it is called."""
        self._tidy_up()
        if self._called.is_set():
            taken, opened = self._taken, self.caller.calls.opened
            if not self._urgent:
                self._closed.wait(GRACE)
            if self._futures:
                self._idle = 0
                self._unread = 0 if self._taken != taken else self._unread + 1
                busy = self._taken != taken or self.caller.calls.opened != opened
                if self._urgent or not busy or self._unread * GRACE > UNREAD:
                    self._read_for_futures()
                return 0.0
            self._idle += 1
            if self._idle * GRACE < LINGER:  # who submits one after the other need not call again
                return 0.0
            self._urgent = False
            self._called.clear()
            if self._futures:
                self._called.set()
                return 0.0
        wire = self._wire
        if wire is None:
            return self._heart_beat or LONG
        self._look(wire)
        return min(self._heart_beat or LONG, max(0.01, wire.next_check - monotonic()))

    def _read_for_futures(self) -> None:
        with self._mutex:
            call = next(iter(self._futures), None)
        if call is not None:
            self.wait_for(call, FOREVER)

    @property
    def closed(self) -> bool:
        """True once it was closed."""
        return self._closed.is_set()


def _keep(reference: weakref.ref[Line], called: threading.Event) -> None:
    """Tend a line until it is closed, or forgotten: the life of the keeper."""
    wait = 0.0
    while True:
        called.wait(wait)
        line = reference()
        if line is None or line.closed:
            return
        wait = line.tend()
        del line


def _settle(futures: list[CallFuture]) -> None:
    for future in futures:
        future.settle()


def _first(deadline: float | None, until: float) -> float:
    return until if deadline is None or until < deadline else deadline


_lines: weakref.WeakSet[Line] = weakref.WeakSet()


def _after_fork() -> None:
    for line in list(_lines):
        line.after_fork()


os.register_at_fork(after_in_child=_after_fork)
