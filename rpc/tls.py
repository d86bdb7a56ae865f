"""TLS to a broker, for all faces: which files an address names, and what Python's `ssl` makes of them.

The files are read for each connection: one that is made after a certificate was renewed shows the new one. Whose host
name the broker's certificate must have is always checked, and there is no way to do without.

Python's `ssl` is imported by who needs it: most programs reach their broker on the same machine. Not here: how bytes
move over TLS, which is each face's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from rpc.address import WORDS, Address, Tls, parse_address

if TYPE_CHECKING:
    import ssl


def read_address(url: str) -> Address:
    """Read a broker's URL, and the files that it names. Raises `ValueError`, in one line, as `parse_address`."""
    address = parse_address(url)
    if address.tls is not None:
        import ssl

        context = client_context(address.tls)
        # A host that can be in no certificate, ".example" for one.
        context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname=address.host)
    return address


def client_context(tls: Tls) -> ssl.SSLContext:
    """Return what a connection demands and shows, with the files as they are now. Raises `ValueError` in one line."""
    import ssl

    certificate, key = tls.certificate, tls.key or tls.certificate
    # Looked at first, for OpenSSL's errors do not name a file.
    for word, name in zip(WORDS, (tls.authorities, certificate, key), strict=True):
        if name:
            _check(word, name)
    try:
        context = ssl.create_default_context(cafile=tls.authorities or None)
    except ssl.SSLError:
        raise ValueError(f"tls_authorities: no certificate in PEM in {tls.authorities}") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # A broker that asked for another handshake would let us wait in the middle of writing for what is read.
    context.options |= ssl.OP_NO_RENEGOTIATION
    if not certificate:
        return context

    def refuse() -> NoReturn:  # OpenSSL would ask whoever sits at the terminal
        raise ValueError(f"tls_key: {key} is encrypted; store the key without a password")

    try:
        context.load_cert_chain(certificate, key, refuse)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise ValueError(f"tls_key: {key} is not the key of {certificate}") from None
        raise ValueError(
            f"tls_certificate: no certificate in PEM in {certificate}, or no private key in {key}"
        ) from None
    return context


def _check(word: str, name: str) -> None:
    try:
        with open(name, "rb"):
            pass
    except OSError as error:
        raise ValueError(f"{word}: cannot read {name}: {error.strerror}") from None
