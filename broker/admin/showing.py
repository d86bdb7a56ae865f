"""A message as an object of JSON: what the broker knows of it, its headers, and the beginning of its body."""

from __future__ import annotations

import codecs
from base64 import b64encode
from typing import Any

from broker.core.message import Message
from broker.tail import END, message_id, read_headers


def show(message: Message, body_bytes: int) -> dict[str, Any]:
    """Return a message with at most so many bytes of its body: as text if it is UTF-8, else in base64."""
    tail = message.tail
    start, end = tail.index(b"\n\n") + 2, len(tail) - len(END)
    body = tail[start : min(end, start + body_bytes)]
    text = as_text(body, end - start <= body_bytes)
    return {
        "id": message_id(tail),
        "priority": message.priority,
        "persistent": message.durable,
        "expires": message.expires or None,
        "redelivered": message.redelivered,
        "returns": message.returns,
        "headers": read_headers(tail),
        "size": end - start,
        "body": b64encode(body).decode() if text is None else text,
        "encoding": "base64" if text is None else "utf-8",
        "truncated": len(body) < end - start,
    }


def as_text(body: bytes, is_whole: bool) -> str | None:
    """Return what bytes say in UTF-8, None if they are something else; the last letter may be cut off."""
    try:
        return codecs.utf_8_decode(body, "strict", is_whole)[0]
    except UnicodeDecodeError:
        return None
