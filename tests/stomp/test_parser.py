"""Bytes to frames: the case table in every way bytes can arrive, what is refused, and what floods cost."""

import tracemalloc
from collections.abc import Iterable, Iterator
from typing import SupportsIndex

import pytest

from broker.stomp import VERSIONS, Frame, FrameTooLarge, Limits, Parser, ProtocolError
from tests.stomp.cases import ROWS, Case
from tests.stomp.malformed import HANDSHAKES, MALFORMED, STRICT, Malformed

CHUNK = 64 * 1024  # what a transport hands over at most

rows = pytest.mark.parametrize(
    ("version", "case"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS]
)


def parser_of(version: str, limits: Limits | None = None, *, strict: bool = False) -> Parser:
    parser = Parser(limits, strict_escapes=strict, strict_lines=strict)
    parser.version = version
    return parser


def feed(parser: Parser, chunks: Iterable[bytes]) -> list[Frame]:
    return [frame for chunk in chunks for frame in parser.feed(chunk)]


def one_by_one(data: bytes) -> Iterator[bytes]:
    return (data[i : i + 1] for i in range(len(data)))


def pieces(data: bytes, size: int = CHUNK) -> Iterator[bytes]:
    return (data[i : i + size] for i in range(0, len(data), size))


def frame_of(case: Case) -> Frame:
    return Frame(case.command, dict(case.headers), case.body)


def assert_reads(parser: Parser, chunks: Iterable[bytes], *expected: Frame) -> None:
    frames = feed(parser, chunks)
    assert parser.error is None
    assert frames == list(expected)
    # A dict compares without order, and order is promised.
    assert [list(f.headers.items()) for f in frames] == [list(f.headers.items()) for f in expected]


# --- the case table -------------------------------------------------------------------------------


@rows
def test_whole(version: str, case: Case) -> None:
    parser = parser_of(version)
    assert_reads(parser, [case.wire], frame_of(case))
    assert not parser.unfinished


@rows
def test_byte_by_byte(version: str, case: Case) -> None:
    parser = parser_of(version)
    assert_reads(parser, one_by_one(case.wire), frame_of(case))
    assert not parser.unfinished


@rows
def test_split_at_every_position(version: str, case: Case) -> None:
    for at in range(len(case.wire) + 1):
        assert_reads(parser_of(version), [case.wire[:at], case.wire[at:]], frame_of(case))


@rows
def test_a_frame_is_given_out_with_its_last_byte(version: str, case: Case) -> None:
    parser = parser_of(version)
    assert parser.feed(case.wire[:-1]) == []
    assert parser.unfinished
    assert parser.feed(case.wire[-1:]) == [frame_of(case)]


@rows
def test_two_frames_and_what_may_stand_around_them(version: str, case: Case) -> None:
    """FR1, FR18, FR21: EOLs and NULs before, between and after frames, in one chunk or in many."""
    for between in (b"", b"\n", b"\n\n\n", b"\r\n\r\n", b"\0", b"\n\0\0\r\n"):
        data = between + case.wire + between + case.wire + between
        assert_reads(parser_of(version), [data], frame_of(case), frame_of(case))
        assert_reads(parser_of(version), one_by_one(data), frame_of(case), frame_of(case))


@rows
def test_the_beginning_of_the_next_frame_is_kept(version: str, case: Case) -> None:
    other = Frame("ACK", {"id": "7"})
    for at in range(1, len(b"ACK\nid:7\n\n\0")):
        parser = parser_of(version)
        assert_reads(parser, [case.wire + b"ACK\nid:7\n\n\0"[:at]], frame_of(case))
        assert parser.unfinished
        assert_reads(parser, [b"ACK\nid:7\n\n\0"[at:] + case.wire], other, frame_of(case))


@rows
def test_strict_takes_what_the_specification_allows(version: str, case: Case) -> None:
    """Whatever we write ourselves, a strict parser takes."""
    parser = parser_of(version, strict=True)
    assert_reads(
        parser,
        [Frame(case.command, dict(case.headers), case.body).encode(version)],
        *parser_of(version).feed(frame_of(case).encode(version)),
    )


@rows
def test_plain_is_said_only_of_headers_that_need_no_escape(version: str, case: Case) -> None:
    """A frame called plain is written for each version as if it had been looked at."""
    (frame,) = parser_of(version).feed(case.wire)
    for other in VERSIONS:
        looked_at = Frame(frame.command, frame.headers, frame.body)
        assert not frame.plain or frame.encode(other) == looked_at.encode(other)


def test_the_common_frame_is_plain() -> None:
    (frame,) = parser_of("1.2").feed(b"SEND\ndestination:/queue/a\n\nx\0")
    assert frame.plain


@pytest.mark.parametrize("version", VERSIONS)
def test_the_whole_table_in_one_stream(version: str) -> None:
    """The frames of a link do not colour each other, in chunks of any size."""
    cases = [case for _, of, case in ROWS if of == version]
    data = b"\n".join(case.wire for case in cases)
    for size in (1, 2, 3, 7, 64, len(data)):
        assert_reads(parser_of(version), pieces(data, size), *map(frame_of, cases))


# --- the handshake --------------------------------------------------------------------------------


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_the_first_frame_is_read_before_the_version_is_known(end: bytes) -> None:
    """FR19: CR LF is taken, nothing is unescaped; and what follows waits for the version."""
    connect = b"CONNECT" + end + rb"passcode:a\cb:c" + end + end + b"\0"
    follows = b"\nSEND\n" + rb"a:b\cc" + b"\n\n\0\nACK\n\n\0"
    for at in range(len(connect + follows) + 1):
        parser = Parser()
        frames = parser.feed((connect + follows)[:at])
        frames += parser.feed((connect + follows)[at:]) if not frames else []
        assert frames == [Frame("CONNECT", {"passcode": r"a\cb:c"})]
        parser.version = "1.2"
        rest = b"" if at < len(connect) else (connect + follows)[at:]
        assert parser.feed(rest) == [Frame("SEND", {"a": "b:c"}), Frame("ACK")]
        assert not parser.unfinished


def test_nothing_is_left_after_a_lone_connect() -> None:
    parser = Parser()
    assert parser.feed(b"CONNECT\n\n\0") == [Frame("CONNECT")]
    assert not parser.unfinished


def test_equal_headers_mean_something_else_in_another_version() -> None:
    parser = Parser()
    head = b"SEND\n" + rb"a: \c" + b"\n\n\0"
    assert parser.feed(head) == [Frame("SEND", {"a": r"\c"})]
    parser.version = "1.1"
    assert parser.feed(head) == [Frame("SEND", {"a": " :"})]
    parser.version = "1.0"
    assert parser.feed(head) == [Frame("SEND", {"a": r"\c"})]


HANDSHAKE_BYTES = [row for row in HANDSHAKES if not Parser().feed(row.data)]


@pytest.mark.parametrize("row", HANDSHAKE_BYTES, ids=[row.name for row in HANDSHAKE_BYTES])
def test_a_malformed_handshake(row: Malformed) -> None:
    for chunks in ([row.data], one_by_one(row.data)):
        parser = Parser()
        assert feed(parser, chunks) == []
        assert parser.error is not None
        assert row.error in parser.error.text


# --- malformed frames -----------------------------------------------------------------------------


def assert_refuses(parser: Parser, chunks: Iterable[bytes], row: Malformed) -> str:
    """Every refusal: documented, fatal, after the good frames before it, and final."""
    good = b"SEND\na:b\n\nx\0\n"
    assert parser.feed(good) == [Frame("SEND", {"a": "b"}, b"x")]
    assert feed(parser, chunks) == []
    assert parser.error is not None
    assert parser.error.fatal
    assert row.error in parser.error.text
    assert "\n" not in parser.error.text
    assert parser.feed(good) == []
    assert not parser.unfinished
    return f"{type(parser.error)} {parser.error.text} {parser.error.hint}"


@pytest.mark.parametrize("row", MALFORMED, ids=[f"{row.name} ({row.version})" for row in MALFORMED])
def test_malformed(row: Malformed) -> None:
    """The same error, whole and in pieces."""
    whole = assert_refuses(parser_of(row.version), [row.data], row)
    sizes = (1, 2, 3, 5, 17) if len(row.data) < 5000 else (1000, 4096)
    for size in sizes:
        assert assert_refuses(parser_of(row.version), pieces(row.data, size), row) == whole


@pytest.mark.parametrize(
    "row",
    [row for row in MALFORMED if len(row.data) < 1000],
    ids=[f"{row.name} ({row.version})" for row in MALFORMED if len(row.data) < 1000],
)
def test_malformed_split_at_every_position(row: Malformed) -> None:
    for at in range(len(row.data)):
        assert_refuses(parser_of(row.version), [row.data[:at], row.data[at:]], row)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_body_with_a_nul_needs_its_length(version: str) -> None:
    """FR8: without it the body ends at the first NUL, and what follows is no frame."""
    data = b"SEND\na:b\n\none\0two\0"
    for chunks in ([data], one_by_one(data)):
        parser = parser_of(version)
        assert feed(parser, chunks) == [Frame("SEND", {"a": "b"}, b"one")]
        assert parser.error is not None
        assert parser.error.text == "A NUL stands among the headers"


def test_good_frames_before_a_bad_one_in_the_same_chunk_are_kept() -> None:
    parser = parser_of("1.2")
    assert parser.feed(b"ACK\nid:1\n\n\0SEND\ncontent-length:-1\n\n\0ACK\nid:2\n\n\0") == [
        Frame("ACK", {"id": "1"})
    ]
    assert parser.error is not None


@pytest.mark.parametrize("row", STRICT, ids=[f"{row.name} ({row.version})" for row in STRICT])
def test_strict(row: Malformed) -> None:
    """Fatal when strict, taken by default."""
    assert_refuses(parser_of(row.version, strict=True), [row.data], row)
    assert_refuses(parser_of(row.version, strict=True), one_by_one(row.data), row)
    parser = parser_of(row.version)
    assert len(parser.feed(row.data)) == 1
    assert parser.error is None


@pytest.mark.parametrize("row", STRICT, ids=[f"{row.name} ({row.version})" for row in STRICT])
def test_strict_about_one_thing_is_not_strict_about_the_other(row: Malformed) -> None:
    """Escapes and lines without a colon are two questions."""
    about_lines = "colon" in row.error
    for lines in (False, True):
        parser = Parser(strict_escapes=not lines, strict_lines=lines)
        parser.version = row.version
        parser.feed(row.data)
        assert (parser.error is not None) == (lines == about_lines)


def test_a_refused_frame_is_not_remembered_as_the_last_header_block() -> None:
    """A block is remembered only once it was understood."""
    for data in (b"SEND\ncontent-length:x\n\n\0", b"SEND\na:\xff\n\n\0"):
        parser = parser_of("1.2")
        parser.feed(b"SEND\na:b\n\n\0" + data)
        assert parser.error is not None


def test_a_parser_that_was_told_to_forget_takes_no_more_bytes() -> None:
    parser = parser_of("1.2")
    parser.feed(b"SEND\na:b\n")
    parser.forget()
    assert not parser.unfinished
    assert parser.feed(b"\n\0") == []
    first = parser.error
    parser.forget()
    assert parser.error is first


def test_forgetting_does_not_hide_the_error_that_was() -> None:
    parser = parser_of("1.2")
    parser.feed(b"SEND\ncontent-length:-1\n\n")
    error = parser.error
    assert error is not None
    parser.forget()
    assert parser.error is error


# --- limits ---------------------------------------------------------------------------------------

SMALL = Limits(command=10, header_line=20, headers=3, header_block=50, body=100)

# What just fits, and what is one too many: (limit, data, the error's text)
BORDERS = [
    ("command", b"A" * 10 + b"\n\n\0", b"A" * 11 + b"\n\n\0", "command length"),
    (
        "command and header",
        b"A" * 10 + b"\na:b\n\n\0",
        b"A" * 11 + b"\na:b\n\n\0",
        "command length",
    ),
    (
        "line",
        b"SEND\na:" + b"b" * 18 + b"\n\n\0",
        b"SEND\na:" + b"b" * 19 + b"\n\n\0",
        "header length",
    ),
    ("headers", b"A\na:1\nb:1\nc:1\n\n\0", b"A\na:1\nb:1\nc:1\nd:1\n\n\0", "number of headers"),
    (
        "repeats",
        b"A\n" + b"a:1\n" * 3 + b"\n\0",
        b"A\n" + b"a:1\n" * 4 + b"\n\0",
        "number of headers",
    ),
    (
        "block",
        b"SEND\na:%b\nb:%b\nc:%b\n\n\0" % (b"x" * 18, b"x" * 17, b"xx"),
        b"SEND\na:%b\nb:%b\nc:%b\n\n\0" % (b"x" * 18, b"x" * 18, b"xx"),
        "header length",
    ),
    (
        "known body",
        b"SEND\ncontent-length:100\n\n" + b"x" * 100 + b"\0",
        b"SEND\ncontent-length:101\n\n" + b"x" * 101 + b"\0",
        "data length",
    ),
    (
        "unknown body",
        b"SEND\n\n" + b"x" * 100 + b"\0",
        b"SEND\n\n" + b"x" * 101 + b"\0",
        "data length",
    ),
]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("fits", "exceeds", "text"), [row[1:] for row in BORDERS], ids=[row[0] for row in BORDERS]
)
def test_limits_hold_to_the_byte(version: str, fits: bytes, exceeds: bytes, text: str) -> None:
    """FR17: the limit itself passes, one more does not, however the bytes come."""
    for size in (1, 2, 7, 1000):
        parser = parser_of(version, SMALL)
        assert len(feed(parser, pieces(fits + fits, size))) == 2
        parser = parser_of(version, SMALL)
        assert len(feed(parser, pieces(fits + exceeds, size))) == 1
        assert isinstance(parser.error, FrameTooLarge)
        assert parser.error.text == f"The maximum {text} was exceeded"


def test_a_small_limit_for_bodies_holds_for_the_most_ordinary_frame() -> None:
    """Strangers get small limits; their frames are read the same short way as everyone's."""
    for length, frames in ((99, 1), (100, 1), (101, 0), (1000, 0), (5000, 0)):
        parser = parser_of("1.2", Limits(body=100))
        data = b"SEND\na:b\ncontent-length:%d\n\n%b\0" % (length, b"x" * length)
        assert len(parser.feed(data)) == frames
        assert (parser.error is None) == bool(frames)


def test_narrower_limits_hold_at_once() -> None:
    """Also for the header block that came last."""
    parser = parser_of("1.2")
    data = b"SEND\ncontent-length:5\n\nhello\0"
    assert len(parser.feed(data)) == 1
    parser.limits = Limits(body=4)
    assert parser.feed(data) == []
    assert isinstance(parser.error, FrameTooLarge)


def test_a_block_of_cr_lf_lines_may_be_as_long_as_the_limit() -> None:
    head = b"SEND\r\na:%b\r\nb:%b\r\nc:xx" % (b"x" * 17, b"x" * 14)
    assert len(head + b"\r") == SMALL.header_block
    for size in (1, 2, 1000):
        parser = parser_of("1.2", SMALL)
        assert len(feed(parser, pieces(head + b"\r\n\r\nbody\0", size))) == 1


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"AAAAAAAAAAAA\0\n\n", "command length"),  # the command was too long before the NUL came
        (b"AAAAAAAA\0AAAAAA\n\n", "NUL"),
        (b"SEND\na:\xff\0\n\n", "NUL"),
        (b"SEND\n" + b"a:b\n" * 20 + b"\0", "header length"),
        (b"SEND\n" + b"a:b\n" * 20 + b"\n\0", "header length"),
        (b"SEND\n" + b"a:\xff\n" * 20 + b"\n\0", "header length"),
        (b"SEND\n" + b"a:b\n" * 5 + b"\0" + b"a:b\n" * 20, "NUL"),
        (b"A" * 11 + b"\n" + b"a:b\n" * 20 + b"\n\0", "header length"),
    ],
)
def test_of_several_faults_the_first_to_come_is_named(data: bytes, text: str) -> None:
    for size in (1, 2, 3, 10, 1000):
        parser = parser_of("1.2", SMALL)
        assert feed(parser, pieces(data, size)) == []
        assert parser.error is not None
        assert text in parser.error.text


# --- floods: memory -------------------------------------------------------------------------------


def peak_while_feeding(parser: Parser, chunks: Iterable[bytes]) -> int:
    """Return how many bytes feeding needed at most, the chunk itself not counted; frames are dropped."""
    tracemalloc.start()
    try:
        for chunk in chunks:
            tracemalloc.reset_peak()
            before, _ = tracemalloc.get_traced_memory()
            parser.feed(chunk)
            _, peak = tracemalloc.get_traced_memory()
            if parser.error is not None or peak - before > 1 << 28:
                break
        after, most = tracemalloc.get_traced_memory()
        return max(after, most)
    finally:
        tracemalloc.stop()


FLOODS = [
    # what comes in chunks of 64 KB, how many of them at most, the error that ends it, memory in bytes
    ("LFs", b"\n" * CHUNK, 3, "", 1 << 14),
    ("CR LFs", b"\r\n" * (CHUNK // 2), 3, "", 1 << 14),
    ("NULs", b"\0" * CHUNK, 3, "", 1 << 14),
    ("a command", b"A" * CHUNK, 160, "command length", 4 * CHUNK),
    ("a header line of 10 MB", b"A\na:" + b"b" * (CHUNK - 4), 160, "header length", 1 << 21),
    ("headers", b"A\n" + b"a:b\n" * (CHUNK // 4), 160, "header length", 1 << 21),
]


@pytest.mark.parametrize(
    ("chunk", "times", "text", "memory"),
    [row[1:] for row in FLOODS],
    ids=[row[0] for row in FLOODS],
)
def test_floods_cost_no_memory(chunk: bytes, times: int, text: str, memory: int) -> None:
    """Between frames nothing is kept; within one, a few times the limit at most, until it is refused."""
    parser = parser_of("1.2")
    chunks = [chunk] + [chunk[4:] + chunk[-4:]] * (times - 1)
    assert peak_while_feeding(parser, chunks) < memory
    assert (text in parser.error.text) if parser.error is not None else not text
    assert not parser.unfinished


@pytest.mark.parametrize("between", [b"\n", b"\r\n", b"\0"])
def test_a_million_between_two_frames_are_skipped(between: bytes) -> None:
    parser = parser_of("1.2")
    frame = b"ACK\nid:1\n\n\0"
    assert len(feed(parser, pieces(frame + between * 1_000_000 + frame))) == 2
    assert parser.error is None


@pytest.mark.parametrize("head", [b"SEND\n\n", b"SEND\ncontent-length:1000000\n\n"])
def test_a_body_without_an_end_costs_its_limit(head: bytes) -> None:
    """Memory grows with what arrives, not with what content-length promises, and ends at the limit."""
    limits = Limits(body=1_000_000)
    parser = parser_of("1.2", limits)
    assert peak_while_feeding(parser, [head + b"x" * 10]) < 1 << 14
    assert peak_while_feeding(parser, [b"x" * CHUNK] * 100) < 4 * limits.body
    assert parser.error is not None
    assert not parser.unfinished


def test_ten_thousand_headers_are_refused() -> None:
    parser = parser_of("1.2")
    data = b"SEND\n" + b"".join(b"h%d:%d\n" % (i, i) for i in range(10_000)) + b"\n\0"
    assert feed(parser, pieces(data)) == []
    assert isinstance(parser.error, FrameTooLarge)
    assert "number of headers" in parser.error.text


def test_a_long_body_in_the_middle_of_small_frames() -> None:
    body = bytes(range(256)) * 4096  # 1 MB with every octet
    small = b"ACK\nid:1\n\n\0\n"
    data = small + b"SEND\ncontent-length:%d\n\n%b\0\n" % (len(body), body) + small
    frames = feed(parser_of("1.2"), pieces(data))
    assert [frame.command for frame in frames] == ["ACK", "SEND", "ACK"]
    assert frames[1].body == body


# --- floods: work ---------------------------------------------------------------------------------
# Time is not measured but counted: how many octets the parser looks at, in all its searches and looks.
# That is the same on every machine. Linear means: a small multiple of what came in.


class Work:
    """How many octets were looked at."""

    def __init__(self) -> None:
        self.octets = 0


class CountedBytes(bytes):
    """A chunk that counts what is searched in it."""

    work: Work

    def find(  # type: ignore[override]  # only as the parser calls it
        self, sub: bytes, start: SupportsIndex = 0, end: SupportsIndex | None = None
    ) -> int:
        until = len(self) if end is None else min(int(end), len(self))
        found = super().find(sub, start, until)
        self.work.octets += (found if found >= 0 else until) - int(start) + 1
        return found


class CountedBuffer(bytearray):
    """An unfinished frame that counts what is searched in it."""

    work: Work

    def find(  # type: ignore[override]  # only as the parser calls it
        self, sub: bytes, start: SupportsIndex = 0, end: SupportsIndex | None = None
    ) -> int:
        until = len(self) if end is None else int(end)
        found = super().find(sub, start, until)
        self.work.octets += (found if found >= 0 else until) - int(start) + 1
        return found


class CountingParser(Parser):
    """A parser that counts what it looks at: chunks taken up again as a whole, and searches."""

    def __init__(self, limits: Limits | None = None) -> None:
        super().__init__(limits)
        self.work = Work()
        self._rest = CountedBuffer()
        self._rest.work = self.work

    def _frames(self, data: bytes) -> list[Frame]:
        self.work.octets += len(data)
        counted = CountedBytes(data)
        counted.work = self.work
        return super()._frames(counted)


def work_of(version: str, chunks: Iterable[bytes], limits: Limits | None = None) -> int:
    parser = CountingParser(limits)
    parser.version = version
    feed(parser, chunks)
    return parser.work.octets


WIDE = Limits(header_line=1 << 20, header_block=1 << 20, headers=1 << 20)

TIMES = 25  # a linear parser needs about 15 looks an octet when they come one by one

STREAMS = [
    ("LFs", b"\n" * 6_000),
    ("one header", b"SEND\na:" + b"b" * 6_000 + b"\n\n\0"),
    ("headers", b"SEND\n" + b"a:b\n" * 1_500 + b"\n\0"),
    ("CR LF headers", b"SEND\r\n" + b"a:b\r\n" * 1_200 + b"\r\n\0"),
    ("a header without an end", b"SEND\na:" + b"b" * 6_000),
    ("CRs", b"SEND\na:" + b"\r" * 6_000),
    ("lines of CR, which end nothing in 1.1", b"SEND\n" + b"\r\n" * 3_000),
    ("a body of known length", b"SEND\ncontent-length:6000\n\n" + b"x" * 6_000 + b"\0"),
    ("a body of unknown length", b"SEND\n\n" + b"x" * 6_000 + b"\0"),
    ("a body of empty lines", b"SEND\n\n" + b"\n\r\n\n" * 1_500 + b"\0"),
    ("a body of NULs", b"SEND\ncontent-length:6000\n\n" + b"\0" * 6_001),
    ("small frames", b"A\n\n\0" * 1_500),
    ("small frames of CR LF", b"A\r\n\r\n\0" * 1_000),
    ("small frames, one CR at their end", b"A\n\n\0" * 1_500 + b"\r"),
    ("small frames of CR LF, one LF LF at their end", b"A\r\n\r\n\0" * 1_000 + b"A\n\n\0"),
    ("small frames of both kinds", b"A\n\n\0B\r\n\r\n\0" * 600),
]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("data", [row[1] for row in STREAMS], ids=[row[0] for row in STREAMS])
def test_work_is_linear(version: str, data: bytes) -> None:
    """No stream, in pieces of any size, is looked at more than a few times over."""
    for size in (1, 3, 1000, 1 << 20):
        assert work_of(version, pieces(data, size), WIDE) < TIMES * len(data)


@pytest.mark.parametrize(
    "data",
    [
        b"SEND\na:" + b"b" * 65_500 + b"\n\n\0",
        b"SEND\n" + b"a:b\n" * 990 + b"a:" + b"b" * 60_000 + b"\n\n\0",
        b"SEND\n\n" + b"x" * 1_000_000 + b"\0",
    ],
    ids=["64 KB of one header", "64 KB of a thousand headers", "1 MB of body"],
)
def test_large_frames_byte_by_byte(data: bytes) -> None:
    """The same for the largest that the default limits are likely to let through."""
    parser = CountingParser()
    parser.version = "1.2"
    assert len(feed(parser, one_by_one(data))) == 1
    assert parser.work.octets < TIMES * len(data)


def test_the_count_would_show_a_parser_that_starts_again_each_time() -> None:
    """The measure can fail: a parser that looks at everything again for every chunk is found out."""

    class Forgetful(CountingParser):
        def _may_be_complete(self) -> bool:
            return True

    parser = Forgetful(WIDE)
    parser.version = "1.2"
    data = b"SEND\na:" + b"b" * 2_000
    feed(parser, one_by_one(data))
    assert parser.work.octets > 500 * len(data)


def test_limits_may_be_widened_once_the_client_is_known() -> None:
    """A stranger's frames are small; what waits behind CONNECT is read by the new limits."""
    parser = Parser(Limits(header_line=30, header_block=60, body=0))
    send = b"SEND\na:" + b"b" * 100 + b"\n\nbody\0"
    assert parser.feed(b"CONNECT\n\n\0" + send) == [Frame("CONNECT")]
    parser.version = "1.2"
    parser.limits = Limits()
    assert parser.feed(b"") == [Frame("SEND", {"a": "b" * 100}, b"body")]
    parser.limits = SMALL
    assert parser.feed(send.replace(b"a:", b"c:")) == []
    assert parser.error is not None
    assert "header length" in parser.error.text


def test_errors_are_of_the_documented_family() -> None:
    assert issubclass(FrameTooLarge, ProtocolError)
    assert ProtocolError.fatal
