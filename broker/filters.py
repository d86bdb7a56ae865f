"""Which messages a selector means: what it asks for is looked up in a message's tail.

Only the headers that a selector names are read, and only when it asks for them. Most selectors demand that
some header has a certain text: a message without that line is done with at once. Beside the headers there
are JMS's own names: some are headers that STOMP calls differently, some are facts the core knows.
"""

from __future__ import annotations

from collections.abc import Callable

from broker.core.message import Message
from broker.core.subscription import Wants
from broker.qualified import qualified
from broker.selector import Value, compile_selector
from broker.stomp.frame import header_lines
from broker.tail import TAIL_VERSION, message_id, unescape

REPLY_TO = "JMSReplyTo"  # a destination, and written as JMS does
#: JMS's names of headers.
HEADERS = {
    "JMSCorrelationID": "correlation-id",
    REPLY_TO: "reply-to",
    "JMSTimestamp": "timestamp",
    "JMSType": "type",
}
#: And of what is no header of the sender's.
FACTS: dict[str, Callable[[Message], Value]] = {
    "JMSDeliveryMode": lambda message: "PERSISTENT" if message.durable else "NON_PERSISTENT",
    "JMSExpiration": lambda message: message.expires,
    "JMSMessageID": lambda message: message_id(message.tail),
    "JMSPriority": lambda message: message.priority,
    "JMSRedelivered": lambda message: message.redelivered,
    "JMSXDeliveryCount": lambda message: message.returns + 1,
    "JMSXGroupFirstForConsumer": lambda message: bool(
        message.extra and message.extra.first_of_group
    ),
}


def make_filter(text: str, destination: str) -> Wants:
    """Return what tells whether a message matches a selector. Raises `InvalidSelector`.

    `destination` is where it is asked, as everybody knows it, unless a message says where it is; JMS writes
    destinations as `queue://NAME`.
    """
    selector = compile_selector(text)
    here = qualified(destination)
    matches = selector.matches
    marks = {
        name: b"\n" + header_lines([(HEADERS.get(name, name), "")], TAIL_VERSION)[:-1]
        for name in selector.names
        if name not in FACTS and name != "JMSDestination"
    }
    lines = [
        b"\n" + header_lines([(HEADERS.get(name, name), text)], TAIL_VERSION)
        for name, text in selector.texts.items()
        if name in marks and name != REPLY_TO
    ]

    def wants(message: Message) -> bool:
        tail = message.tail
        end = tail.index(b"\n\n")
        for line in lines:
            if tail.find(line, 0, end + 1) < 0:
                return False

        def look_up(name: str) -> Value:
            mark = marks.get(name)
            if mark is None:
                if name in FACTS:
                    return FACTS[name](message)
                extra = message.extra
                return qualified(extra.destination) if extra and extra.destination else here
            start = tail.find(mark, 0, end)
            if start < 0:
                return None
            start += len(mark)
            value = tail[start : tail.index(b"\n", start)].decode()
            if not message.plain:
                value = unescape(value)
            return qualified(value) if name == REPLY_TO and value[:1] == "/" else value

        return matches(look_up)

    return wants
