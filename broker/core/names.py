"""What destinations are called.

    /queue/NAME                 a queue; a name without a prefix is one too, as ActiveMQ has it
    /topic/NAME                 a topic
    /remote-temp-queue/NAME     what belongs to a connection; its owner calls it /temp-queue/…, which
    /remote-temp-topic/NAME     means something to that connection alone (`broker.client`)
    /peer/PEER/DESTINATION      a destination at another broker (`broker.peering`); it may be one of these again
    A,B,C                       all of these

Names are case-sensitive; slashes, dots and blanks inside are part of the name, blanks around a destination are
not. A name may be a pattern (`broker.core.pattern`), and then consumers mean others by it, with one exception:
`Consumer.NAME.VirtualTopic.>` is the queue of a consumer of virtual topics (`broker.core.virtual`).

Knows no queues and no topics.
"""

from __future__ import annotations

import re

from broker.core.pattern import is_pattern
from broker.errors import Refusal

QUEUE, TOPIC = "/queue/", "/topic/"
TEMP_QUEUE, TEMP_TOPIC = "/remote-temp-queue/", "/remote-temp-topic/"
OWN_QUEUE, OWN_TOPIC = "/temp-queue/", "/temp-topic/"
PEER = "/peer/"
PREFIXES = (QUEUE, TOPIC, TEMP_QUEUE, TEMP_TOPIC, OWN_QUEUE, OWN_TOPIC, PEER)

NAME_BYTES = 255  # of a destination's name, in UTF-8
ELEMENTS = 256  # destinations in a list: each costs a frame as much as a frame of its own
HIDDEN = "\0"  # begins the names of stored queues that are no destinations
CONSUMER, VIRTUAL = "Consumer", "VirtualTopic"
KIND = re.compile("(/peer/[^/]+)*/(queue|topic|(remote-)?temp-(queue|topic))/")


def split(destination: str) -> tuple[str, str]:
    """Return prefix and name of a destination."""
    for prefix in PREFIXES:
        if destination.startswith(prefix):
            return prefix, destination[len(prefix) :]
    return QUEUE, destination


def kind_of(destination: str) -> str:
    """Return what stands before a destination's name, the way to other brokers included; "" if it has none."""
    kind = KIND.match(destination)
    return "" if kind is None else kind[0]


def elements_of(destination: str) -> list[str]:
    """Return the destinations that a text means, with their prefixes, each once. Raises `Refusal`.

    Options behind a name (`?consumer.prefetchSize=1`) are no part of it, as in ActiveMQ; over STOMP they are
    headers.
    """
    elements = [each.partition("?")[0].strip() for each in listed(destination)]
    found = dict.fromkeys("".join(split(element)) for element in elements if element)
    if not found:
        raise no_name()
    return [*found]


def listed(destination: str) -> list[str]:
    """Return what stands between the commas of a destination. Raises `Refusal` if that is too much."""
    if destination.count(",") >= ELEMENTS:
        raise Refusal(
            f"A destination has at most {ELEMENTS} elements",
            "Name fewer in one frame, or a pattern.",
        )
    return destination.split(",")


def check_name(name: str) -> str:
    """Return a destination's name. Raises `Refusal` for one that cannot be."""
    if not name:
        raise no_name()
    if len(name.encode()) > NAME_BYTES:
        raise Refusal(
            f"The destination's name is longer than {NAME_BYTES} bytes", "Use a shorter name."
        )
    return name


def means_others(destination: str) -> bool:
    """Tell whether a consumer means whatever a pattern does, and not what has this very name."""
    prefix, name = split(destination)
    if prefix == QUEUE:
        return is_pattern(name) and not virtual_topic_of(name)
    return prefix == TOPIC and is_pattern(name)


def is_virtual(topic: str) -> bool:
    """Tell whether what is sent to a topic also goes to queues."""
    return topic.partition(".")[0] == VIRTUAL


def virtual_topic_of(queue: str) -> str:
    """Return the virtual topic, or the pattern of some, that a queue of this name takes from, or ""."""
    prefix, _, rest = queue.partition(".")
    consumer, _, topic = rest.partition(".")
    mine = prefix == CONSUMER and consumer and not is_pattern(consumer) and is_virtual(topic)
    return topic if mine else ""


def no_name() -> Refusal:
    """Return the fault of a destination without a name."""
    return Refusal(
        "Invalid empty or 'null' Destination header",
        "A destination reads /queue/NAME or /topic/NAME.",
    )


def does_not_exist(destination: str) -> Refusal:
    """Return the fault of using a temporary destination that is no more, or somebody else's."""
    return Refusal(
        f"The destination {destination} does not exist.",
        "A temporary destination ends with the connection that made it.",
    )
