"""Templates change how fast a header block is read, never what it means."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from broker.stomp import Frame, Limits, Parser
from broker.stomp.template import ATTEMPTS, PATIENCE

NAMES = ("destination", "receipt", "correlation-id", "content-length", "a%b", "é")
VALUES = st.sampled_from(
    ["", "1", "2", "/queue/a", "x-1", "a b", " a", "a\\cb", "a:b", "%d", "%", "\\", "é", "x" * 1100]
)
FORMS = st.lists(st.sampled_from(NAMES[:3] + NAMES[4:]), min_size=1, max_size=5)


@st.composite
def conversations(draw: st.DrawFn) -> list[bytes]:
    """Many blocks of a few forms, as clients write them: most values repeat, some differ."""
    forms = draw(st.lists(FORMS, min_size=1, max_size=2))
    common = {name: draw(VALUES) for name in NAMES}
    varying = draw(st.sets(st.sampled_from(NAMES), max_size=3))
    frames = []
    for number in range(draw(st.integers(PATIENCE * 2, PATIENCE * (ATTEMPTS + 2)))):
        body = b"x" * (number % 3)
        lines = [draw(st.sampled_from(["SEND", "ACK"])) if number % 7 == 6 else "SEND"]
        for name in forms[number % len(forms)]:
            value = common[name]
            if name in varying:
                value = draw(VALUES) if number % 5 == 4 else str(number)
            lines.append(f"{name}:{value}")
        if "content-length" in varying:
            lines.append(f"content-length:{len(body)}")
        frames.append("\n".join(lines).encode() + b"\n\n" + body + b"\0\n")
    return frames


def parser_of(version: str) -> Parser:
    parser = Parser(Limits(receipt=2000))
    parser.version = version
    return parser


def told(frame: Frame) -> tuple[object, ...]:
    """Everything a frame says, the order of its headers included."""
    return frame.command, list(frame.headers.items()), frame.body, frame.plain


@given(conversations(), st.sampled_from(["1.0", "1.1", "1.2"]), st.integers(1, 400))
def test_a_long_link_reads_what_a_new_one_reads(
    frames: list[bytes], version: str, size: int
) -> None:
    """However much a parser has learned, and however the bytes are cut, frames mean the same."""
    fresh = [told(parser_of(version).feed(data)[0]) for data in frames]
    whole = parser_of(version)
    assert [told(frame) for frame in whole.feed(b"".join(frames))] == fresh
    cut, data = parser_of(version), b"".join(frames)
    pieces = (data[start : start + size] for start in range(0, len(data), size))
    assert [told(frame) for piece in pieces for frame in cut.feed(piece)] == fresh


def test_it_does_learn() -> None:
    """A client that repeats itself but for a receipt is soon read by a template."""
    parser = parser_of("1.2")
    frames = [
        frame
        for number in range(2 * PATIENCE)
        for frame in parser.feed(b"SEND\ndestination:/queue/a\nreceipt:%d\n\nhi\0" % number)
    ]
    assert frames[0].template is None
    assert frames[-1].template is not None
    assert frames[-1].headers == {"destination": "/queue/a", "receipt": str(2 * PATIENCE - 1)}


def test_a_link_without_a_common_form_is_left_alone() -> None:
    """Learning ends when it leads to nothing: a thousand different frames cost no thousand attempts."""
    parser = parser_of("1.2")
    for number in range(1000):
        [frame] = parser.feed(b"SEND\ndestination:/queue/a\nh%d:1\n\nhi\0" % number)
        assert frame.template is None
