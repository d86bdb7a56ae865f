"""Where a broker listens, read from a URL: `stomp://[login:passcode@]host[:61613][/vhost]`.

Knows URLs and nothing else. A passcode never appears in an error message or a `repr`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import SplitResult, unquote, urlsplit

PORT = 61613  # the port registered by custom for STOMP
SHAPE = "stomp://[login:passcode@]host[:61613][/vhost]"


@dataclass(frozen=True, slots=True)
class Address:
    """A broker's address. `vhost` is what CONNECT names as `host`; None means the host itself."""

    host: str
    port: int = PORT
    login: str | None = None
    passcode: str | None = field(default=None, repr=False)
    vhost: str | None = None

    def __str__(self) -> str:
        """Return host and port, as a log line may show them."""
        return f"{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


def parse_address(url: str) -> Address:
    """Read a broker's URL. Login, passcode and vhost are percent-decoded.

    Raises `ValueError`, which says what is wrong and what would be right, for anything else.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:  # a port that is no number, an unfinished [::1]
        raise _wrong(str(error)) from None
    if parts.scheme != "stomp":
        raise _wrong(f"the scheme is {parts.scheme!r}" if parts.scheme else "there is no scheme")
    if not parts.hostname:
        raise _wrong("there is no host")
    if parts.query or parts.fragment or "/" in parts.path[1:]:
        raise _wrong("after the host there may only be a port and a virtual host")
    if port == 0:
        raise _wrong("port 0 is no port to connect to")
    return Address(
        host=parts.hostname,
        port=PORT if port is None else port,
        login=_decoded(parts.username),
        passcode=_decoded(parts.password),
        vhost=_vhost(parts),
    )


def _vhost(parts: SplitResult) -> str | None:
    return unquote(parts.path[1:]) or None


def _decoded(text: str | None) -> str | None:
    return None if text is None else unquote(text)


def _wrong(what: str) -> ValueError:
    return ValueError(f"The broker's URL is not understood: {what}. It reads {SHAPE}")
