"""A message's tail, as the broker itself reads and writes it."""

from __future__ import annotations

import pytest

from broker.tail import annotate, new_tail, read_headers, rewrite


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"a": "1"},
        {"reply-to": "/queue/x", "correlation-id": "a:b\\c\nd\re", "ü": "€"},
    ],
)
def test_headers_are_read_as_they_were_meant(headers: dict[str, str]) -> None:
    tail = new_tail(b"m-1", headers, b"body\n\nof two parts")
    assert read_headers(tail) == {"message-id": "m-1", **headers}
    assert read_headers(annotate(tail, {"b": "2"})) == {"message-id": "m-1", "b": "2", **headers}


def test_a_new_tail_is_one_that_consumers_can_read() -> None:
    tail = new_tail(b"m-1", {"url": "stomp://x", "ack": "ours", "destination": "ours"}, b"b")
    assert tail == b"message-id:m-1\nurl:stomp\\c//x\ncontent-length:1\n\nb\0\n"
    assert rewrite(tail, "1.0") == b"message-id:m-1\nurl:stomp://x\ncontent-length:1\n\nb\0\n"
