"""`Client` for Twisted."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, cast

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorFromThreads, IReactorTime

from rpc.address import Address
from rpc.calling.broadcast import Answer
from rpc.calling.caller import (
    CALL,
    NOTIFICATION,
    Caller,
    broadcast,
    encode_params,
)
from rpc.calling.calls import Call, Kind
from rpc.calling.engine import Engine
from rpc.calling.items import Items
from rpc.calling.loopface import LoopFace
from rpc.calling.options import BROADCAST_TIMEOUT, UNSET, CallOptions, Unset
from rpc.errors import ConnectionLost
from rpc.link import CONNECT_TIMEOUT, HEART_BEAT_SECONDS
from rpc.tls import read_address
from rpc.tx.host import ReactorHost, the_reactor


class Line(ReactorHost):
    """One client's connection, and who waits for its calls."""

    def __init__(
        self,
        reactor: IReactorTime,
        address: Address,
        caller: Caller,
        heart_beat: float,
        connect_timeout: float,
    ) -> None:
        super().__init__(reactor, address)
        self.engine = Engine(self, address, caller, heart_beat, connect_timeout)
        self.lifeline = self.engine.lifeline
        self._waiting: dict[Call, Deferred[Any]] = {}
        self._ready: list[Deferred[None]] = []  # who waits for a connection

    def submit(
        self, method: str, params: bytes, options: CallOptions, kind: Kind[Any]
    ) -> Deferred[Any]:
        """Begin a call."""
        return self._wait(self.engine.begin(method, params, options, kind))

    def arrival(self, items: Items) -> Deferred[Any]:
        """Return what fires when a stream has something to take."""
        return self._wait(items)

    def _wait(self, call: Call) -> Deferred[Any]:
        deferred = self._waiting[call] = Deferred(lambda _: self._forget(call))
        return deferred

    def drop(self, deferred: Deferred[Any]) -> None:
        """Give a call up, from any thread."""
        deferred.addErrback(lambda _: None)  # nobody is to hear of it
        self._in_reactor(deferred.cancel)

    def desert(self, items: Items) -> None:
        """Give a stream up, from any thread."""
        self._in_reactor(lambda: self.engine.forget(items))

    def _in_reactor(self, work: Callable[[], None]) -> None:
        cast(IReactorFromThreads, self.reactor).callFromThread(work)

    def connect(self) -> Deferred[None]:
        """Return what fires once there is a connection."""
        if self.engine.is_open:
            return succeed(None)
        ready: Deferred[None] = Deferred()
        self._ready.append(ready)
        self.engine.connect()
        return ready

    def _forget(self, call: Call) -> None:
        """A Deferred was cancelled."""
        self._waiting.pop(call, None)
        self.engine.forget(call)

    # rpc.calling.engine.ClientHost

    def ready(self, error: ConnectionLost | None) -> None:
        """Tell who waits for a connection that there is one, or why there is none."""
        ready, self._ready = self._ready, []
        for deferred in ready:
            if error is None:
                deferred.callback(None)
            else:
                deferred.errback(error)

    def settle(self, calls: Iterable[Call]) -> None:
        """Tell who waits for these calls."""
        for call in calls:
            deferred = self._waiting.pop(call, None)
            if deferred is None:
                continue
            try:
                result = call.result()
            except Exception as error:
                deferred.errback(error)
            else:
                deferred.callback(result)


class Client(LoopFace):
    """Calls the functions of one service, in the reactor's thread.

    It connects at the first call, and again after the connection was lost. One connection and one reply
    queue serve all calls.
    """

    _line: Callable[[], Line]

    def __init__(
        self,
        url: str,
        service: str,
        *,
        durable: bool = True,
        heart_beat: float = HEART_BEAT_SECONDS,
        connect_timeout: float = CONNECT_TIMEOUT,
        reactor: IReactorTime | None = None,
    ) -> None:
        """As `rpc.Client`; `reactor` is Twisted's unless another is given.

        Raises `ValueError` for a URL or name that makes no sense.
        """
        super().__init__()
        address = read_address(url)
        caller = Caller(service, uuid.uuid4().hex, durable=durable)

        def make() -> Line:
            return Line(reactor or the_reactor(), address, caller, heart_beat, connect_timeout)

        # Made at the first use: to import the reactor is to choose one.
        self._line = cache(make)

    def call(
        self, method: str, /, *args: Any, timeout: float | Unset | None = UNSET, **kwargs: Any
    ) -> Deferred[Any]:
        """Call a remote function. The Deferred fires with its result, or fails as `rpc.Client.call`.

        Cancelled, it no longer waits for the reply, and the worker is told so; the function may have run.
        """
        options = self._with(timeout)
        params = encode_params(args, kwargs, options.coder)
        return self._line().submit(method, params, options, CALL)

    submit = call  # what waits and what does not is the same here

    def notify(
        self, method: str, /, *args: Any, timeout: float | Unset | None = UNSET, **kwargs: Any
    ) -> Deferred[None]:
        """Let a remote function be called, and do not wait for it: nobody hears what becomes of it.

        The Deferred fires once the broker has confirmed that it has the call, on disk if the client is
        `durable`.
        """
        options = self._with(timeout)
        params = encode_params(args, kwargs, options.coder)
        return self._line().submit(method, params, options, NOTIFICATION)

    def broadcast(
        self,
        method: str,
        /,
        *args: Any,
        first: int | None = None,
        timeout: float | None = BROADCAST_TIMEOUT,
        **kwargs: Any,
    ) -> Deferred[list[Answer]]:
        """Call a function of every worker of the service; as `rpc.Client.broadcast`."""
        kind, options = broadcast(first, timeout), self._with(timeout)
        params = encode_params(args, kwargs, options.coder)
        return self._line().submit(method, params, options, kind)

    def connect(self) -> Deferred[None]:
        """Connect now instead of at the first call. Fails with `ConnectionLost` or `BrokerRefused`."""
        return self._line().connect()

    def close(self) -> Deferred[None]:
        """Disconnect. Pending calls, and later ones, end with `ConnectionLost`."""
        self._line().engine.close()
        return succeed(None)
