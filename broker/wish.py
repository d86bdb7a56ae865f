"""What a SUBSCRIBE asks for, read from its headers.

Header names are ActiveMQ's; where others mean the same they are understood too. Knows no subscriptions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from broker.client import Client, first, flag, number
from broker.core.names import TOPIC, elements_of
from broker.core.subscription import AUTO, CLIENT, CLIENT_INDIVIDUAL, Wants
from broker.errors import Refusal
from broker.filters import make_filter
from broker.selector import compile_selector

UNLIMITED = 2**31
#: A durable subscription's name: ActiveMQ's header, as it was misspelt for years, and Artemis's.
DURABLE_NAMES = (
    "activemq.subscriptionName",
    "activemq.subcriptionName",
    "durable-subscription-name",
    "durable-subscriber-name",
)
#: RabbitMQ: the subscription's id is the name, and several connections may share it.
SHARED = ("durable", "persistent")
PREFETCH = ("activemq.prefetchSize", "prefetch-count", "credit")
PENDING = "activemq.maximumPendingMessageLimit"
RANK = ("activemq.priority", "x-priority")
NO_LOCAL = ("activemq.noLocal", "no-local")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a SUBSCRIBE asks for."""

    destination: str  # as the client wrote it: some route by the string
    elements: Sequence[str] = ()  # as everybody knows them
    mode: str = AUTO
    prefetch: int = 0  # messages unacknowledged at once; 0: it does not say
    selector: str = ""
    wants: Wants | None = None  # what the selector means
    rank: int = 0
    exclusive: bool = False
    no_local: bool = False
    retroactive: bool = False
    pending: int | None = None  # messages that may wait for a slow subscriber of a topic
    browse: bool = False
    durable_name: str = ""
    shared: bool = False  # the durable subscription is RabbitMQ's kind


def read_wish(headers: dict[str, str], client: Client) -> Wish:
    """Return what a SUBSCRIBE asks for. Raises `Refusal`."""
    destination = headers.get("destination", "")
    browse = flag(headers, "browser")
    if browse and client.version == "1.0":
        raise Refusal("Queue Browser feature only valid for Stomp v1.1+ clients!")
    selector = headers.get("selector", "")
    if not selector.strip():  # some clients send an empty header
        selector = ""
    else:
        compile_selector(selector)  # is it one? What it means depends on where it is asked
    pending = number(headers, PENDING, 0, "a whole number of messages")
    wish = Wish(
        destination=destination,
        mode=read_mode(headers, client),
        prefetch=read_prefetch(headers),
        selector=selector,
        rank=number(headers, next(filter(headers.get, RANK), ""), 0, "a whole number"),
        exclusive=flag(headers, "activemq.exclusive"),
        no_local=any(flag(headers, header) for header in NO_LOCAL),
        retroactive=flag(headers, "activemq.retroactive"),
        pending=pending if pending > 0 else None,
        browse=browse,
    )
    elements = elements_of(client.resolve(destination))  # the last that may be refused
    here = elements[0] if len(elements) == 1 else destination
    wants = make_filter(selector, here) if selector else None
    name, shared = read_durable(headers, all(each.startswith(TOPIC) for each in elements))
    return replace(wish, elements=elements, wants=wants, durable_name=name, shared=shared)


def read_mode(headers: Mapping[str, str], client: Client) -> str:
    """Return how a SUBSCRIBE will acknowledge. Raises `Refusal`."""
    mode = headers.get("ack", AUTO)
    if mode in (AUTO, CLIENT, CLIENT_INDIVIDUAL):
        return mode
    if client.dialect.unknown_ack_refused:
        raise Refusal(f"Invalid ack mode: {mode}", "ack is auto, client or client-individual.")
    return AUTO


def read_prefetch(headers: Mapping[str, str]) -> int:
    """Return how many messages a SUBSCRIBE wants unacknowledged, 0 if it does not say. Raises `Refusal`."""
    for name in PREFETCH:
        if name not in headers:
            continue
        # Apollo's credit may go on with bytes.
        text = headers[name].partition(",")[0] if name == "credit" else headers[name]
        prefetch = number({name: text}, name, 0, "a whole number of messages")
        if prefetch == 0 and name == "prefetch-count":  # RabbitMQ's word for no limit
            return UNLIMITED
        if prefetch < 1:
            raise Refusal(f"{name} must be at least 1, not {prefetch}")
        return prefetch
    return 0


def read_durable(headers: Mapping[str, str], topics: bool) -> tuple[str, bool]:
    """Return the name of the durable subscription that a frame means, "" if none, and if it is RabbitMQ's kind.

    `topics`: the frame is about topics. `durable:true` says nothing of queues: they are. Raises `Refusal`.
    """
    name = first(headers, DURABLE_NAMES)
    if name is not None:
        return name, False
    if not topics or not any(flag(headers, each) for each in SHARED):
        return "", False
    id = headers.get("id")
    if not id:
        raise Refusal("Missing Header", "Header 'id' is required for durable subscriptions")
    return id, True
