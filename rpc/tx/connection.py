"""One connection of a lifeline's host in Twisted: bytes in and out.

Bytes go to the kernel at once, and only what it does not take goes through the transport's buffer: that
would cost each write two `epoll_ctl` and one pass of the reactor.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IConsumer,
    IDelayedCall,
    IProtocol,
    IPullProducer,
    IStreamClientEndpoint,
    ITCPTransport,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from rpc.errors import ConnectionLost

if TYPE_CHECKING:
    from rpc.tx.host import ReactorHost

LINGER = 5.0  # seconds for the last bytes to leave


@implementer(IPullProducer)
class Connection(Protocol):
    """One connection of a host; what comes over an old one is nobody's business."""

    transport: ITCPTransport

    def __init__(self, host: ReactorHost) -> None:
        self._host: ReactorHost | None = host
        self._last: IDelayedCall | None = None  # of its moments
        self._rest = b""  # what the kernel did not take, and the transport has not got
        self._draining = False  # the transport's buffer is not empty

    def dial(self, endpoint: IStreamClientEndpoint) -> Deferred[IProtocol]:
        """Connect."""
        factory = Factory.forProtocol(lambda: self)
        factory.noisy = False
        return endpoint.connect(factory)

    def connectionMade(self) -> None:
        """Twisted: TCP is connected."""
        if self._host is None:
            self.transport.abortConnection()
        else:
            self.transport.setTcpNoDelay(True)
            handle: socket.socket = self.transport.getHandle()  # type: ignore[attr-defined]
            self._send = handle.send
            self.begin(self._host)

    def begin(self, host: ReactorHost) -> None:
        """Say that it is open."""
        host.lifeline.opened()

    def dataReceived(self, data: bytes) -> None:
        """Twisted: bytes have come."""
        if self._host is not None:
            self._host.lifeline.received(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Twisted: it is over."""
        if self._last is not None and self._last.active():
            self._last.cancel()
        self.lost(reason.value, reason.getErrorMessage())

    def lost(self, cause: BaseException | None, told: str) -> None:
        """Tell the host that it is over, and why."""
        host, self._host = self._host, None
        if host is not None:
            error = self.explained(told)
            error.__cause__ = cause
            host.lose(self, error)

    def explained(self, told: str) -> ConnectionLost:
        """Return what the host is told."""
        return ConnectionLost(f"The connection to the broker is lost: {told}", sent=True)

    def write(self, data: bytes) -> None:
        """Send as much as the kernel takes; the rest, and what follows it, when it can."""
        if self._draining:
            self.transport.write(data)
            return
        try:
            sent = self._send(data)
        except OSError:  # it takes nothing; or the link is lost, as the transport will find out
            sent = 0
        if sent < len(data):
            self._draining = True
            self._rest = data[sent:]
            cast(IConsumer, self.transport).registerProducer(self, False)  # which asks at once

    def resumeProducing(self) -> None:
        """Twisted: the transport's buffer is empty."""
        rest, self._rest = self._rest, b""
        if rest:
            self.transport.write(rest)
        else:
            self._draining = False
            cast(IConsumer, self.transport).unregisterProducer()

    def stopProducing(self) -> None:
        """Twisted: the connection is lost; `connectionLost` follows."""

    def disown(self) -> None:
        """Be of no use any more. A broker that does not read would keep it for ever."""
        host, self._host = self._host, None
        if self.connected and host is not None:
            self.hang_up(host)

    def hang_up(self, host: ReactorHost) -> None:
        """Let the last bytes leave, and end it."""
        self._last = host.later(LINGER, self.transport.abortConnection)
        self.transport.loseConnection()
