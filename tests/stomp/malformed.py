"""Malformed and misplaced frames, and what each gets: data for the tests, for whoever has a socket, for docs.

Every error here is fatal: the broker sends an ERROR whose `message` holds `error`, and closes the link.
The limits are the default ones of `broker.stomp.Limits`.

- `MALFORMED`: bytes that make no sense on a connection of that version.
- `STRICT`: bytes that only a strict parser refuses; by default they are taken as ActiveMQ takes them.
- `MISPLACED`: well-formed frames that a client may not send once it is connected.
- `HANDSHAKES`: what is refused as the first frame of a link; `version` is empty, for none is agreed on.
"""

from typing import NamedTuple

from broker.stomp import Limits


class Malformed(NamedTuple):
    """`data` on a connection of `version` gets an ERROR whose message holds `error`."""

    name: str
    version: str
    data: bytes
    error: str


_LIMITS = Limits()
_ALL = ("1.0", "1.1", "1.2")
_ESCAPING = ("1.1", "1.2")

_COMMAND = "The maximum command length was exceeded"
_HEADER = "The maximum header length was exceeded"
_RECEIPT = "The header receipt is longer than 1000 bytes"
_HEADERS = "The maximum number of headers was exceeded"
_BODY = "The maximum data length was exceeded"
_NUL = "A NUL stands among the headers"
_UTF8 = "The headers are not valid UTF-8"
_NEGATIVE = "Specified content-length may not be negative"
_LENGTH = "Specified content-length is not a valid integer"
_END = "The frame's body does not end where content-length says"
_ESCAPE = "Undefined escape"
_COLON = "A header line has no colon"
_UNKNOWN = "Unknown STOMP action: "
_SERVERS = "received a frame that is only expected when configured for 'client' mode: "
_DUPLICATE = "duplicate CONNECT or STOMP frame"
_FIRST = "unexpected frame before CONNECT or STOMP frame: "
_VERSIONS = "Supported protocol versions are 1.0 1.1 1.2"
_HEART_BEAT = "Invalid heart-beat header:"


def _length(value: str) -> bytes:
    return f"SEND\ndestination:/queue/a\ncontent-length:{value}\n\nhello\0".encode()


_MALFORMED: list[tuple[str, tuple[str, ...], bytes, str]] = [
    # The end of the headers.
    ("no empty line after the headers", _ALL, b"SEND\ndestination:/queue/a\n\0", _NUL),
    ("no headers and no empty line", _ALL, b"DISCONNECT\n\0", _NUL),
    ("a NUL in the command", _ALL, b"SE\0ND\na:b\n\n\0", _NUL),
    ("a NUL in a header", _ALL, b"SEND\na:b\0c\n\nbody\0", _NUL),
    ("CR LF in 1.1", ("1.1",), b"SEND\r\ndestination:/queue/a\r\n\r\nhello\0", _NUL),
    # Text.
    ("a byte that is not UTF-8", _ALL, b"SEND\na:\xff\n\n\0", _UTF8),
    ("a name that is not UTF-8", _ALL, b"SEND\n\xc3:b\n\n\0", _UTF8),
    ("a command that is not UTF-8", _ALL, b"SEND\x80\na:b\n\n\0", _UTF8),
    ("a surrogate", _ALL, b"SEND\na:\xed\xa0\x80\n\n\0", _UTF8),
    ("an overlong NUL", _ALL, b"SEND\na:\xc0\x80\n\n\0", _UTF8),
    # content-length.
    ("content-length negative", _ALL, _length("-1"), _NEGATIVE),
    ("content-length minus zero", _ALL, _length("-0"), _NEGATIVE),
    ("content-length with a plus", _ALL, _length("+5"), _LENGTH),
    ("content-length empty", _ALL, _length(""), _LENGTH),
    ("content-length a word", _ALL, _length("five"), _LENGTH),
    ("content-length with a blank before it", _ESCAPING, _length(" 5"), _LENGTH),
    ("content-length with a blank after it", _ESCAPING, _length("5 "), _LENGTH),
    ("content-length with a blank in it", _ALL, _length("1 5"), _LENGTH),
    ("content-length with a CR in 1.1", ("1.1",), _length("5\r"), _LENGTH),
    ("content-length of Arabic digits", _ALL, _length("٥"), _LENGTH),
    ("content-length of a superscript", _ALL, _length("⁵"), _LENGTH),
    ("content-length in hexadecimal", _ALL, _length("0x5"), _LENGTH),
    ("content-length with underscores", _ALL, _length("1_0"), _LENGTH),
    ("content-length a fraction", _ALL, _length("5.0"), _LENGTH),
    ("content-length 1e9", _ALL, _length("1e9"), _LENGTH),
    ("content-length 2^31", _ALL, _length(str(2**31)), _BODY),
    ("content-length 2^63", _ALL, _length(str(2**63)), _BODY),
    ("content-length of ten thousand digits", _ALL, _length("9" * 10_000), _BODY),
    ("content-length above the limit", _ALL, _length(str(_LIMITS.body + 1)), _BODY),
    ("content-length too small", _ALL, _length("4"), _END),
    ("content-length too large", _ALL, _length("6") + b"\nACK\n", _END),
    ("content-length zero and a body", _ALL, _length("0"), _END),
    ("body without its NUL", _ALL, _length("5")[:-1] + b"\nSEND\n\n\0", _END),
    # Limits.
    ("command too long", _ALL, b"A" * (_LIMITS.command + 1) + b"\na:b\n\n\0", _COMMAND),
    ("command too long, of two-byte letters", _ALL, "é".encode() * 17 + b"\n\n\0", _COMMAND),
    ("command without an end", _ALL, b"A" * 1000, _COMMAND),
    ("HTTP", _ALL, b"GET /console/login?next=/admin/queues HTTP/1.1\r\n\r\n", _COMMAND),
    ("receipt too long", _ALL, b"SEND\nreceipt:" + b"r" * 1001 + b"\n\n\0", _RECEIPT),
    ("header line too long", _ALL, b"SEND\na:" + b"b" * _LIMITS.header_line + b"\n\n\0", _HEADER),
    ("header line without an end", _ALL, b"SEND\na:" + b"b" * _LIMITS.header_block, _HEADER),
    ("too many headers", _ALL, b"SEND\n" + b"a:b\n" * (_LIMITS.headers + 1) + b"\n\0", _HEADERS),
    (
        "headers too large together",
        _ALL,
        b"SEND\n" + (b"a:" + b"b" * 1021 + b"\n") * 256 + b"\n\0",
        _HEADER,
    ),
    ("headers without an end", _ALL, b"SEND\n" + b"a:b\n" * (_LIMITS.header_block // 4), _HEADER),
]

_STRICT: list[tuple[str, tuple[str, ...], bytes, str]] = [
    ("undefined escape", _ESCAPING, rb"SEND" b"\n" rb"a:C\ctemp\t" b"\n\n\0", _ESCAPE),
    ("undefined escape in a name", _ESCAPING, rb"SEND" b"\n" rb"a\x:b" b"\n\n\0", _ESCAPE),
    ("lone backslash at the end", _ESCAPING, b"SEND\na:b\\\n\n\0", _ESCAPE),
    ("escaped CR in 1.1", ("1.1",), rb"SEND" b"\n" rb"a:b\r" b"\n\n\0", _ESCAPE),
    ("header without a colon", _ALL, b"SEND\nprefetch=1\n\n\0", _COLON),
]

_MISPLACED: list[tuple[str, tuple[str, ...], bytes, str]] = [
    ("unknown command", _ALL, b"WHEE\n\n\0", _UNKNOWN + "WHEE"),
    ("command in lower case", _ALL, b"send\ndestination:/queue/a\n\n\0", _UNKNOWN + "send"),
    ("command with a blank", _ESCAPING, b"SEND \ndestination:/queue/a\n\n\0", _UNKNOWN + "SEND "),
    ("a server's MESSAGE", _ALL, b"MESSAGE\ndestination:/queue/a\n\n\0", _SERVERS + "MESSAGE"),
    ("a server's RECEIPT", _ALL, b"RECEIPT\nreceipt-id:1\n\n\0", _SERVERS + "RECEIPT"),
    ("a server's ERROR", _ALL, b"ERROR\nmessage:no\n\n\0", _SERVERS + "ERROR"),
    ("a server's CONNECTED", _ALL, b"CONNECTED\nversion:1.2\n\n\0", _SERVERS + "CONNECTED"),
    ("a second CONNECT", _ALL, b"CONNECT\naccept-version:1.2\n\n\0", _DUPLICATE),
    ("a second STOMP", _ALL, b"STOMP\naccept-version:1.2\n\n\0", _DUPLICATE),
]


def _connect(headers: str) -> bytes:
    return f"CONNECT\nhost:localhost\n{headers}\n\n\0".encode()


HANDSHAKES = [
    Malformed("SEND before CONNECT", "", b"SEND\ndestination:/queue/a\n\nx\0", _FIRST + "SEND"),
    Malformed("SUBSCRIBE before CONNECT", "", b"SUBSCRIBE\nid:1\n\n\0", _FIRST + "SUBSCRIBE"),
    Malformed("CONNECT in lower case", "", b"connect\n\n\0", _FIRST + "connect"),
    Malformed("only unknown versions", "", _connect("accept-version:1.3,2.0"), _VERSIONS),
    Malformed("no version at all", "", _connect("accept-version:"), _VERSIONS),
    *(
        Malformed(
            f"heart-beat:{value}",
            "",
            _connect(f"accept-version:1.1,1.2\nheart-beat:{value}"),
            _HEART_BEAT + value,
        )
        for value in (
            "",
            "0",
            "T,0",
            "0,T",
            "100,10,50",
            "-1,0",
            "0,-1",
            "1.5,0",
            "1e3,0",
            "٥,0",
            ",",
        )
    ),
    Malformed("a NUL among the headers", "", b"CONNECT\nhost:x\0\n\n", _NUL),
    Malformed("not UTF-8", "", b"CONNECT\nlogin:\xff\n\n\0", _UTF8),
    Malformed("negative content-length", "", _connect("content-length:-1"), _NEGATIVE),
    Malformed(
        "a TLS greeting", "", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 500, _NUL
    ),
    Malformed(
        "a browser", "", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n\0", _FIRST + "GET / HTTP/1.1"
    ),
]


def _rows(table: list[tuple[str, tuple[str, ...], bytes, str]]) -> list[Malformed]:
    return [
        Malformed(name, version, data, error)
        for name, versions, data, error in table
        for version in versions
    ]


MALFORMED = _rows(_MALFORMED)
STRICT = _rows(_STRICT)
MISPLACED = _rows(_MISPLACED)
