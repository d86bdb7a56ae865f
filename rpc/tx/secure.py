"""TLS in Twisted: a connection that is open when hands were shaken, and what it demands and shows.

OpenSSL is imported here and nowhere else in this face, and this module only for a URL that begins with `stomp+ssl`. That
the files of the URL are sound was said when it was read: `rpc.tls`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptography import x509
from OpenSSL.crypto import FILETYPE_PEM, X509, load_privatekey
from OpenSSL.SSL import Error as OpenSSLError
from service_identity import CertificateError, VerificationError
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IHandshakeListener,
    IOpenSSLClientConnectionCreator,
    IProtocol,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Factory
from twisted.internet.ssl import Certificate, optionsForClientTLS, trustRootFromCertificates
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from rpc.address import Address, Tls
from rpc.errors import ConnectionLost
from rpc.tx.host import Connection

if TYPE_CHECKING:
    from rpc.tx.host import ReactorHost


class _Secured(TLSMemoryBIOFactory):
    """Twisted's, but writes are not held back to be joined: a lifeline has joined what leaves together."""

    protocol = TLSMemoryBIOProtocol


@implementer(IHandshakeListener)
class SecureConnection(Connection):
    """One connection over TLS. What it writes goes through the transport, which encrypts it."""

    def __init__(self, host: ReactorHost, address: Address, tls: Tls) -> None:
        super().__init__(host)
        self._address = address
        self._tls = tls
        self._is_open = False  # hands were shaken

    def dial(self, endpoint: IStreamClientEndpoint) -> Deferred[IProtocol]:
        """Connect. Raises `ValueError` for files that cannot be used any more."""
        factory = Factory.forProtocol(lambda: self)
        factory.noisy = False
        creator = client_creator(self._address.host, self._tls)
        return endpoint.connect(_Secured(creator, True, factory))

    def connectionMade(self) -> None:
        """Twisted: TCP is connected."""
        if self._host is None:
            self.transport.abortConnection()
        else:
            self.transport.setTcpNoDelay(True)

    def handshakeCompleted(self) -> None:
        """Twisted: hands were shaken; what the broker has shown may have been found wanting even so."""
        if self._host is not None and not getattr(self.transport, "disconnecting", False):
            self._is_open = True
            self._host.lifeline.opened()

    def write(self, data: bytes) -> None:
        """Send."""
        self.transport.write(data)

    def explained(self, reason: Failure) -> ConnectionLost:
        """Return why there is no connection, or none any more."""
        if self._is_open:
            return ConnectionLost(
                f"The connection to the broker is lost: {told(reason, self._address)}", sent=True
            )
        return ConnectionLost(
            f"No connection to {self._address}: {told(reason, self._address)}", sent=False
        )


def told(reason: Failure, address: Address) -> str:
    """Return in words why a connection over TLS ended."""
    error = reason.value
    if isinstance(error, VerificationError | CertificateError):
        return f"its certificate is not one of {address.host}"
    if isinstance(error, OpenSSLError) and error.args:
        return "; ".join(text for _, _, text in error.args[0])
    return reason.getErrorMessage()


def client_creator(host: str, tls: Tls) -> IOpenSSLClientConnectionCreator:
    """Return what demands of a broker a certificate of `host`, and shows it ours. Raises `ValueError` in one line."""
    identity: dict[str, Any] = {}
    try:
        if tls.certificate:
            first, *chain = _certificates(tls.certificate)
            data = Path(tls.key or tls.certificate).read_bytes()
            identity = {
                "privateKey": load_privatekey(FILETYPE_PEM, data, b""),
                "certificate": first,
                "extraCertChain": chain,
            }
        trusted = None
        if tls.authorities:
            known = [Certificate(each) for each in _certificates(tls.authorities)]  # type: ignore[no-untyped-call]
            trusted = trustRootFromCertificates(known)  # type: ignore[no-untyped-call]
        creator: IOpenSSLClientConnectionCreator = optionsForClientTLS(
            host, trusted, extraCertificateOptions=identity
        )
    except (OSError, ValueError, OpenSSLError) as error:
        raise ValueError(f"the files of its URL cannot be used: {error}") from error
    return creator


def _certificates(path: str) -> list[X509]:
    found = x509.load_pem_x509_certificates(Path(path).read_bytes())
    return [X509.from_cryptography(each) for each in found]
