"""A subscription as its connection knows it, and how its messages are written.

A MESSAGE is a head for the subscription (and for the acknowledgement), then the message's tail. The
function that writes them is made once, at SUBSCRIBE, for the mode and the version; on the common way it
asks one question (`special`).
"""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

from broker.core.message import BULKY, Message
from broker.core.subscription import AUTO, Deliver, Subscription
from broker.stomp.frame import header_lines
from broker.tail import TAIL_VERSION, message_id, rewrite

if TYPE_CHECKING:
    from broker.core.queue import Queue
    from broker.outbox import Outbox


class Consumer(Subscription):
    """A consumer with what its client calls it."""

    __slots__ = ("destination", "id", "number")

    def __init__(
        self,
        queue: Queue,
        mode: str,
        prefetch: int,
        id: str | None,
        destination: str,
        number: str,
        version: str,
        outbox: Outbox,
    ) -> None:
        """`number` is unique on the connection, also after the subscription has ended."""
        names = [("destination", destination)]
        if id is not None:
            names.insert(0, ("subscription", id))
        deliver = message_writer(names, mode, number, version, outbox)
        super().__init__(queue, mode, prefetch, deliver)
        self.id = id
        self.destination = destination  # as the client wrote it: some route by the string
        self.number = number


def message_writer(
    names: list[tuple[str, str]], mode: str, number: str, version: str, outbox: Outbox
) -> Deliver:
    """Return the function that writes a consumer's messages and returns the key that acknowledges each.

    `names` are the headers that all of them share; `number` tells a connection's consumers apart.
    """
    pieces, wake = outbox.pieces, outbox.wake
    head = b"MESSAGE\n" + header_lines(names, version)

    def special(message: Message) -> bytes:
        tail = message.tail
        if len(tail) >= BULKY:
            outbox.bulky = True
        if not message.plain and version != TAIL_VERSION:
            tail = rewrite(tail, version)
        if message.redelivered:
            pieces.append(b"redelivered:true\n")
        return tail

    def auto(message: Message) -> str:
        if not pieces:
            wake()
        pieces.append(head)
        pieces.append(special(message) if message.special else message.tail)
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
        pieces.extend((head_to_ack, key.encode(), b"\n"))
        pieces.append(special(message) if message.special else message.tail)
        return key

    if mode == AUTO:
        return auto
    return by_ack_id if version == "1.2" else by_message_id
