"""Well-formed frames: one table for both directions.

Each row says which bytes mean which frame in which versions. The parser's tests read it from left to
right in every way bytes can arrive; the encoder's tests read the rows that are written back exactly from
right to left. `wire` ends with the frame's NUL, the LF that `encode` adds is not part of it.
"""

from typing import NamedTuple

ALL = ("1.0", "1.1", "1.2")
ESCAPING = ("1.1", "1.2")


class Case(NamedTuple):
    """`wire` means `command`, `headers` in this order and `body`, in each of `versions`."""

    name: str
    versions: tuple[str, ...]
    wire: bytes
    command: str
    headers: list[tuple[str, str]]
    body: bytes = b""
    encodes: bool = True  # `encode` writes exactly `wire`


def _utf8(text: str) -> bytes:
    return text.encode()


CASES = [
    # What every client sends.
    Case("no headers", ALL, b"DISCONNECT\n\n\0", "DISCONNECT", []),
    Case("one header", ALL, b"ACK\nid:12\n\n\0", "ACK", [("id", "12")]),
    Case(
        "headers keep their order",
        ALL,
        b"ACK\nz:1\na:2\nm:3\n\n\0",
        "ACK",
        [("z", "1"), ("a", "2"), ("m", "3")],
    ),
    Case(
        "body with content-length",
        ALL,
        b"SEND\ndestination:/queue/a\ncontent-length:5\n\nhello\0",
        "SEND",
        [("destination", "/queue/a"), ("content-length", "5")],
        b"hello",
    ),
    Case(
        "body up to the first NUL",
        ALL,
        b"SEND\ndestination:/queue/a\n\nhello\0",
        "SEND",
        [("destination", "/queue/a")],
        b"hello",
        encodes=False,  # a length is written
    ),
    Case(
        "body of NULs",
        ALL,
        b"SEND\ncontent-length:4\n\n\0\0\0\0\0",
        "SEND",
        [("content-length", "4")],
        b"\0\0\0\0",
    ),
    Case(
        "body that looks like frames",
        ALL,
        b"SEND\ncontent-length:17\n\nACK\nid:1\n\n\0SEND\n\n\0",
        "SEND",
        [("content-length", "17")],
        b"ACK\nid:1\n\n\0SEND\n\n",
    ),
    Case(
        "body that is not UTF-8",
        ALL,
        b"SEND\ncontent-length:3\n\n\xff\xfe\x80\0",
        "SEND",
        [("content-length", "3")],
        b"\xff\xfe\x80",
    ),
    Case(
        "body that begins with LF",
        ALL,
        b"SEND\na:b\n\n\n\nx\0",
        "SEND",
        [("a", "b")],
        b"\n\nx",
        False,
    ),
    Case(
        "body that begins with CR LF",
        ALL,
        b"SEND\na:b\n\n\r\nx\0",
        "SEND",
        [("a", "b")],
        b"\r\nx",
        False,
    ),
    Case(
        "body with an empty line of CR LF",
        ALL,
        b"SEND\na:b\n\nx\n\r\ny\0",
        "SEND",
        [("a", "b")],
        b"x\n\r\ny",
        False,
    ),
    # content-length elsewhere (FR11; Ruby's client writes it on every frame).
    Case(
        "content-length:0 on a bodyless command",
        ALL,
        b"ACK\nid:1\ncontent-length:0\n\n\0",
        "ACK",
        [("id", "1"), ("content-length", "0")],
    ),
    Case(
        "a body on a bodyless command",
        ALL,
        b"ACK\nid:1\ncontent-length:2\n\nhi\0",
        "ACK",
        [("id", "1"), ("content-length", "2")],
        b"hi",
    ),
    Case(
        "content-length with leading zeros",
        ALL,
        b"SEND\ncontent-length:0000000002\n\nhi\0",
        "SEND",
        [("content-length", "0000000002")],
        b"hi",
    ),
    Case(
        "Content-Length is a header like any other",
        ALL,
        b"SEND\nContent-Length:1\n\nhello\0",
        "SEND",
        [("Content-Length", "1")],
        b"hello",
        False,
    ),
    Case(
        "of two content-lengths the first counts",
        ALL,
        b"SEND\ncontent-length:5\ncontent-length:1\n\nhello\0",
        "SEND",
        [("content-length", "5")],
        b"hello",
        False,
    ),
    # Names and values.
    Case("empty value", ALL, b"SEND\nfoo:\n\n\0", "SEND", [("foo", "")]),
    Case("empty name", ALL, b"SEND\n:foo\n\n\0", "SEND", [("", "foo")]),
    Case("empty name and value", ALL, b"SEND\n:\n\n\0", "SEND", [("", "")]),
    Case(
        "names are case-sensitive", ALL, b"SEND\nA:1\na:2\n\n\0", "SEND", [("A", "1"), ("a", "2")]
    ),
    Case(
        "the first of repeated headers wins",
        ALL,
        b"SEND\nfoo:1\nbar:x\nfoo:2\nfoo:3\n\n\0",
        "SEND",
        [("foo", "1"), ("bar", "x")],
        encodes=False,
    ),
    Case(
        "a line without a colon is a name",
        ALL,
        b"SEND\nprefetch=1\na:b\n\n\0",
        "SEND",
        [("prefetch=1", ""), ("a", "b")],
        encodes=False,
    ),
    Case(
        "the command holds a colon and a line none",
        ALL,
        b"S:D\nfoo\n\n\0",
        "S:D",
        [("foo", "")],
        encodes=False,
    ),
    Case("two-byte letters", ALL, _utf8("SEND\nnäme:wört\n\n\0"), "SEND", [("näme", "wört")]),
    Case("emoji", ALL, _utf8("SEND\n🐎:🥾🐾\n\n\0"), "SEND", [("🐎", "🥾🐾")]),
    Case(
        "line breaks of Unicode are letters",
        ALL,
        _utf8("SEND\na:x\u2028y\u0085z\x0b\x0c\x1c\n\n\0"),
        "SEND",
        [("a", "x\u2028y\u0085z\x0b\x0c\x1c")],
    ),
    Case(
        "a no-break space is no blank",
        ALL,
        _utf8("SEND\na:\u00a0x\u00a0\nb:c d\n\n\0"),
        "SEND",
        [("a", "\u00a0x\u00a0"), ("b", "c d")],
    ),
    Case("colon in a value, raw", ("1.0",), b"SEND\na:b:c:\n\n\0", "SEND", [("a", "b:c:")]),
    Case(
        "colon in a value, raw, is taken",
        ESCAPING,
        b"SEND\na:b:c:\n\n\0",
        "SEND",
        [("a", "b:c:")],
        encodes=False,
    ),
    # Escapes (ES1 to ES7).
    Case(
        "escapes in values",
        ESCAPING,
        rb"SEND" b"\n" rb"a:1\n2\c3\\4" b"\n\n\0",
        "SEND",
        [("a", "1\n2:3\\4")],
    ),
    Case(
        "escapes in names",
        ESCAPING,
        rb"SEND" b"\n" rb"\n\c\\:x" b"\n\n\0",
        "SEND",
        [("\n:\\", "x")],
    ),
    Case(
        "escapes side by side",
        ESCAPING,
        rb"SEND" b"\n" rb"a:\\n\\\n\\\\c" b"\n\n\0",
        "SEND",
        [("a", "\\n\\\n\\\\c")],
    ),
    Case("escaped CR", ("1.2",), rb"SEND" b"\n" rb"a:\rx\r" b"\n\n\0", "SEND", [("a", "\rx\r")]),
    Case(
        "escaped CR is undefined in 1.1 and literal",
        ("1.1",),
        rb"SEND" b"\n" rb"a:\rx" b"\n\n\0",
        "SEND",
        [("a", "\\rx")],
        encodes=False,
    ),
    Case(
        "undefined escapes are literal",
        ESCAPING,
        _utf8("SEND\na:C:\\temp\\x\\ä\\\n\\t:\\\\t\n\n\0"),
        "SEND",
        [("a", "C:\\temp\\x\\ä\\"), ("\\t", "\\t")],
        encodes=False,
    ),
    Case(
        "no escapes in 1.0",
        ("1.0",),
        rb"SEND" b"\n" rb"a:C:\temp\new\c\\" b"\n\n\0",
        "SEND",
        [("a", r"C:\temp\new\c" + "\\\\")],
    ),
    Case(
        "CONNECT is never escaped",
        ALL,
        rb"CONNECT" b"\n" rb"passcode:a\cb:c\\\n" b"\n\n\0",
        "CONNECT",
        [("passcode", r"a\cb:c\\\n")],
    ),
    Case(
        "CONNECTED is never escaped",
        ALL,
        rb"CONNECTED" b"\n" rb"session:a\cb:c" b"\n\n\0",
        "CONNECTED",
        [("session", r"a\cb:c")],
    ),
    Case(
        "STOMP is never escaped",
        ALL,
        rb"STOMP" b"\n" rb"passcode:a\cb:c" b"\n\n\0",
        "STOMP",
        [("passcode", r"a\cb:c")],
    ),
    # Blanks (FR15, FR16).
    Case(
        "blanks around values stay",
        ESCAPING,
        b"SEND\na: x \n b :\ty\t\n\n\0",
        "SEND",
        [("a", " x "), (" b ", "\ty\t")],
    ),
    Case(
        "1.0 trims the blanks around values, not around names",
        ("1.0",),
        b"SEND\na: x y \n b :\ty\t\n\n\0",
        "SEND",
        [("a", "x y"), (" b ", "y")],
        encodes=False,
    ),
    Case(
        "1.0 trims content-length",
        ("1.0",),
        b"SEND\ncontent-length: 5 \n\nhello\0",
        "SEND",
        [("content-length", "5")],
        b"hello",
        False,
    ),
    Case(
        "content-length between blanks is a header like any other",
        ALL,
        b"SEND\n content-length:1\ncontent-length :2\n\nhello\0",
        "SEND",
        [(" content-length", "1"), ("content-length ", "2")],
        b"hello",
        False,
    ),
    # CR (FR2, FR3).
    Case(
        "CR LF",
        ("1.0", "1.2"),
        b"SEND\r\na:b\r\ncontent-length:5\r\n\r\nhello\0",
        "SEND",
        [("a", "b"), ("content-length", "5")],
        b"hello",
        False,
    ),
    Case("CR LF without headers", ("1.0", "1.2"), b"SEND\r\n\r\n\0", "SEND", [], b"", False),
    Case(
        "CR LF and LF mixed",
        ("1.0", "1.2"),
        b"SEND\na:b\r\nc:d\n\r\n\0",
        "SEND",
        [("a", "b"), ("c", "d")],
        b"",
        False,
    ),
    Case(
        "CR LF, and an LF ends the headers",
        ("1.0", "1.2"),
        b"SEND\r\na:b\r\n\n\r\nx\0",
        "SEND",
        [("a", "b")],
        b"\r\nx",
        False,
    ),
    Case(
        "CR LF, and the body begins with LF",
        ("1.0", "1.2"),
        b"SEND\r\na:b\r\n\r\n\nfoo\0",
        "SEND",
        [("a", "b")],
        b"\nfoo",
        False,
    ),
    Case(
        "CR LF, content-length, and the body begins with LF",
        ("1.0", "1.2"),
        b"SEND\r\ncontent-length:4\r\n\r\n\nfoo\0",
        "SEND",
        [("content-length", "4")],
        b"\nfoo",
        False,
    ),
    Case(
        "only one CR belongs to the line's end",
        ("1.0", "1.2"),
        b"SEND\na:b\r\r\n\n\0",
        "SEND",
        [("a", "b\r")],
        b"",
        False,
    ),
    Case(
        "CR within a value",
        ("1.0", "1.2"),
        b"SEND\na:b\rc\n\n\0",
        "SEND",
        [("a", "b\rc")],
        b"",
        False,
    ),
    Case(
        "CR belongs to the line in 1.1",
        ("1.1",),
        b"SEND\na:b\r\nc\r:d\n\n\0",
        "SEND",
        [("a", "b\r"), ("c\r", "d")],
    ),
    Case(
        "a line of CR ends nothing in 1.1",
        ("1.1",),
        b"SEND\na:b\n\r\nc:d\n\nx\0",
        "SEND",
        [("a", "b"), ("\r", ""), ("c", "d")],
        b"x",
        False,
    ),
]

#: One row for each version a case holds in, with a name for the test report.
ROWS = [(f"{case.name} ({version})", version, case) for case in CASES for version in case.versions]
