"""The record of a message, as it lies on disk."""

from __future__ import annotations

import pytest

from broker.core.message import META, RECORD_FORMAT, Message, UnknownFormat

#: Formats 1 and 2, byte for byte: whoever changes them must still read these.
FIXTURES = [
    (
        "02 01 00 0000000000000000",
        {"plain": True, "redelivered": False, "returns": 0, "expires": 0},
    ),
    ("02 03 07 0000019000000000", {"redelivered": True, "returns": 7, "expires": 0x19000000000}),
    (
        "01 01 00 0000000000000000",
        {"plain": True, "redelivered": False, "returns": 0, "expires": 0},
    ),
    ("01 00 00 0000000000000000", {"plain": False, "redelivered": False}),
    ("01 03 07 0000000000000000", {"plain": True, "redelivered": True, "returns": 7}),
    ("01 02 ff 0000019000000000", {"plain": False, "redelivered": True, "returns": 255}),
    ("01 01 00 0000019000000000", {"expires": 0x19000000000}),
]


@pytest.mark.parametrize(("meta", "expected"), FIXTURES)
def test_records_of_known_formats(meta: str, expected: dict[str, object]) -> None:
    message = Message.from_record(9, 7, bytes.fromhex(meta), b"tail")
    assert (message.seq, message.priority, message.tail, message.durable) == (9, 7, b"tail", True)
    for name, value in expected.items():
        assert getattr(message, name) == value
    assert message.special == (message.redelivered or not message.plain)
    assert message.meta() == b"\x02" + bytes.fromhex(meta)[1:]  # the present format


@pytest.mark.parametrize("last", [False, True])
def test_a_message_of_a_group_keeps_it(last: bool) -> None:
    meta = bytes.fromhex(f"02 {'05' if last else '01'} 00 0000000000000000") + "Grün".encode()
    message = Message.from_record(9, 7, meta, b"tail")
    assert message.special
    assert message.extra is not None
    assert (message.extra.group, message.extra.closes_group) == ("Grün", last)
    assert message.meta() == meta


def test_more_returns_than_fit_are_as_many_as_fit() -> None:
    message = Message(1, b"", True)
    message.returns = 1000
    assert Message.from_record(1, 4, message.meta(), b"").returns == 255


def test_a_record_of_a_later_version_is_not_guessed_at() -> None:
    with pytest.raises(UnknownFormat, match="format 3, known are 1, 2"):
        Message.from_record(1, 4, META.pack(RECORD_FORMAT + 1, 0, 0, 0), b"")
