"""TLS contexts and factories from PEM files: for listeners, and for links that the broker dials itself.

OpenSSL is imported here and nowhere else, and this module only by who needs it: a broker without TLS does
not wait for it at the start. What is sane is Twisted's to say (TLS 1.2 at least, no compression), but for the ciphers
of TLS 1.2: only those with forward secrecy and authenticated encryption.

Not here: how STOMP goes over it, see `broker.net.secure`; which files, see `broker.options`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from weakref import ref

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import NameOID
from OpenSSL.crypto import X509, PKey
from OpenSSL.SSL import (
    OP_NO_RENEGOTIATION,
    SSL_CB_HANDSHAKE_DONE,
    VERIFY_FAIL_IF_NO_PEER_CERT,
    VERIFY_PEER,
    Connection,
)
from OpenSSL.SSL import Error as OpenSSLError
from service_identity.cryptography import (
    verify_certificate_hostname,
    verify_certificate_ip_address,
)
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.interfaces import (
    IOpenSSLClientConnectionCreator,
    IOpenSSLServerConnectionCreator,
    IProtocolFactory,
)
from twisted.internet.ssl import (
    AcceptableCiphers,
    Certificate,
    CertificateOptions,
    optionsForClientTLS,
    trustRootFromCertificates,
)
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

WANTED = "wanted"  # a client may come without a certificate; one that it shows must be good
#: Of TLS 1.2; all of 1.3 are like that.
CIPHERS = AcceptableCiphers.fromOpenSSLCipherString(  # type: ignore[no-untyped-call]
    "ECDHE+AESGCM:ECDHE+CHACHA20"
)

#: How often a client may ask for new keys (KeyUpdate of TLS 1.3): it needs them after millions of records. Each costs us
#: more than it, and the answers that it does not read would wait for ever.
RENEWALS, WHILE = 32, 60.0  # times, in so many seconds
RENEWING = b"TLSv1.3 read client key update"  # what OpenSSL calls it
STEP = 8 * 1024  # bytes that TLS gets at once: a flood is seen after so many

log = Logger()


class CannotSecure(Exception):
    """There is no TLS with these files, in one line that names the file."""


class _Watched(TLSMemoryBIOProtocol):
    """Twisted's, but a client that asks for new keys again and again is hung up on."""

    is_ready = False  # the handshake is over
    renewals = 0  # of keys, since `_since`
    _since = 0.0  # seconds

    def dataReceived(self, data: bytes) -> None:
        """Twisted: bytes have come."""
        for start in range(0, len(data), STEP):
            if not self.connected:
                return
            super().dataReceived(data[start : start + STEP])  # type: ignore[no-untyped-call]
            if self.renewals > RENEWALS and self._is_flood(time.monotonic()):
                where = self.getPeer()  # type: ignore[no-untyped-call]
                address = f"{where.host}:{where.port}"
                log.warn("hung up on {address}: it asks for new keys all the time", address=address)
                self.abortConnection()  # type: ignore[no-untyped-call]
                return

    def _is_flood(self, now: float) -> bool:
        is_flood = now - self._since < WHILE
        if not is_flood:
            self._since, self.renewals = now, 0
        return is_flood


def _count(connection: Connection, where: int, result: int) -> None:
    """OpenSSL: a step was taken in a handshake, or in what looks like one afterwards: new keys."""
    protocol: _Watched | None = connection.get_app_data()
    if protocol is None:
        return
    if where & SSL_CB_HANDSHAKE_DONE:
        protocol.is_ready = True
    elif protocol.is_ready and connection.get_state_string() == RENEWING:
        protocol.renewals += 1


class _Secured(TLSMemoryBIOFactory):
    """Twisted's, but writes are not held back to be joined: a turn's answers come as one write anyway."""

    protocol = _Watched


@implementer(IOpenSSLServerConnectionCreator, IOpenSSLClientConnectionCreator)
class Context:
    """What one end shows and demands. Its files can be read anew; connections that are there stay as they are."""

    def __init__(self, read: Callable[[], Any]) -> None:
        """`read` returns what Twisted makes of the files, now and later. Raises `CannotSecure` as it does."""
        self._read = read
        self._current = read()

    def prepare(self) -> Callable[[], None]:
        """Read the files; return what takes over what they hold now. Raises `CannotSecure`."""
        fresh = self._read()

        def commit() -> None:
            self._current = fresh

        return commit

    def serverConnectionForTLS(self, protocol: TLSMemoryBIOProtocol) -> Any:
        """Twisted: return the TLS of a client that has come."""
        connection = self._current.serverConnectionForTLS(protocol)
        connection.set_app_data(protocol)  # for `_count`
        return connection

    def clientConnectionForTLS(self, protocol: TLSMemoryBIOProtocol) -> Any:
        """Twisted: return the TLS of a link that we have dialled."""
        return self._current.clientConnectionForTLS(protocol)


@implementer(IOpenSSLClientConnectionCreator)
class _Demanding:
    """Twisted's, but a certificate that names no host, or none that can be read, is not for ours.

    Twisted 26.10 believes such a one: it takes for good what service-identity cannot compare, and only logs it.
    """

    def __init__(self, host: str, creator: IOpenSSLClientConnectionCreator) -> None:
        self._creator = creator
        self._host = host if host.isascii() else host.encode("idna").decode()
        is_address = isIPAddress(host) or isIPv6Address(host)
        self._check = verify_certificate_ip_address if is_address else verify_certificate_hostname

    def clientConnectionForTLS(self, protocol: TLSMemoryBIOProtocol) -> Connection:
        """Twisted: return the TLS of a link that we have dialled."""
        made: Connection = self._creator.clientConnectionForTLS(protocol)
        link = ref(protocol)  # it holds the connection, and that this function

        def is_good(_: Connection, shown: X509, error: int, depth: int, is_signed: int) -> bool:
            if not is_signed or depth:
                return bool(is_signed)
            try:
                self._check(shown.to_cryptography(), self._host)
            except Exception:  # whatever it is, OpenSSL must not have it
                if (there := link()) is not None:
                    there.failVerification(Failure())  # type: ignore[no-untyped-call]
                return False
            return True

        made.set_verify(VERIFY_PEER | VERIFY_FAIL_IF_NO_PEER_CERT, is_good)
        return made


def server_context(certificate: str, key: str, authorities: str = "", client: str = "") -> Context:
    """Return what a listener shows its clients, and demands of them.

    `certificate` is the path of a PEM file with the listener's certificate and, behind it, those between it
    and the authority that the clients know; `key` that of its private key, which is not encrypted. With `authorities`,
    the path of a PEM file, clients show a certificate that these have signed; they need not if `client` is `WANTED`.
    Raises `CannotSecure`.
    """

    def read() -> CertificateOptions:
        known = _certificates(authorities) if authorities else []
        options = CertificateOptions(
            **_identity(certificate, key),
            acceptableCiphers=CIPHERS,
            **({"trustRoot": _trusting(known)} if known else {}),
        )
        options.requireCertificate = client != WANTED
        context = _try(options, certificate)
        context.set_options(OP_NO_RENEGOTIATION)  # work for us that costs a client nothing
        context.set_info_callback(_count)
        for each in known:  # so that a client with several certificates knows which is meant
            context.add_client_ca(X509.from_cryptography(each))
        return options

    return Context(read)


def client_context(
    host: str, authorities: str = "", certificate: str = "", key: str = ""
) -> Context:
    """Return what a link to `host` demands: a certificate of that name or IP address, always.

    `authorities` is the path of a PEM file with the certificates that are believed; empty: those that the
    system believes. `certificate` and `key` are shown to a server that asks for them. Raises `CannotSecure`.
    """

    def read() -> Any:
        identity = _identity(certificate, key) if certificate else {}
        trusted = _trusting(_certificates(authorities)) if authorities else None
        _try(CertificateOptions(**identity), certificate)
        creator = optionsForClientTLS(host, trusted, extraCertificateOptions=identity)
        return _Demanding(host, creator)

    return Context(read)


def name_of(certificate: X509 | None) -> str:
    """Return who a certificate is about, for one that a listener has verified; "" if it does not say clearly.

    It is the common name of the subject; without any, the first DNS name among the alternative names, or else the
    first e-mail address. Two common names are none: which of them counts would be a matter of taste. Nor is a name
    with characters that cannot be seen.
    """
    if certificate is None:
        return ""
    shown = certificate.to_cryptography()
    found: Sequence[str | bytes] = [
        each.value for each in shown.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    ]
    if not found:
        try:
            others = shown.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except (x509.ExtensionNotFound, ValueError):
            return ""
        found = others.get_values_for_type(x509.DNSName)[:1]
        found = found or others.get_values_for_type(x509.RFC822Name)[:1]
    name = found[0] if len(found) == 1 else ""
    return name if isinstance(name, str) and name.isprintable() else ""


def accepting(
    factory: IProtocolFactory, context: IOpenSSLServerConnectionCreator
) -> IProtocolFactory:
    """Return a factory for a port, whose connections speak TLS to those of `factory`."""
    return _Secured(context, False, factory)


def dialling(
    factory: IProtocolFactory, context: IOpenSSLClientConnectionCreator
) -> IProtocolFactory:
    """Return a factory for an endpoint to connect, whose connections speak TLS to those of `factory`.

    What the endpoint returns is the TLS layer; the protocol that `factory` built is its `wrappedProtocol`.
    A certificate that does not convince ends the connection before anything was said; `connectionLost` of
    that protocol is told why.
    """
    return _Secured(context, True, factory)


def _identity(certificate: str, key: str) -> dict[str, Any]:
    """Return a certificate, its chain and its key as Twisted takes them."""
    first, *chain = _certificates(certificate)
    try:
        private = load_pem_private_key(_read(key), None)
    except TypeError:
        raise CannotSecure(f"{key}: encrypted; store the key without a password") from None
    except (ValueError, UnsupportedAlgorithm):
        raise CannotSecure(f"{key}: there is no private key in PEM in it") from None
    if private.public_key() != first.public_key():
        raise CannotSecure(f"{key}: not the private key of the certificate in {certificate}")
    return {
        "privateKey": PKey.from_cryptography_key(private),  # type: ignore[arg-type]
        "certificate": X509.from_cryptography(first),
        "extraCertChain": [X509.from_cryptography(each) for each in chain],
    }


def _certificates(path: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(_read(path))
    except ValueError:
        raise CannotSecure(f"{path}: there is no certificate in PEM in it") from None


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise CannotSecure(f"cannot read {path}: {error.strerror}") from None


def _trusting(known: list[x509.Certificate]) -> Any:
    """Return what believes whatever these have signed."""
    certificates = [Certificate(X509.from_cryptography(each)) for each in known]  # type: ignore[no-untyped-call]
    return trustRootFromCertificates(certificates)  # type: ignore[no-untyped-call]


def _try(options: CertificateOptions, certificate: str) -> Any:
    """Let OpenSSL see now what it would not take later: a key that is too short, for one."""
    try:
        return options.getContext()
    except OpenSSLError as error:
        reasons = error.args[0] if error.args else []
        said = "; ".join(reason for _, _, reason in reasons)
        raise CannotSecure(f"{certificate}: OpenSSL does not take it: {said}") from None
