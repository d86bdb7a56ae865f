"""Something that somebody may want to watch."""

from __future__ import annotations

from broker.core.message import Message

ADVISORIES = "ActiveMQ.Advisory."  # begins the names of the topics on which events are told


class Event:
    """Something that somebody may want to watch. Made also when nobody does: hence no dataclass."""

    __slots__ = ("gone", "kind", "message", "source")

    def __init__(
        self, kind: str, source: object, message: Message | None = None, gone: bool = False
    ) -> None:
        self.kind = kind  # in ActiveMQ's words: Expired, MessageDiscarded, MessageDLQd, Consumer …
        self.source = source  # the queue, topic, client or consumer it is about
        self.message = message
        self.gone = gone  # it ended; else it began
