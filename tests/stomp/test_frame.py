"""Frames to bytes: the case table from right to left, and what `encode` promises for any text."""

import pytest

from broker.stomp import VERSIONS, Frame
from broker.stomp.frame import header_lines
from tests.stomp.cases import ROWS, Case

WRITTEN = [row for row in ROWS if row[2].encodes]


@pytest.mark.parametrize(
    ("version", "case"), [row[1:] for row in WRITTEN], ids=[row[0] for row in WRITTEN]
)
def test_the_table_is_written_back_exactly(version: str, case: Case) -> None:
    """What was read is written as it came, with one LF after the NUL in the same write."""
    frame = Frame(case.command, dict(case.headers), case.body)
    assert frame.encode(version) == case.wire + b"\n"


def test_a_body_gets_its_length() -> None:
    frame = Frame("MESSAGE", {"a": "b"}, "Größe".encode())
    assert frame.encode("1.2") == "MESSAGE\na:b\ncontent-length:7\n\nGröße\0\n".encode()


def test_no_body_no_length() -> None:
    """CONNECTED and RECEIPT have no body and no content-length: some clients trip over either."""
    assert Frame("RECEIPT", {"receipt-id": "1"}).encode("1.2") == b"RECEIPT\nreceipt-id:1\n\n\0\n"


@pytest.mark.parametrize(
    ("version", "written"),
    [
        ("1.0", b"a:1\\n2\\r3:4\\5\\06\n"),
        ("1.1", b"a:1\\n2\r3\\c4\\\\5\\\\06\n"),
        ("1.2", b"a:1\\n2\\r3\\c4\\\\5\\\\06\n"),
    ],
)
def test_escapes_follow_the_receiver(version: str, written: bytes) -> None:
    """One frame, written for each version: what cannot be expressed becomes visible text, never raw."""
    assert header_lines([("a", "1\n2\r3:4\\5\x006")], version) == written


@pytest.mark.parametrize(
    ("version", "written"), [("1.0", b"a\\cb:c\n"), ("1.1", b"a\\cb:c\n"), ("1.2", b"a\\cb:c\n")]
)
def test_a_colon_in_a_name_makes_no_other_header(version: str, written: bytes) -> None:
    """A 1.2 sender cannot forge `redelivered` for a 1.0 receiver with a header named redelivered:x."""
    assert header_lines([("a:b", "c")], version) == written


@pytest.mark.parametrize("command", ["CONNECT", "CONNECTED", "STOMP"])
@pytest.mark.parametrize("version", VERSIONS)
def test_handshake_frames_are_not_escaped_and_not_broken(command: str, version: str) -> None:
    frame = Frame(command, {"passcode": "a:b\\c\nadmin:yes\r\0"})
    assert (
        frame.encode(version) == command.encode() + b"\npasscode:a:b\\c\\nadmin:yes\\r\\0\n\n\0\n"
    )


def test_plain_headers_are_written_the_same_without_looking() -> None:
    headers = {"destination": "/queue/a", "näme": "🐎"}
    for version in VERSIONS:
        assert header_lines(headers.items(), version, plain=True) == header_lines(
            headers.items(), version
        )


def test_frames_are_equal_by_what_they_say() -> None:
    assert Frame("SEND", {"a": "b"}, b"x") == Frame("SEND", {"a": "b"}, b"x", plain=True)
    assert Frame("SEND", {"a": "b"}, b"x") != Frame("SEND", {"a": "b"}, b"y")
    assert Frame("SEND") != Frame("ACK")
    assert Frame("SEND") != "SEND"


def test_a_frame_shows_its_size_and_not_its_body() -> None:
    """Logs hold no bodies."""
    assert repr(Frame("SEND", {"a": "b"}, b"secret")) == "Frame('SEND', {'a': 'b'}, 6 bytes)"


def test_headers_are_a_dict_of_its_own_for_each_frame() -> None:
    first, second = Frame("SEND"), Frame("SEND")
    first.headers["a"] = "b"
    assert second.headers == {}
