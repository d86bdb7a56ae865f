"""A subscription as its connection knows it, and how its messages are written.

A MESSAGE is a head for the subscription (and for the acknowledgement), then the message's tail. The
function that writes them is made once, at SUBSCRIBE, for the mode and the version; on the common way it
asks one question (`special`).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import TYPE_CHECKING

from broker.client import Client
from broker.core.message import BULKY, Message
from broker.core.subscription import AUTO, Deliver, Subscription
from broker.stomp.frame import header_lines
from broker.tail import END, TAIL_VERSION, message_id, replace_reply_to, rewrite

if TYPE_CHECKING:
    from broker.subscribing import Wish

FRESH, AGAIN = b"redelivered:false\n", b"redelivered:true\n"


class Consumer:
    """A subscription with what its client calls it."""

    __slots__ = ("client", "destination", "id", "number", "roams", "subscription", "wish")

    def __init__(
        self,
        client: Client,
        subscription: Subscription,
        id: str | None,
        wish: Wish,
        number: str,
        roams: bool = False,
    ) -> None:
        """`number` is unique on the connection, also after the subscription has ended."""
        self.client = client
        self.subscription = subscription
        self.id = id
        self.destination = wish.destination  # as the client wrote it: some route by the string
        self.wish = wish  # what else it asked for
        self.number = number
        self.roams = roams  # takes whatever a pattern means


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


def message_writer(names: list[tuple[str, str]], mode: str, number: str, client: Client) -> Deliver:
    """Return the function that writes a consumer's messages and returns the key that acknowledges each.

    `names` are the headers that all of them share; `number` tells a connection's consumers apart.
    """
    outbox, version, owner = client.outbox, client.version, client.temporaries
    pieces, wake = outbox.pieces, outbox.wake
    bare = b"MESSAGE\n" + header_lines(names, version)
    head = bare + FRESH if client.dialect.says_not_redelivered else bare
    roams = not any(name == "destination" for name, _ in names)

    def write_special(message: Message) -> None:
        tail = message.tail
        if len(tail) >= BULKY:
            outbox.bulky = True
        pieces.append(bare if message.redelivered else head)
        if message.redelivered:
            pieces.append(AGAIN)
            if message.returns:
                pieces.append(b"JMSXDeliveryCount:%d\n" % (message.returns + 1))
        extra = message.extra
        if extra is not None:
            if roams:
                pieces.append(header_lines([("destination", extra.destination)], version))
            if extra.first_of_group:
                pieces.append(b"JMSXGroupFirstForConsumer:true\n")
            if extra.retained:
                pieces.append(b"ActiveMQ.Retained:true\n")
            if extra.reply and owner:
                tail = replace_reply_to(tail, {t.destination: own for own, t in owner.items()})
        if not message.plain and version != TAIL_VERSION:
            tail = rewrite(tail, version)
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
        auto(message)
        return message_id(message.tail)

    head_to_ack = head + b"ack:"
    prefix = f"{number}-"
    numbers = count(1).__next__

    def by_ack_id(message: Message) -> str:
        key = f"{prefix}{numbers()}"
        if not pieces:
            wake()
        if message.special:
            write_special(message)
            pieces.insert(-1, b"ack:%b\n" % key.encode())
        else:
            pieces.extend((head_to_ack, key.encode(), b"\n", message.tail))
        return key

    if mode == AUTO:
        return auto
    return by_ack_id if version == "1.2" else by_message_id
