"""Any bytes in: frames or a documented error, nothing else, and the same however they were split.

The bytes are built from the pieces that mean something to the parser, so that most examples get deep; the
limits are small, so that they are met. `make fuzz` runs the same with many more examples.
"""

from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st

from broker.stomp import (
    VERSIONS,
    ClientSession,
    Frame,
    FrameTooLarge,
    HandshakeError,
    Limits,
    Parser,
    ProtocolError,
    ServerSession,
)
from broker.stomp.frame import header_lines

SMALL = Limits(command=12, header_line=24, headers=4, header_block=60, body=40)
SMALL_BODY = Limits(body=10)  # for the headers that are read the short way

PIECES = [
    *(b"\n", b"\n\n", b"\r\n", b"\r\n\r\n", b"\r", b"\0", b"\0\n", b"\n\n\0", b":", b" ", b"\t"),
    *(
        b"\\",
        b"\\n",
        b"\\c",
        b"\\r",
        b"\\\\",
        b"\\t",
        "ä".encode(),
        "🐎".encode(),
        b"\xff",
        b"\xc3",
    ),
    *(b"SEND\n", b"ACK\r\n", b"CONNECT\n", b"CONNECTED\n", b"MESSAGE", b"S:D\nx", b"A" * 16),
    *(b"a:b\n", b"a: b \n", b"a:b:c\n", b"a:" + b"b" * 23, b"x\n", b"h:1\n" * 5),
    *(
        b"content-length:",
        b"content-length:3\n\nabc\0",
        b"content-length:0\n",
        b"content-length:-1\n",
    ),
    *(
        b"0",
        b"3",
        b"12",
        b"99999999999",
        "٣".encode(),
        b"x" * 41,
        b"y" * 10,
        b"SEND\na:b\n\nbody\0",
    ),
]

streams = st.lists(st.sampled_from(PIECES) | st.binary(max_size=4), max_size=30).map(b"".join)
cuts = st.lists(st.integers(0, 400), max_size=8)
versions = st.sampled_from(VERSIONS)

# Everything that UTF-8 can carry.
anything = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
header_text = text | st.text("\\:\r\n tcnr", max_size=8)
commands = st.sampled_from(["SEND", "MESSAGE", "ACK", "ERROR", "SUBSCRIBE"])
bodies = st.binary(max_size=40) | st.sampled_from([b"\n", b"\r\n\r\n", b"\0", b"\0\n\nSEND\n\n\0"])

# What was read: every frame with its headers in order, then the error.
Reading = tuple[list[tuple[str, list[tuple[str, str]], bytes, bool]], tuple[type, str, str] | None]


def read(chunks: list[bytes], version: str | None, limits: Limits | None, strict: bool) -> Reading:
    """Feed the chunks as a connection does; with `version` None the first frame sets it to 1.2."""
    parser = Parser(limits, strict_escapes=strict, strict_lines=strict)
    parser.version = version
    frames: list[Frame] = []
    for chunk in chunks:
        got = parser.feed(chunk)
        if got and parser.version is None:
            parser.version = "1.2"
            got += parser.feed(b"")
        frames += got
    error = parser.error
    return (
        [(f.command, list(f.headers.items()), f.body, f.plain) for f in frames],
        None if error is None else (type(error), error.text, error.hint),
    )


def split(data: bytes, at: list[int]) -> list[bytes]:
    edges = [0, *sorted(min(cut, len(data)) for cut in at), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


@given(
    data=streams,
    at=cuts,
    version=st.none() | versions,
    limits=st.sampled_from([SMALL, SMALL_BODY, None]),
    strict=st.booleans(),
)
@example(b"SEND\r\na:b\r\n\r\n\nx\0", [14], "1.2", None, False)
@example(b"SUBSCRIBE\nid:1\n\0", [10], "1.2", None, False)
@example(b"SEND\ncontent-length:12\n\nhello, hello\0", [30], "1.2", SMALL_BODY, False)
@example(b"A" * 13 + b"\n\n\0", [13], "1.2", SMALL, False)
def test_any_bytes_any_split(
    data: bytes, at: list[int], version: str | None, limits: Limits | None, strict: bool
) -> None:
    whole = read([data], version, limits, strict)
    assert whole[1] is None or whole[1][0] in (ProtocolError, FrameTooLarge)
    assert read(split(data, at), version, limits, strict) == whole
    assert read([data[i : i + 1] for i in range(len(data))], version, limits, strict) == whole


@given(data=streams, version=versions, strict=st.booleans())
def test_what_is_kept_stays_below_the_limits(data: bytes, version: str, strict: bool) -> None:
    parser = Parser(SMALL, strict_escapes=strict, strict_lines=strict)
    parser.version = version
    for i in range(len(data)):
        parser.feed(data[i : i + 1])
        assert len(parser._rest) <= SMALL.header_block + 2 + SMALL.body + 1
    parser.forget()
    assert not parser.unfinished


@given(data=streams, version=versions)
@example(b"SEND\n content-length:3\n\nlonger\0", "1.1")
def test_what_was_read_can_be_written_and_read_again(data: bytes, version: str) -> None:
    """Whatever comes in on one version goes out on every other as one frame with the same body."""
    parser = Parser()
    parser.version = version
    for frame in parser.feed(data):
        for other in VERSIONS:
            again = Parser(strict_escapes=True, strict_lines=True)
            again.version = other
            (written,) = again.feed(frame.encode(other))
            assert again.error is None
            assert not again.unfinished
            assert written.body == frame.body
            if other == "1.2" and frame.command not in ("CONNECT", "CONNECTED", "STOMP"):
                headers = list(frame.headers.items())
                assert list(written.headers.items())[: len(headers)] == headers


def assert_round_trip(version: str, frame: Frame) -> None:
    data = frame.encode(version)
    expected = list(frame.headers.items())
    if frame.body:
        expected.append(("content-length", str(len(frame.body))))
    for strict in (False, True):
        for chunks in ([data], [data[i : i + 1] for i in range(len(data))]):
            (frames, error) = read(chunks, version, None, strict)
            assert error is None
            ((command, headers, body, plain),) = frames
            assert (command, headers, body) == (frame.command, expected, frame.body)
            assert not plain or frame.encode(version) == Frame(
                command, frame.headers, body, plain
            ).encode(version)


@given(
    version=st.sampled_from(["1.1", "1.2"]),
    command=commands,
    headers=st.dictionaries(header_text, header_text, max_size=6),
    body=bodies,
)
def test_round_trip_of_any_text(
    version: str, command: str, headers: dict[str, str], body: bytes
) -> None:
    """1.1 and 1.2 can express every name and value without NUL: exactly, and in order."""
    headers.pop("content-length", None)
    assert_round_trip(version, Frame(command, headers, body))


@given(
    command=commands,
    headers=st.dictionaries(
        header_text.map(lambda name: "".join(c for c in name if c not in "\r\n:")),
        header_text.map(lambda value: "".join(c for c in value if c not in "\r\n").strip(" \t")),
        max_size=6,
    ),
    body=bodies,
)
def test_round_trip_of_what_1_0_can_express(
    command: str, headers: dict[str, str], body: bytes
) -> None:
    """1.0: no line breaks, no blanks around a value, no colon in a name; backslashes are letters."""
    headers.pop("content-length", None)
    assert_round_trip("1.0", Frame(command, headers, body))


@given(
    version=versions,
    command=commands | st.sampled_from(["CONNECT", "CONNECTED", "STOMP"]),
    headers=st.lists(st.tuples(anything | header_text, anything | header_text), max_size=6),
)
def test_a_header_is_one_line_whatever_it_holds(
    version: str, command: str, headers: list[tuple[str, str]]
) -> None:
    """ES8: no header becomes another header, a body, or the end of its frame."""
    lines = header_lines(headers, version).split(b"\n")
    assert len(lines) == len(headers) + 1
    assert lines.pop() == b""
    assert all(b":" in line and b"\0" not in line for line in lines)
    assert version == "1.1" or not any(b"\r" in line for line in lines)
    data = Frame(command, dict(headers)).encode(version)
    assert data.startswith(command.encode() + b"\n")
    assert data.endswith(b"\n\n\0\n")
    assert data.count(b"\n") == len(dict(headers)) + 3
    assert data.count(b"\0") == 1


@given(
    version=st.none() | header_text | st.lists(versions, max_size=3).map(",".join),
    heart_beat=st.none()
    | header_text
    | st.tuples(st.integers(-1, 10**11), st.integers(-1, 10**11)).map(
        lambda pair: f"{pair[0]},{pair[1]}"
    ),
    offer=st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)),
)
def test_any_handshake_is_agreed_or_refused(
    version: str | None, heart_beat: str | None, offer: tuple[int, int]
) -> None:
    headers = {"accept-version": version, "heart-beat": heart_beat}
    frame = Frame("CONNECT", {name: value for name, value in headers.items() if value is not None})
    server, client = ServerSession(), ClientSession(offer)
    try:
        answer = server.accept(frame)
    except HandshakeError:
        assert server.version is None
        return
    assert server.version in VERSIONS
    assert (server.next_check() is None) == (not server.send_every and not server.expect_every)
    client.accept(Frame("CONNECTED", answer))
    assert client.version == server.version
