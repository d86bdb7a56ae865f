"""Something that somebody may want to watch."""

from __future__ import annotations

from typing import NamedTuple

from broker.core.message import Message

ADVISORIES = "ActiveMQ.Advisory."  # begins the names of the topics on which events are told


class Event(NamedTuple):
    """Something that somebody may want to watch."""

    kind: str  # in ActiveMQ's words: Expired, MessageDiscarded, MessageDLQd, Queue, Consumer …
    source: object  # the queue, topic, subscription or connection it is about
    message: Message | None = None
    gone: bool = False  # it ended; else it began
