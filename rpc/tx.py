"""Remote calls for Twisted: the names of `rpc`, with Deferreds.

    client = rpc.tx.Client("stomp://127.0.0.1:61613", service="demo")
    client.call("whee", "Hello").addCallback(print)

A client belongs to the reactor's thread.
"""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, cast

from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.interfaces import IDelayedCall, IReactorTime, ITCPTransport
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from rpc.address import Address, parse_address
from rpc.caller import UNSET, Caller, CallOptions, ClientStats, Unset, encode_params
from rpc.calls import Call
from rpc.engine import Engine
from rpc.errors import ConnectionLost
from rpc.face import Face
from rpc.link import CONNECT_TIMEOUT, HEART_BEAT_SECONDS

__all__ = ["Client"]


class _Connection(Protocol):
    """One connection of a line; what comes over an old one is nobody's business."""

    transport: ITCPTransport

    def __init__(self, line: _Line) -> None:
        self._line: _Line | None = line

    def connectionMade(self) -> None:
        """Twisted: TCP is connected."""
        if self._line is None:
            self.transport.abortConnection()
        else:
            self.transport.setTcpNoDelay(True)
            self._line.engine.opened()

    def dataReceived(self, data: bytes) -> None:
        """Twisted: bytes have come."""
        if self._line is not None:
            self._line.engine.received(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Twisted: it is over."""
        if self._line is not None:
            lost = ConnectionLost(
                f"The connection to the broker is lost: {reason.getErrorMessage()}", sent=True
            )
            lost.__cause__ = reason.value
            self._line.lose(self, lost)

    def disown(self) -> None:
        """Be of no use any more."""
        self._line = None
        if self.connected:
            self.transport.loseConnection()


class _Line:
    """An engine's host in Twisted: one client's connection, and who waits for its calls."""

    def __init__(
        self,
        reactor: IReactorTime,
        address: Address,
        caller: Caller,
        heart_beat: float,
        connect_timeout: float,
    ) -> None:
        self.engine = Engine(self, address, caller, heart_beat, connect_timeout)
        self.now = time.monotonic
        self.wall = time.time
        self.chance = random.random
        self._reactor = reactor
        self._address = address
        self._waiting: dict[Call, Deferred[Any]] = {}
        self._ready: list[Deferred[None]] = []  # who waits for a connection
        self._connection: _Connection | None = None

    def submit(
        self, method: str, params: bytes, options: CallOptions, *, notifies: bool = False
    ) -> Deferred[Any]:
        """Begin a call. `notifies`: see `Caller.open`."""
        call = self.engine.begin(method, params, options, notifies=notifies)
        deferred = self._waiting[call] = Deferred(lambda _: self._forget(call))
        return deferred

    def connect(self) -> Deferred[None]:
        """Return what fires once there is a connection."""
        if self.engine.is_open:
            return succeed(None)
        ready: Deferred[None] = Deferred()
        self._ready.append(ready)
        self.engine.connect()
        return ready

    def lose(self, connection: _Connection, error: ConnectionLost) -> None:
        """A connection has ended, or could not be made."""
        if self._connection is connection:
            self._connection = None
            self.engine.lost(error)

    def _forget(self, call: Call) -> None:
        """A Deferred was cancelled."""
        self._waiting.pop(call, None)
        self.engine.forget(call)

    # rpc.engine.Host

    def later(self, seconds: float, call: Callable[[], None]) -> IDelayedCall:
        """Call a function after a while."""
        return self._reactor.callLater(seconds, call)

    def soon(self, call: Callable[[], None]) -> None:
        """Call a function at the end of this pass of the reactor."""
        self._reactor.callLater(0, call)

    def dial(self) -> None:
        """Begin to connect."""
        connection = self._connection = _Connection(self)
        address = self._address

        def failed(failure: Failure) -> None:
            lost = ConnectionLost(
                f"No connection to {address}: {failure.getErrorMessage()}", sent=False
            )
            lost.__cause__ = failure.value
            self.lose(connection, lost)

        endpoint = HostnameEndpoint(self._reactor, address.host, address.port)
        factory = Factory.forProtocol(lambda: connection)
        factory.noisy = False
        endpoint.connect(factory).addErrback(failed)

    def write(self, data: bytes) -> None:
        """Send."""
        if self._connection is not None:
            self._connection.transport.write(data)

    def hang_up(self) -> None:
        """End the connection, or the try to make one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.disown()

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


class Client(Face):
    """Calls the functions of one service, in the reactor's thread.

    It connects at the first call, and again after the connection was lost. One connection and one reply
    queue serve all calls.
    """

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
        address = parse_address(url)
        caller = Caller(service, uuid.uuid4().hex, durable=durable)

        def make() -> _Line:
            return _Line(reactor or the_reactor(), address, caller, heart_beat, connect_timeout)

        # Made at the first use: to import the reactor is to choose one.
        self._line = cache(make)

    def call(
        self, method: str, /, *args: Any, timeout: float | Unset | None = UNSET, **kwargs: Any
    ) -> Deferred[Any]:
        """Call a remote function. The Deferred fires with its result, or fails as `rpc.Client.call`.

        Cancelled, it no longer waits for the reply; the function may have run.
        """
        return self._line().submit(
            method, encode_params(args, kwargs), self._options.within(timeout)
        )

    submit = call  # what waits and what does not is the same here

    def notify(
        self, method: str, /, *args: Any, timeout: float | Unset | None = UNSET, **kwargs: Any
    ) -> Deferred[None]:
        """Let a remote function be called, and do not wait for it: nobody hears what becomes of it.

        The Deferred fires once the broker has confirmed that it has the call, on disk if the client is
        `durable`.
        """
        params, options = encode_params(args, kwargs), self._options.within(timeout)
        return self._line().submit(method, params, options, notifies=True)

    def connect(self) -> Deferred[None]:
        """Connect now instead of at the first call. Fails with `ConnectionLost` or `BrokerRefused`."""
        return self._line().connect()

    def stats(self) -> ClientStats:
        """Return the counters as they are now."""
        return self._line().engine.stats()

    def close(self) -> Deferred[None]:
        """Disconnect. Pending calls, and later ones, end with `ConnectionLost`."""
        self._line().engine.close()
        return succeed(None)


def the_reactor() -> IReactorTime:
    """Return Twisted's reactor, which is chosen by importing it."""
    from twisted.internet import reactor

    return cast(IReactorTime, reactor)
