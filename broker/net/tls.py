"""TLS contexts and factories from PEM files: for listeners, and for links that the broker dials itself.

OpenSSL is imported here and nowhere else, and this module only by who needs it: a broker without TLS does
not wait for it at the start. What is sane (TLS 1.2 at least, which ciphers) is Twisted's to say.

Not here: how STOMP goes over it, see `broker.net.secure`; which files, see `broker.options`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL.crypto import X509, PKey
from OpenSSL.SSL import Error as OpenSSLError
from twisted.internet.interfaces import (
    IOpenSSLClientConnectionCreator,
    IOpenSSLServerConnectionCreator,
    IProtocolFactory,
)
from twisted.internet.ssl import (
    Certificate,
    CertificateOptions,
    optionsForClientTLS,
    trustRootFromCertificates,
)
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol


class CannotSecure(Exception):
    """There is no TLS with these files, in one line that names the file."""


class _Secured(TLSMemoryBIOFactory):
    """Twisted's, but writes are not held back to be joined: a turn's answers come as one write anyway."""

    protocol = TLSMemoryBIOProtocol


def server_context(certificate: str, key: str) -> IOpenSSLServerConnectionCreator:
    """Return what a listener shows its clients.

    `certificate` is the path of a PEM file with the listener's certificate and, behind it, those between it
    and the authority that the clients know; `key` that of its private key, which is not encrypted. Raises
    `CannotSecure`.
    """
    options = CertificateOptions(**_identity(certificate, key))
    _try(options, certificate)
    return options


def client_context(
    host: str, authorities: str = "", certificate: str = "", key: str = ""
) -> IOpenSSLClientConnectionCreator:
    """Return what a link to `host` demands: a certificate of that name or IP address, always.

    `authorities` is the path of a PEM file with the certificates that are believed; empty: those that the
    system believes. `certificate` and `key` are shown to a server that asks for them. Raises `CannotSecure`.
    """
    identity = _identity(certificate, key) if certificate else {}
    trusted = None
    if authorities:
        known = [
            Certificate(X509.from_cryptography(each))  # type: ignore[no-untyped-call]
            for each in _certificates(authorities)
        ]
        trusted = trustRootFromCertificates(known)  # type: ignore[no-untyped-call]
    _try(CertificateOptions(**identity), certificate)
    return optionsForClientTLS(host, trusted, extraCertificateOptions=identity)


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


def _try(options: CertificateOptions, certificate: str) -> None:
    """Let OpenSSL see now what it would not take later: a key that is too short, for one."""
    try:
        options.getContext()
    except OpenSSLError as error:
        reasons = error.args[0] if error.args else []
        said = "; ".join(reason for _, _, reason in reasons)
        raise CannotSecure(f"{certificate}: OpenSSL does not take it: {said}") from None
