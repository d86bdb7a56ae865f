"""A lifeline's host in Twisted: one connection, bytes in and out."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import cast

from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.interfaces import IDelayedCall, IReactorTime, ITCPTransport
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from rpc.address import Address
from rpc.errors import ConnectionLost
from rpc.lifeline import Lifeline

LINGER = 5.0  # seconds for the last bytes to leave


class Connection(Protocol):
    """One connection of a host; what comes over an old one is nobody's business."""

    transport: ITCPTransport

    def __init__(self, host: ReactorHost) -> None:
        self._host: ReactorHost | None = host
        self._last: IDelayedCall | None = None  # of its moments

    def connectionMade(self) -> None:
        """Twisted: TCP is connected."""
        if self._host is None:
            self.transport.abortConnection()
        else:
            self.transport.setTcpNoDelay(True)
            self._host.lifeline.opened()

    def dataReceived(self, data: bytes) -> None:
        """Twisted: bytes have come."""
        if self._host is not None:
            self._host.lifeline.received(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Twisted: it is over."""
        if self._last is not None and self._last.active():
            self._last.cancel()
        if self._host is not None:
            lost = ConnectionLost(
                f"The connection to the broker is lost: {reason.getErrorMessage()}", sent=True
            )
            lost.__cause__ = reason.value
            self._host.lose(self, lost)

    def disown(self) -> None:
        """Be of no use any more. A broker that does not read would keep it for ever."""
        host, self._host = self._host, None
        if self.connected and host is not None:
            self._last = host.later(LINGER, self.transport.abortConnection)
            self.transport.loseConnection()


class ReactorHost:
    """Moves the bytes of one lifeline. See `rpc.lifeline.Host`."""

    lifeline: Lifeline  # whoever makes the host sets it

    def __init__(self, reactor: IReactorTime, address: Address) -> None:
        self.now = time.monotonic
        self.wall = time.time
        self.chance = random.random
        self.reactor = reactor
        self._address = address
        self._connection: Connection | None = None

    def later(self, seconds: float, call: Callable[[], None]) -> IDelayedCall:
        """Call a function after a while."""
        return self.reactor.callLater(seconds, call)

    def soon(self, call: Callable[[], None]) -> None:
        """Call a function at the end of this pass of the reactor."""
        self.reactor.callLater(0, call)

    def dial(self) -> None:
        """Begin to connect."""
        connection = self._connection = Connection(self)
        address = self._address

        def failed(failure: Failure) -> None:
            lost = ConnectionLost(
                f"No connection to {address}: {failure.getErrorMessage()}", sent=False
            )
            lost.__cause__ = failure.value
            self.lose(connection, lost)

        endpoint = HostnameEndpoint(self.reactor, address.host, address.port)
        factory = Factory.forProtocol(lambda: connection)
        factory.noisy = False
        endpoint.connect(factory).addErrback(failed)

    def lose(self, connection: Connection, error: ConnectionLost) -> None:
        """A connection has ended, or could not be made."""
        if self._connection is connection:
            self._connection = None
            self.lifeline.lost(error)

    def write(self, data: bytes) -> None:
        """Send."""
        if self._connection is not None:
            self._connection.transport.write(data)

    def hang_up(self) -> None:
        """End the connection, or the try to make one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.disown()


def the_reactor() -> IReactorTime:
    """Return Twisted's reactor, which is chosen by importing it."""
    from twisted.internet import reactor

    return cast(IReactorTime, reactor)
