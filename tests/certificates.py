"""Certificates for the tests of TLS: an authority, and what it signs, as PEM files. Small keys on a curve."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


class Authority:
    """Somebody who signs: a root, or one who was signed by another."""

    def __init__(self, directory: Path, name: str = "root", by: Authority | None = None) -> None:
        """Files go into `directory`."""
        self._directory = directory
        self._key = make_key()
        self._name = named(name)
        signer = by or self
        certificate = signer._sign(self._name, self._key, x509.BasicConstraints(True, None))
        self._chain: list[x509.Certificate] = [] if by is None else [certificate, *by._chain]
        self.path = str(directory / f"{name}.pem")
        Path(self.path).write_bytes(certificate.public_bytes(Encoding.PEM))

    def issue(
        self,
        name: str = "localhost",
        password: bytes = b"",
        directory: Path | None = None,
        *,
        subject: x509.Name | None = None,
        others: Sequence[x509.GeneralName] | None = None,
        is_rsa: bool = False,
    ) -> tuple[str, str]:
        """Return the paths of a certificate, with its chain, and of its key; they are called `name`.

        It is for the hosts `name`, localhost and 127.0.0.1; or about a `subject`, with `others` as its alternative names.
        """
        directory = directory or self._directory
        key = rsa.generate_private_key(65537, 2048) if is_rsa else make_key()
        address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        hosts = [x509.DNSName(name), x509.DNSName("localhost"), address]
        alternative = x509.SubjectAlternativeName(hosts if others is None else others)
        about = named(name) if subject is None else subject
        chain = [self._sign(about, key, alternative), *self._chain]
        certificate_path = directory / f"{name}.pem"
        certificate_path.write_bytes(b"".join(each.public_bytes(Encoding.PEM) for each in chain))
        hidden = BestAvailableEncryption(password) if password else NoEncryption()
        key_path = directory / f"{name}.key"
        key_path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, hidden))
        return str(certificate_path), str(key_path)

    def _sign(
        self,
        subject: x509.Name,
        key: Key,
        extension: x509.SubjectAlternativeName | x509.BasicConstraints,
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        made = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=1))
        )
        if isinstance(extension, x509.BasicConstraints) or [*extension]:
            made = made.add_extension(extension, isinstance(extension, x509.BasicConstraints))
        return made.sign(self._key, hashes.SHA256())


def make_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
