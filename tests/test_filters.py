"""Selectors and tails: the header that is meant is found, as the sender wrote it, and nothing else is."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.core.message import Message
from broker.filters import make_filter
from broker.selector import compile_selector
from broker.stomp import Frame
from broker.tail import END, ID, middle

QUEUE = "/queue/a"
NAMES = ("a", "kind", "b-c", "x.y", "Kind", "ki", "a\nkind")
TEXTS = ("", "a", "rare", "RARE", " rare", "ra:re", "ra\nre", "ra\\re", "kind", "é", "5")

headers = st.dictionaries(st.sampled_from(NAMES), st.sampled_from(TEXTS))
bodies = st.sampled_from((b"", b"\nkind:rare\n", b"\n\nkind:rare\n\n", b"x" * 100))


def message_of(sent: dict[str, str], body: bytes = b"") -> Message:
    """Return the message of a SEND with these headers."""
    plain = all(c not in name + text for name, text in sent.items() for c in "\n\\:\r")
    frame = Frame("SEND", {"destination": QUEUE, **sent}, body, plain=plain)
    tail = b"".join((ID, b"hoof-0-1-1\ntimestamp:1\n", middle(frame, {}), body, END))
    return Message(1, tail, True, plain)


@settings(max_examples=400, derandomize=True, database=None, deadline=None)
@given(headers, bodies, st.sampled_from(NAMES[:4]), st.sampled_from(TEXTS), headers)
def test_a_text_is_what_the_sender_wrote(
    sent: dict[str, str], body: bytes, name: str, text: str, others: dict[str, str]
) -> None:
    """Whatever else the message says, in its body too."""
    for sign in ("=", "<>"):
        for more in ("", f" AND \"{name}\" = 'rare'", " OR ki = 'a'"):
            selector = f"\"{name}\" {sign} '{text}'{more}"
            expected = compile_selector(selector).matches(sent.get)
            assert make_filter(selector, QUEUE)(message_of(sent, body)) is expected


@pytest.mark.parametrize(
    ("selector", "sent"),
    [
        ("JMSType = 'car'", {"type": "car"}),
        ("JMSCorrelationID = 'x:1'", {"correlation-id": "x:1"}),
        ("JMSReplyTo = 'queue://b'", {"reply-to": "/queue/b"}),
        ("JMSReplyTo = 'topic://b' AND a = '1'", {"reply-to": "/topic/b", "a": "1"}),
        ("JMSDestination = 'queue://a'", {}),
        ("JMSDeliveryMode = 'PERSISTENT'", {}),
        ("JMSMessageID = 'hoof-0-1-1'", {}),
        ("JMSPriority = '4'", {}),
        ("JMSTimestamp = '1'", {}),
    ],
)
def test_names_of_jms(selector: str, sent: dict[str, str]) -> None:
    assert make_filter(selector, QUEUE)(message_of(sent))
