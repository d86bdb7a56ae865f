"""Where a broker listens, read from a URL: `stomp://[login:passcode@]host[:61613][/vhost]`, or `stomp+ssl://`.

Knows URLs and nothing else: what lies in the files that one names is `rpc.tls`'s to know. A passcode never appears in
an error message or a `repr`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import SplitResult, unquote, urlsplit

PORT = 61613  # the port registered by custom for STOMP
SHAPE = "stomp://[login:passcode@]host[:61613][/vhost]"
WORDS = ("tls_authorities", "tls_certificate", "tls_key")  # as of a peer, in the broker's settings
SECURE_SHAPE = f"stomp+ssl://… with [?{'&'.join(f'{word}=FILE' for word in WORDS)}]"


@dataclass(frozen=True, slots=True)
class Tls:
    """The PEM files of a connection over TLS; an empty name is none."""

    authorities: str = ""  # who signs the broker's certificate; none: whom the system trusts
    certificate: str = ""  # shown to a broker that asks for one; with its chain
    key: str = ""  # of that certificate; none: it is in the same file


@dataclass(frozen=True, slots=True)
class Address:
    """A broker's address. `vhost` is what CONNECT names as `host`; None means the host itself."""

    host: str
    port: int = PORT
    login: str | None = None
    passcode: str | None = field(default=None, repr=False)
    vhost: str | None = None
    tls: Tls | None = None  # None: nothing is encrypted

    def __str__(self) -> str:
        """Return host and port, as a log line may show them."""
        return f"{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


def parse_address(url: str) -> Address:
    """Read a broker's URL. Login, passcode, vhost and names of files are percent-decoded.

    Raises `ValueError`, which says what is wrong and what would be right, for anything else. Looks at no file:
    `rpc.tls.read_address` does.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:  # a port that is no number, an unfinished [::1]
        raise _wrong(str(error)) from None
    if parts.scheme not in ("stomp", "stomp+ssl"):
        raise _wrong(f"the scheme is {parts.scheme!r}" if parts.scheme else "there is no scheme")
    if not parts.hostname:
        raise _wrong("there is no host")
    if parts.fragment or "/" in parts.path[1:]:
        raise _wrong("after the host there may only be a port and a virtual host")
    if parts.query and parts.scheme == "stomp":
        raise _wrong("there is a query, which only stomp+ssl:// has")
    if port == 0:
        raise _wrong("port 0 is no port to connect to")
    return Address(
        host=parts.hostname,
        port=PORT if port is None else port,
        login=_decoded(parts.username),
        passcode=_decoded(parts.password),
        vhost=_vhost(parts),
        tls=_tls(parts.query) if parts.scheme == "stomp+ssl" else None,
    )


def _vhost(parts: SplitResult) -> str | None:
    return unquote(parts.path[1:]) or None


def _tls(query: str) -> Tls:
    files: dict[str, str] = {}
    for pair in query.split("&") if query else ():
        word, _, file = pair.partition("=")  # a name of a file may have a +: not parse_qsl
        if word not in WORDS:
            raise _wrong(f"there is no {word!r} in a query")
        if word in files:
            raise _wrong(f"there are two of {word}")
        if not file:
            raise _wrong(f"{word} names no file")
        files[word] = unquote(file)
    if "tls_key" in files and "tls_certificate" not in files:
        raise _wrong("there is a tls_key without its tls_certificate")
    return Tls(*(files.get(word, "") for word in WORDS))


def _decoded(text: str | None) -> str | None:
    return None if text is None else unquote(text)


def _wrong(what: str) -> ValueError:
    return ValueError(
        f"The broker's URL is not understood: {what}. It reads {SHAPE}, or {SECURE_SHAPE}"
    )
