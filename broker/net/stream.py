"""STOMP on TCP: bytes in, bytes out, back-pressure. On TLS: `broker.net.secure`.

Three things differ from a plain Twisted protocol, all for latency:

- what a turn has to say goes to the kernel at once (`socket.send`), and only what the kernel does not take
  goes through the transport's buffer. That saves two `epoll_ctl` and one pass of the reactor per answer;
- where there is an `Intake` we read ourselves, until the end: the transport finds that, and how it came;
- clients that write a frame in small pieces without TCP_NODELAY wait for our acknowledgement before they
  send the next piece, and a kernel delays it by 40 ms. TCP_QUICKACK sends it; it does not stick, so it is
  set whenever a frame is unfinished. Linux only.

While the transport is busy with what the kernel did not take, everything else waits here, in order; the
transport asks for it as from a pull producer when its buffer is empty.
"""

from __future__ import annotations

import socket
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Protocol as Interface
from typing import cast

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import (
    IConsumer,
    IHalfCloseableProtocol,
    IPullProducer,
    ITCPTransport,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from broker.connection import Connection, Transport
from broker.errors import StompError
from broker.net.wall import time_of_day
from broker.turn import Turn

log = Logger()

PATIENCE = 60.0  # seconds in which a client that is being left must take something
SLICE = 256 * 1024  # bytes handed to the transport at once
CHUNK = 64 * 1024  # bytes read at once, as Twisted does
QUICKACK: int | None = getattr(socket, "TCP_QUICKACK", None)
USER_TIMEOUT: int | None = getattr(socket, "TCP_USER_TIMEOUT", None)


class Intake(Interface):
    """A reactor that lets streams read for themselves; see `broker.net.reactor`."""

    def read_from(self, descriptor: int, read: Callable[[], object]) -> None:
        """Call `read` whenever the descriptor can be read or is broken."""

    def leave(self, descriptor: int) -> None:
        """Call it no more."""


class Guest(Transport, Interface):
    """One connection of the broker, whoever carries its bytes."""

    @property
    def address(self) -> str:
        """Of the other end, HOST:PORT."""

    def certificate_name(self) -> str:
        """Return the name in the certificate that the other end has shown and we have verified, "" without one."""

    def move(self, turn: Turn) -> None:
        """Begin this turn from now on, when bytes come: the client is at another virtual host."""

    def say_goodbye(self) -> None:
        """The broker stops: hear no more, say what is owed."""

    def dismiss(self, error: StompError) -> None:
        """End the link with an ERROR."""


class House(Interface):
    """What a stream needs of the broker it belongs to."""

    turn: Turn
    intake: Intake | None

    def open_connection(self, stream: Guest) -> Connection:
        """A client has come."""

    def forget(self, stream: Guest) -> None:
        """A client has gone."""

    def call_later(self, seconds: float, call: Callable[[], None]) -> None:
        """Run a callable after a while."""


@implementer(IHalfCloseableProtocol, IPullProducer)
class Stream(Protocol):
    """One TCP connection of a client."""

    transport: ITCPTransport

    def __init__(self, house: House, linger: float, stuck_timeout: float = 0.0) -> None:
        """`linger`: seconds that a client has to hang up after the last word.

        `stuck_timeout`: seconds in which it must take something of what waits for it, 0: it need not.
        """
        self._stuck_timeout = stuck_timeout
        self._house = house
        self._turn = house.turn
        self._linger = linger
        self._waiting: deque[bytes | memoryview] = deque()  # until the transport's buffer is empty
        self._size = 0  # bytes in there
        self._draining = False  # the transport is busy
        self._closing = False
        self._gone = False
        self._intake = house.intake  # None: the transport reads
        self._listening = False  # we stand in the intake

    def connectionMade(self) -> None:
        """Twisted: a client has come."""
        self.transport.setTcpNoDelay(True)
        self.transport.setTcpKeepAlive(True)
        self._consumer = cast(IConsumer, self.transport)  # the same, by its other interface
        self._take_over()
        self._begin()
        self._connection = self._house.open_connection(self)

    def _take_over(self) -> None:
        """Stand between the transport and the kernel."""
        self._socket: socket.socket = self.transport.getHandle()  # type: ignore[attr-defined]
        self._send = self._socket.send
        self._recv = self._socket.recv
        self._descriptor = self._socket.fileno()
        self._be_patient(self._socket)
        if self._intake is not None:
            self.transport.pauseProducing()  # type: ignore[attr-defined]
            self._listen()

    def _be_patient(self, wire: socket.socket) -> None:
        """Let the kernel end the connection of a client that takes nothing, or is gone without a word.

        It sees what we cannot: which bytes the other end has taken out of what it has been given.
        """
        if self._stuck_timeout and USER_TIMEOUT is not None:
            wire.setsockopt(socket.IPPROTO_TCP, USER_TIMEOUT, int(self._stuck_timeout * 1000))

    def dataReceived(self, data: bytes) -> None:
        """Twisted: bytes have come."""
        turn = self._turn
        if not turn.begun:
            turn.begin(time.monotonic(), time_of_day())
        connection = self._connection
        connection.data(data)
        if connection.unfinished and QUICKACK is not None:
            self._socket.setsockopt(socket.IPPROTO_TCP, QUICKACK, 1)

    def _read(self) -> None:
        """Take what has come, as the transport would."""
        try:
            data = self._recv(CHUNK)
        except BlockingIOError:
            return
        except TimeoutError:
            log.warn("{address} takes nothing: the connection ends", address=self.address)
            data = b""
        except OSError:
            data = b""
        if not data:
            self._leave_reading()
            return
        try:
            self.dataReceived(data)
        except Exception:
            self._fail()

    def _fail(self) -> None:
        """End a connection that met a fault of ours, in an `except`."""
        log.failure("A fault of ours: the connection from {address} ends", address=self.address)
        self.abort()

    def _leave_reading(self) -> None:
        """Let the transport read from now on: it finds the end of the connection."""
        self._be_deaf()
        self._intake = None
        self._listen()

    def _listen(self) -> None:
        if self._intake is None:
            self.transport.resumeProducing()  # type: ignore[attr-defined]
        elif not self._listening:
            self._listening = True
            self._intake.read_from(self._descriptor, self._read)

    def _be_deaf(self) -> None:
        if self._intake is None:
            self.transport.pauseProducing()  # type: ignore[attr-defined]
        elif self._listening:
            self._listening = False
            self._intake.leave(self._descriptor)

    def readConnectionLost(self) -> None:
        """Twisted: the client will send no more, perhaps it still reads."""
        if self._closing:
            self.transport.loseConnection()
        else:
            self._begin()
            self._connection.end_of_input()

    def writeConnectionLost(self) -> None:
        """Twisted: our half is closed; the client's end follows, or the linger time runs out."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Twisted: it is over."""
        self._gone = True
        if self._listening:  # it was a write that failed
            self._be_deaf()
        self._begin()
        self._connection.lost()
        self._house.forget(self)
        # Each knows the other: without this both would stay until the garbage collector looks.
        del self._connection
        self._waiting.clear()

    def say_goodbye(self) -> None:
        """The broker stops: hear no more, say what is owed."""
        self._connection.end_of_input(died=False)

    @property
    def address(self) -> str:
        """The client's, HOST:PORT."""
        peer = self.transport.getPeer()
        return f"{peer.host}:{peer.port}" if isinstance(peer, IPv4Address | IPv6Address) else ""

    def certificate_name(self) -> str:
        """Return "": TCP knows nobody's name."""
        return ""

    def dismiss(self, error: StompError) -> None:
        """End the link with an ERROR."""
        self._begin()
        self._connection.dismiss(error)

    # broker.connection.Transport

    def write(self, data: bytes) -> None:
        """Send as much as the kernel takes, keep the rest in order."""
        if self._gone:
            return
        rest: bytes | memoryview = data
        if not self._draining:
            try:
                sent = self._send(data)
            except (
                OSError
            ):  # the kernel takes nothing; or the link is lost, as Twisted will find out
                sent = 0
            if sent == len(data):
                return
            rest = memoryview(data)[sent:]
        self._waiting.append(rest)
        self._size += len(rest)
        if not self._draining:
            self._draining = True
            self._consumer.registerProducer(self, False)  # which asks at once
        self._connection.unsent(self._size)

    def pause_reading(self) -> None:
        """Take nothing from the client for now."""
        if not self._gone:
            self._be_deaf()

    def resume_reading(self) -> None:
        """Go on."""
        if not self._gone and not self._closing:
            self._listen()

    def move(self, turn: Turn) -> None:
        """Begin this turn from now on: the client is at another virtual host."""
        self._turn = turn
        self._begin()

    def close(self) -> None:
        """Send what was written, then hang up; give the client time to read it.

        Closing while there is something unread makes the kernel reset the connection, and the client
        loses our last words; hence our half first, and the other when the client has hung up.
        """
        if self._closing or self._gone:
            return
        self._closing = True
        if not self._draining:
            self._hang_up()
        else:
            self._house.call_later(PATIENCE, partial(self._check_draining, self._size))

    def abort(self) -> None:
        """Hang up now."""
        if not self._gone:
            self._be_deaf()
            self.transport.abortConnection()

    # IPullProducer: the transport's buffer is empty.

    def resumeProducing(self) -> None:
        """Twisted: hand over what waits, or return to sending directly."""
        if not self._waiting:
            self._draining = False
            self._consumer.unregisterProducer()
            if self._closing:
                self._hang_up()
            self._begin()
            self._connection.unsent(0)
            return
        self.transport.write(self._next_slice())
        self._begin()  # it may be handed more messages now: by today's time, and they must leave
        self._connection.unsent(self._size)

    def _next_slice(self) -> bytes:
        """Return the next of what waits: not much more than `SLICE`, in one piece."""
        waiting = self._waiting
        pieces: list[bytes | memoryview] = []
        size = 0
        while waiting and size < SLICE:
            piece = waiting.popleft()
            if (
                len(piece) > SLICE
            ):  # of a large message only what fits, so that it is not copied whole
                view = memoryview(piece)
                waiting.appendleft(view[SLICE:])
                piece = view[:SLICE]
            pieces.append(piece)
            size += len(piece)
        self._size -= size
        return b"".join(pieces)

    def stopProducing(self) -> None:
        """Twisted: the connection is lost; `connectionLost` follows."""

    def _hang_up(self) -> None:
        self.transport.loseWriteConnection()
        self._listen()  # to hear the other end
        self._house.call_later(self._linger, self.abort)

    def _check_draining(self, size: int) -> None:
        """Hang up on a client that takes nothing of what is left to be said."""
        if self._draining and not self._gone:
            if self._size >= size:
                self.abort()
            else:
                self._house.call_later(PATIENCE, partial(self._check_draining, self._size))

    def _begin(self) -> None:
        self._turn.begin(time.monotonic(), time_of_day())
