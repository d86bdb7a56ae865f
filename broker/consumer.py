"""A subscription as its connection knows it, and how its messages are written.

A MESSAGE is a head for the subscription (and for the acknowledgement), then the message's tail. The
function that writes them is made once, at SUBSCRIBE, for the mode and the version; on the common way it
asks one question (`special`).

A message is acknowledged by a key: in 1.2 a number of ours, else its message-id. Copies that went to several
queues have the same one, and may meet again, among the dead letters or in one subscription: then the second
gets another, so that each ACK means one message.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import count
from typing import TYPE_CHECKING

from broker.client import Client
from broker.core.message import BULKY, Extra, Message
from broker.core.subscription import AUTO, Deliver, Subscription
from broker.stomp.frame import header_lines
from broker.tail import END, TAIL_VERSION, message_id, rename, replace_reply_to, rewrite

if TYPE_CHECKING:
    from broker.wish import Wish

FRESH, AGAIN = b"redelivered:false\n", b"redelivered:true\n"
#: Lines that few messages have, and which.
EXTRA_LINES: list[tuple[bytes, Callable[[Extra], bool]]] = [
    (b"JMSXGroupFirstForConsumer:true\n", lambda extra: extra.first_of_group),
    (b"ActiveMQ.Retained:true\n", lambda extra: extra.retained),
]


class Consumer:
    """A subscription with what its client calls it."""

    __slots__ = ("client", "id", "number", "subscription", "wish")

    def __init__(
        self,
        client: Client,
        subscription: Subscription,
        id: str | None,
        wish: Wish,
        number: str,
    ) -> None:
        """`number` is unique on the connection, also after the subscription has ended."""
        self.client = client
        self.subscription = subscription
        self.id = id
        self.wish = wish  # what it asked for
        self.number = number


def names_of(id: str | None, destination: str) -> list[tuple[str, str]]:
    """Return the headers that all messages of a subscription share; no destination if there are several."""
    names = [] if id is None else [("subscription", id)]
    if destination:
        names.append(("destination", destination))
    return names


def end_of_browsing(names: list[tuple[str, str]], client: Client) -> Callable[[], None]:
    """Return the function that tells a browser's client that it has seen everything."""
    headers = [*names, ("message-id", "0"), ("browser", "end"), ("content-length", "0")]
    frame = b"MESSAGE\n" + header_lines(headers, client.version) + b"\n" + END
    return lambda: client.outbox.say(frame)


def message_writer(
    names: list[tuple[str, str]],
    mode: str,
    number: str,
    client: Client,
    in_flight: Mapping[str, Message],
) -> Deliver:
    """Return the function that writes a consumer's messages and returns the key that acknowledges each.

    `names` are the headers that all of them share; `number` tells a connection's consumers apart; `in_flight`
    is what the consumer has not acknowledged yet, by key.
    """
    outbox, version, own_names = client.outbox, client.version, client.own_names
    pieces, wake = outbox.pieces, outbox.wake
    bare = b"MESSAGE\n" + header_lines(names, version)
    head = bare + FRESH if client.dialect.says_not_redelivered else bare
    has_several = not any(name == "destination" for name, _ in names)

    def write_special(message: Message, ack: bytes = b"") -> None:
        tail, extra, changed = message.tail, message.extra, not message.plain
        start = bare + again(message) if message.redelivered else head
        if extra is not None:
            start += extra_lines(extra)
            if has_several:
                told = own_names.get(extra.destination, extra.destination)
                start += header_lines([("destination", told)], version)
            if extra.reply and own_names:
                tail = replace_reply_to(tail, own_names)
                changed = changed or tail is not message.tail
        if changed and version != TAIL_VERSION:
            tail = rewrite(tail, version)
        if len(tail) >= BULKY:
            outbox.bulky = True
        pieces.append(start + ack)
        pieces.append(tail)

    def auto(message: Message) -> str:
        if not pieces:
            wake()
        if message.special:
            write_special(message)
        else:
            pieces.append(head)
            pieces.append(message.tail)
        return ""

    def by_message_id(message: Message) -> str:
        key = message_id(message.tail)
        if key in in_flight:
            key = f"{key}-{message.seq}"
            message = message.copy()
            message.tail = rename(message.tail, key.encode())
        auto(message)
        return key

    head_to_ack = head + b"ack:"
    prefix = f"{number}-"
    numbers = count(1).__next__

    def by_ack_id(message: Message) -> str:
        key = f"{prefix}{numbers()}"
        if not pieces:
            wake()
        if message.special:
            write_special(message, b"ack:%b\n" % key.encode())
        else:
            pieces.extend((head_to_ack, key.encode(), b"\n", message.tail))
        return key

    if mode == AUTO:
        return auto
    return by_ack_id if version == "1.2" else by_message_id


def again(message: Message) -> bytes:
    """Return the lines that tell of earlier deliveries."""
    if not message.returns:
        return AGAIN
    return b"%bJMSXDeliveryCount:%d\n" % (AGAIN, message.returns + 1)


def extra_lines(extra: Extra) -> bytes:
    """Return the lines that tell what few messages have."""
    return b"".join(line for line, is_so in EXTRA_LINES if is_so(extra))
