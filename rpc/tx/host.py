"""A lifeline's host in Twisted: it dials, and has one connection at a time, with TLS or without."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import cast

from twisted.internet.defer import maybeDeferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from rpc.address import Address
from rpc.errors import ConnectionLost
from rpc.lifeline import Lifeline
from rpc.tx.connection import Connection


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
        address = self._address
        if address.tls is None:
            connection = Connection(self)
        else:
            from rpc.tx.secure import SecureConnection  # brings Python's ssl

            connection = SecureConnection(self, address, address.tls)
        self._connection = connection

        def failed(failure: Failure) -> None:
            lost = ConnectionLost(
                f"No connection to {address}: {failure.getErrorMessage()}", sent=False
            )
            lost.__cause__ = failure.value
            self.soon(lambda: self.lose(connection, lost))  # it may have failed already

        endpoint = HostnameEndpoint(self.reactor, address.host, address.port)
        maybeDeferred(connection.dial, endpoint).addErrback(failed)

    def lose(self, connection: Connection, error: ConnectionLost) -> None:
        """A connection has ended, or could not be made."""
        if self._connection is connection:
            self._connection = None
            self.lifeline.lost(error)

    def write(self, data: bytes) -> None:
        """Send."""
        if self._connection is not None:
            self._connection.write(data)

    def hang_up(self) -> None:
        """End the connection, or the try to make one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.disown()


def the_reactor() -> IReactorTime:
    """Return Twisted's reactor, which is chosen by importing it."""
    from twisted.internet import reactor

    return cast(IReactorTime, reactor)
