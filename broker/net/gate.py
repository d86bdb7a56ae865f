"""What HTTP clients may take before anybody knows who they are: sockets, and the bodies of their requests.

A socket waits in the lobby as any connection does, until a request that came through it was let in. A body counts among
the unfinished frames of all connections, waits its turn like these, and must grow like these: see `broker.arriving`.
When it is complete it counts until its sender is let in or answered: that may take seconds, see `broker.auth.throttle`.

Not here: what requests mean.
"""

from __future__ import annotations

import time
from typing import Any, Protocol

from twisted.internet.interfaces import IDelayedCall, IProtocolFactory, ITransport
from twisted.internet.protocol import connectionDone
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from twisted.web.http import Request as HttpRequest
from twisted.web.server import Request

from broker.arriving import LARGE, Arriving
from broker.errors import StompError
from broker.lobby import Lobby
from broker.net.stream import House

TOO_LONG = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
TOO_MANY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b"


class GateHouse(House, Protocol):
    """What is known of all connections."""

    lobby: Lobby
    arriving: Arriving


class Passage(ProtocolWrapper):
    """One socket."""

    factory: Gate

    def makeConnection(self, transport: ITransport) -> None:
        """Twisted: somebody has come."""
        super().makeConnection(transport)
        peer: Any = transport.getPeer()
        address = f"{getattr(peer, 'host', '')}:{getattr(peer, 'port', '')}"
        self.factory.lobby.come(self, address, self._turn_away, time.monotonic())

    def let_in(self) -> None:
        """One of its requests was let in."""
        self.factory.lobby.let_in(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Twisted: it is over."""
        self.factory.lobby.leave(self)
        super().connectionLost(reason)

    def _turn_away(self, error: StompError, is_polite: bool) -> None:
        text = f"{error.text}\n".encode()
        self.write(TOO_MANY % (len(text), text))
        if is_polite:
            self.loseConnection()
        else:
            self.abortConnection()


class Gate(WrappingFactory[Passage]):
    """Every socket of a listener goes through here."""

    protocol = Passage
    noisy = False

    def __init__(self, factory: IProtocolFactory, lobby: Lobby) -> None:
        super().__init__(factory)
        self.lobby = lobby


def let_in(request: HttpRequest) -> None:
    """The request was let in, and so is the socket that it came through."""
    passage = getattr(request.channel, "transport", None)
    if isinstance(passage, Passage):
        passage.let_in()
    if isinstance(request, Counted):
        request.release()


class Counted(Request):
    """A request whose body counts."""

    def release(self) -> None:
        """It counts no longer."""


def bounded(house: GateHouse, reactor: Any, max_body: int, timeout: float) -> type[Request]:
    """Return a class of requests with bodies of `max_body` bytes at most; one that is too long ends its connection.

    So does one that has hardly grown in `timeout` seconds.
    """
    arriving = house.arriving

    class Bounded(Counted):
        """A request whose body can fill neither memory nor the disk, which Twisted keeps large ones on."""

        came = 0  # bytes
        paused = False
        look: IDelayedCall | None = None  # whether it grows
        seen = 0  # bytes that had come at the last look; 0: it was paused meanwhile

        def gotLength(self, length: int | None) -> None:
            """Twisted: the headers are read."""
            if length is not None and length > max_body:
                wire: Any = self.channel.transport
                wire.write(TOO_LONG)
                wire.loseConnection()
                length = 0
            super().gotLength(length)

        def handleContentChunk(self, data: bytes) -> None:
            """Twisted: some of the body has come."""
            self.came += len(data)
            if self.came > max_body:
                self.channel.forceAbortClient()
                return
            super().handleContentChunk(data)
            arriving.keep(self, self.came, self.came - len(data))
            if self.came > LARGE and self.look is None and timeout:
                self._look_again()

        def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
            """Twisted: all has come."""
            self._stop_looking()
            super().requestReceived(command, path, version)

        def finish(self) -> None:
            """Twisted: it is answered."""
            self.release()
            super().finish()

        def connectionLost(self, reason: Failure) -> None:
            """Twisted: nobody waits for an answer, or it will never be complete."""
            self._stop_looking()
            self.release()
            super().connectionLost(reason)

        # broker.arriving.Reader

        def pause_reading(self) -> None:
            """Take nothing for now."""
            self.paused = True
            wire: Any = self.channel.transport
            wire.pauseProducing()

        def resume_reading(self) -> None:
            """Go on."""
            self.paused, self.seen = False, 0
            wire: Any = self.channel.transport
            wire.resumeProducing()

        def release(self) -> None:
            """It counts no longer."""
            if self.came:
                if self.paused:
                    self.resume_reading()
                arriving.leave(self, self.came)
                self.came = 0

        def _stop_looking(self) -> None:
            if self.look is not None and self.look.active():
                self.look.cancel()

        def _look_again(self) -> None:
            self.seen = self.came
            self.look = reactor.callLater(timeout, self._check_growing)

        def _check_growing(self) -> None:
            if not self.paused and self.seen and self.came < self.seen + LARGE:
                self.channel.forceAbortClient()
            else:
                self._look_again()

    return Bounded
