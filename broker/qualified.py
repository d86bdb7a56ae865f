"""Destinations as ActiveMQ writes them where it tells of them: `queue://orders`, `Queue.orders`, as JSON."""

from __future__ import annotations

from broker.core.names import QUEUE, TEMP_QUEUE, TEMP_TOPIC, TOPIC

#: What a destination begins with → the same in a URL, in the name of a topic of advisories, and as a class.
KINDS = {
    QUEUE: ("queue://", "Queue.", "ActiveMQQueue"),
    TOPIC: ("topic://", "Topic.", "ActiveMQTopic"),
    TEMP_QUEUE: ("temp-queue://", "Queue.", "ActiveMQTempQueue"),
    TEMP_TOPIC: ("temp-topic://", "Topic.", "ActiveMQTempTopic"),
}


def split(destination: str) -> tuple[str, str]:
    """Return what a destination begins with, and its name."""
    for prefix in KINDS:
        if destination.startswith(prefix):
            return prefix, destination.removeprefix(prefix)
    return QUEUE, destination


def qualified(destination: str) -> str:
    """Return a destination as a URL."""
    prefix, name = split(destination)
    return KINDS[prefix][0] + name


def place_of(destination: str) -> str:
    """Return what stands for a destination in the name of a topic of advisories."""
    prefix, name = split(destination)
    return KINDS[prefix][1] + name


def as_json(destination: str) -> dict[str, str]:
    """Return what stands for a destination in JSON."""
    prefix, name = split(destination)
    return {"@class": KINDS[prefix][2], "string": name}
