"""One STOMP frame, and how its header is written for each version of the protocol.

Two rules:

1. A header value never becomes a raw line break, the end of the frame or another header. 1.2 escapes CR
   and LF, 1.1 only LF, 1.0 nothing, none of them NUL: what a version cannot express is written as
   visible text (a backslash and a letter), never raw.
2. Escapes follow the connection that *receives*. A frame therefore holds plain values, and only
   `encode` knows versions. `Frame.plain` remembers that no value needs an escape in any version, so
   that the common case is written without looking again.

CONNECT and CONNECTED are never escaped (STOMP 1.2, "Value Encoding"): the version is not known yet.
"""

from __future__ import annotations

from collections.abc import Iterable

from broker.stomp.template import Template

VERSIONS = ("1.0", "1.1", "1.2")

CLIENT_COMMANDS = frozenset(
    (
        "CONNECT",
        "STOMP",
        "SEND",
        "SUBSCRIBE",
        "UNSUBSCRIBE",
        "ACK",
        "NACK",
        "BEGIN",
        "COMMIT",
        "ABORT",
        "DISCONNECT",
    )
)
SERVER_COMMANDS = frozenset(("CONNECTED", "MESSAGE", "RECEIPT", "ERROR"))
COMMANDS = CLIENT_COMMANDS | SERVER_COMMANDS

#: What must not appear raw in a name or value, by the version of the one who receives it.
ESCAPES = {
    # no escapes exist: visible text instead
    "1.0": str.maketrans({"\n": "\\n", "\r": "\\r", "\0": "\\0"}),
    "1.1": str.maketrans({"\\": "\\\\", "\n": "\\n", ":": "\\c", "\0": "\\\\0"}),
    "1.2": str.maketrans({"\\": "\\\\", "\n": "\\n", ":": "\\c", "\r": "\\r", "\0": "\\\\0"}),
}

#: The same for names: in 1.0 a colon is harmless in a value, but would end a name before its end.
NAME_ESCAPES = ESCAPES | {"1.0": ESCAPES["1.0"] | str.maketrans({":": "\\c"})}

#: Frames that are written as in 1.0, whatever was negotiated.
UNESCAPED = frozenset(("CONNECT", "CONNECTED", "STOMP"))


class Frame:
    """A command, its headers in order, and a body of bytes.

    `headers` holds plain text (escapes already undone), first occurrence of each name only (STOMP 1.2,
    "Repeated Header Entries"). A parser may hand the same dict to several frames with equal headers,
    so whoever wants to change it copies it first.
    """

    __slots__ = ("body", "command", "headers", "plain", "template", "values")

    def __init__(
        self,
        command: str,
        headers: dict[str, str] | None = None,
        body: bytes = b"",
        plain: bool = False,
        template: Template | None = None,
        values: tuple[bytes, ...] = (),
    ) -> None:
        self.command = command
        if template is None:  # else they are filled in for whoever asks, see __getattr__
            self.headers = {} if headers is None else headers
        self.body = body
        self.plain = plain  # True: no name or value needs an escape in any version
        # What the header block has in common with others, if it was read so, and what it has not.
        self.template = template
        self.values = values

    def __getattr__(self, name: str) -> dict[str, str]:
        """Fill in the headers of a frame that was read by a template; many are never asked for."""
        if name != "headers" or self.template is None:
            raise AttributeError(name)
        self.headers = self.template.fill(self.values)
        return self.headers

    def encode(self, version: str) -> bytes:
        """Return the frame's bytes as `version` writes them, NUL and one LF at the end.

        A body gets its `content-length` unless the headers bring one. The LF after the NUL is there
        because php-stomp loses frames that arrive together without it.
        """
        command = self.command
        lines = header_lines(
            self.headers.items(), "1.0" if command in UNESCAPED else version, self.plain
        )
        if self.body and "content-length" not in self.headers:
            lines += b"content-length:%d\n" % len(self.body)
        return b"%b\n%b\n%b\0\n" % (command.encode(), lines, self.body)

    def __repr__(self) -> str:
        headers = self.headers
        if "passcode" in headers:  # a frame may be shown anywhere, a passcode nowhere
            headers = headers | {"passcode": "…"}
        return f"Frame({self.command!r}, {headers!r}, {len(self.body)} bytes)"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Frame):
            return NotImplemented
        return (self.command, self.headers, self.body) == (
            other.command,
            other.headers,
            other.body,
        )

    __hash__ = None  # type: ignore[assignment]  # mutable


def header_lines(headers: Iterable[tuple[str, str]], version: str, plain: bool = False) -> bytes:
    """Return `name:value` lines in order, each ended by LF, escaped for `version`."""
    if plain:
        return "".join([f"{name}:{value}\n" for name, value in headers]).encode()
    names, values = NAME_ESCAPES[version], ESCAPES[version]
    return "".join(
        [f"{name.translate(names)}:{value.translate(values)}\n" for name, value in headers]
    ).encode()
