"""A lifeline's host in asyncio: one connection, bytes in and out."""

from __future__ import annotations

import asyncio
import random
import time
from typing import cast

from rpc.address import Address
from rpc.errors import ConnectionLost
from rpc.lifeline import Lifeline
from rpc.tls import client_context

LINGER = 5.0  # seconds for the last bytes to leave
CHUNK = 256 * 1024  # bytes read at once, as asyncio does


class Connection(asyncio.BufferedProtocol):
    """One connection of a host; what comes over an old one is nobody's business."""

    def __init__(self, host: LoopHost) -> None:
        self._host: LoopHost | None = host
        # Our own: asyncio's would be a new one each time, of whole pages that the kernel must find.
        self._buffer = memoryview(bytearray(CHUNK))
        self.transport: asyncio.Transport | None = None
        self._last: asyncio.TimerHandle | None = None  # of its moments

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: TCP is connected, and over TLS hands were shaken."""
        if self._host is None:
            transport.close()
        else:
            self.transport = cast(asyncio.Transport, transport)
            self._host.lifeline.opened()

    def get_buffer(self, sizehint: int) -> memoryview:
        """asyncio: where to read to."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """asyncio: bytes have come."""
        if self._host is not None:
            lifeline = self._host.lifeline
            lifeline.received(bytes(self._buffer[:nbytes]))
            lifeline.gather()  # who was told something has its say in the next pass

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio: it is over."""
        if self._last is not None:
            self._last.cancel()
        if self._host is not None:
            lost = ConnectionLost(
                f"The connection to the broker is lost: {exc or 'closed by the broker'}", sent=True
            )
            lost.__cause__ = exc
            self._host.lose(lost)

    def disown(self) -> None:
        """Be of no use any more. A broker that does not read would keep it for ever."""
        host, self._host = self._host, None
        if self.transport is not None and host is not None:
            self.transport.close()
            self._last = host.loop.call_later(LINGER, self.transport.abort)


class LoopHost:
    """Moves the bytes of one lifeline; made inside the loop. See `rpc.lifeline.Host`."""

    lifeline: Lifeline  # whoever makes the host sets it

    def __init__(self, address: Address) -> None:
        self.now = time.monotonic
        self.wall = time.time
        self.chance = random.random
        self.loop = asyncio.get_running_loop()
        self.soon = self.loop.call_soon
        self.later = self.loop.call_later
        self._address = address
        self._connection: Connection | None = None
        self._dialling: asyncio.Task[None] | None = None

    def dial(self) -> None:
        """Begin to connect."""
        self._connection = Connection(self)
        self._dialling = self.loop.create_task(self._dial(self._connection))

    async def _dial(self, connection: Connection) -> None:
        address = self._address
        try:
            context = None if address.tls is None else client_context(address.tls)
            await self.loop.create_connection(
                lambda: connection, address.host, address.port, ssl=context
            )
        except (OSError, ValueError) as error:  # of values: files of TLS that have changed
            if self._connection is connection:
                lost = ConnectionLost(f"No connection to {address}: {error}", sent=False)
                lost.__cause__ = error
                self.lose(lost)

    def lose(self, error: ConnectionLost) -> None:
        """The connection has ended, or could not be made."""
        self._connection = None
        self.lifeline.lost(error)

    def write(self, data: bytes) -> None:
        """Send."""
        if self._connection is not None and self._connection.transport is not None:
            self._connection.transport.write(data)

    def hang_up(self) -> None:
        """End the connection, or the try to make one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.disown()
            if connection.transport is None and self._dialling is not None:
                self._dialling.cancel()  # a handshake may take for ever
