"""Bodies as people can read them."""

from __future__ import annotations

import pytest

from broker.admin.showing import show
from broker.core.message import Message
from broker.tail import new_tail


@pytest.mark.parametrize(
    ("body", "most", "shown", "encoding"),
    [
        (b"", 10, "", "utf-8"),
        (b"hello", 10, "hello", "utf-8"),
        (b"hello", 5, "hello", "utf-8"),
        (b"hello", 4, "hell", "utf-8"),
        ("aä".encode(), 2, "a", "utf-8"),  # a letter that is cut off is left out
        ("aä".encode(), 0, "", "utf-8"),
        (b"a\xc3", 10, "YcM=", "base64"),  # it is not cut off: it is no text
        (b"\0\n\0", 10, "\0\n\0", "utf-8"),
        (b"\xff\xfe\xfd", 2, "//4=", "base64"),
    ],
)
def test_the_beginning_of_a_body(body: bytes, most: int, shown: str, encoding: str) -> None:
    message = Message(1, new_tail(b"id-1", {"a:b": "c\nd"}, body), durable=True)
    told = show(message, most)
    assert (told["body"], told["encoding"]) == (shown, encoding)
    assert (told["size"], told["truncated"]) == (len(body), most < len(body))
    assert told["headers"] == {"message-id": "id-1", "a:b": "c\nd"}
