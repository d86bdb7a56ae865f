"""A connection of Twisted's over TLS: Python's `ssl`, without a socket, between the transport and a lifeline.

So all faces demand the same, and say what they miss in the same words. Twisted's own TLS (26.10) takes a certificate
that names no host at all for one of any host. What comes out of `ssl` leaves as it would without TLS.
"""

from __future__ import annotations

import contextlib
import ssl
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocol, IStreamClientEndpoint

from rpc.address import Address, Tls
from rpc.errors import ConnectionLost
from rpc.tls import client_context
from rpc.tx.connection import Connection

if TYPE_CHECKING:
    from rpc.tx.host import ReactorHost

CHUNK = 64 * 1024  # bytes read at once; a record has less


class SecureConnection(Connection):
    """One connection over TLS, open when hands were shaken."""

    def __init__(self, host: ReactorHost, address: Address, tls: Tls) -> None:
        super().__init__(host)
        self._address = address
        self._files = tls
        self._is_open = False  # hands were shaken

    def dial(self, endpoint: IStreamClientEndpoint) -> Deferred[IProtocol]:
        """Connect. Raises `ValueError` for files that cannot be used (any more)."""
        context = client_context(self._files)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._incoming, self._outgoing, server_hostname=self._address.host
        )
        return super().dial(endpoint)

    def begin(self, host: ReactorHost) -> None:
        """Shake hands."""
        self._go_on(host)

    def dataReceived(self, data: bytes) -> None:
        """Twisted: bytes have come."""
        if self._host is not None:
            self._incoming.write(data)
            self._go_on(self._host)

    def write(self, data: bytes) -> None:
        """Send."""
        view, done = memoryview(data), 0
        with contextlib.suppress(ssl.SSLError):  # the link is lost, as reading will find out
            while done < len(view):
                done += self._tls.write(view[done:])
        self._flush()

    def disown(self) -> None:
        """Be of no use any more, and say so."""
        if self._host is not None and self._is_open:
            with contextlib.suppress(ssl.SSLError):  # it would wait for an answer
                self._tls.unwrap()
            self._flush()
        super().disown()

    def explained(self, told: str) -> ConnectionLost:
        """Return what the host is told."""
        if self._is_open:
            return super().explained(told)
        return ConnectionLost(f"No connection to {self._address}: {told}", sent=False)

    def _go_on(self, host: ReactorHost) -> None:
        """Do what can be done with the bytes that are there."""
        try:
            if not self._is_open:
                self._tls.do_handshake()
                self._is_open = True
                host.lifeline.opened()
            self._read(host)
        except ssl.SSLWantReadError:
            self._flush()
        except ssl.SSLError as error:
            self._flush()  # the other end is told why
            self.hang_up(host)
            self.lost(error, str(error))

    def _read(self, host: ReactorHost) -> None:
        """Hand on what can be read. Raises `ssl.SSLWantReadError` behind the last of it."""
        records: list[bytes] = []
        try:
            while record := self._tls.read(CHUNK):
                records.append(record)
        finally:
            if records:
                host.lifeline.received(b"".join(records))
        self.hang_up(host)  # the broker has said the end

    def _flush(self) -> None:
        if self._outgoing.pending:
            super().write(self._outgoing.read())
