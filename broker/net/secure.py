"""STOMP on TLS: a `Stream` whose transport is Twisted's `TLSMemoryBIOProtocol`.

What differs from TCP:

- what comes is not what was said, so the transport reads, never the intake, and every byte goes through it;
- the transport stands between us and the kernel and tells when it has enough: we are its push producer as
  long as the connection lives, and hand over nothing between `pauseProducing` and `resumeProducing`;
- there is no half-close. Closing says so (close_notify), reads on until the other end says the same or hangs
  up, and then the transport ends TCP; or the linger time runs out.

The stream lives from the first packet of TCP on: the time that a client has for its CONNECT includes the
handshake, and what is written before it is over leaves after it.

Knows no OpenSSL and no certificates: see `broker.net.tls`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from broker.net.stream import SLICE, House, Stream

if TYPE_CHECKING:
    from twisted.internet.tcp import Connection as Wire
    from twisted.protocols.policies import ProtocolWrapper


def certificate_name(transport: object) -> str:
    """Return the name in the certificate that the other end of a transport has shown, "" if it is none of TLS."""
    shown = getattr(transport, "getPeerCertificate", None)
    if shown is None:
        return ""
    from broker.net import tls  # brings OpenSSL, which few brokers need

    return tls.name_of(shown())


@implementer(IPushProducer)
class SecureStream(Stream):
    """One TLS connection, of a client or to another broker."""

    def __init__(self, house: House, linger: float, stuck_timeout: float = 0.0) -> None:
        """As for a `Stream`."""
        super().__init__(house, linger, stuck_timeout)
        self._intake = None

    def _take_over(self) -> None:
        tls = cast("ProtocolWrapper", self.transport)
        self._wire = cast("Wire", tls.transport)  # TCP, below it
        self._socket = self._wire.getHandle()
        self._be_patient(self._socket)
        self._consumer.registerProducer(self, True)

    def dataReceived(self, data: bytes) -> None:
        """Twisted: something was said."""
        try:
            super().dataReceived(data)
        except Exception:  # the transport would go on with what it has decrypted already
            self._fail()

    def certificate_name(self) -> str:
        """Return the name in the client's certificate: `broker.net.tls.name_of`. Known once it has said something."""
        return certificate_name(self.transport)

    # broker.connection.Transport

    def write(self, data: bytes) -> None:
        """Hand over as much as the transport takes, keep the rest in order."""
        if self._gone:
            return
        if not self._draining and len(data) <= SLICE:
            self.transport.write(data)
            return
        self._waiting.append(data)
        self._size += len(data)
        self._hand_over()
        self._connection.unsent(self._size)

    def _hand_over(self) -> None:
        while self._waiting and not self._draining:
            self.transport.write(self._next_slice())

    def _hang_up(self) -> None:
        self._consumer.unregisterProducer()  # else closing would wait for us to say more
        self._listen()  # to hear the other end
        self._house.call_later(self._linger, self.abort)
        self.transport.loseConnection()

    # IPushProducer

    def pauseProducing(self) -> None:
        """Twisted: the transport has enough for now."""
        self._draining = True

    def resumeProducing(self) -> None:
        """Twisted: the transport is empty."""
        self._draining = False
        self._hand_over()
        if self._wire.disconnecting:  # TLS has ended already, and TCP waits for us to say more
            self._consumer.unregisterProducer()
        elif self._closing and not self._draining:
            self._hang_up()
        self._begin()  # as when a plain stream hands over
        self._connection.unsent(self._size)
