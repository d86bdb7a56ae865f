"""What an operator may say about destinations, by pattern; and what follows from it for one of them.

A `Policy` is data: everything that may differ from one destination to the next, with its default. A
destination asks for its policy once, when it is made, and keeps it. The table in docs/settings.md is
written from the fields below.

Knows no files and no STOMP: whoever reads the settings checks them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from broker.core.names import NAME_BYTES
from broker.core.pattern import compile_pattern
from broker.setting import setting

QUEUES, TOPICS = "/queue/", "/topic/"  # in front of a pattern: it means only these

DEAD_LETTERS = "ActiveMQ.DLQ"  # where ActiveMQ's users look for them
NAME = "{name}"  # in `dead_letter_queue`: the destination's name
YEAR = 366 * 24 * 3600.0  # seconds: no redelivery is put off for longer


@dataclass(frozen=True, slots=True)
class Policy:
    """How one destination behaves. The defaults are what an operator gets who says nothing."""

    # What its consumers get.
    prefetch: int = setting(
        0,
        "messages",
        "unacknowledged per subscription that asks for no number; 0: `prefetch` above, but 100 for a"
        " durable subscription, as in ActiveMQ",
    )
    exclusive: bool = setting(
        False, "", "true: one consumer at a time gets all messages, the next one when it has gone"
    )
    priorities: bool = setting(True, "", "false: a queue ignores priorities and keeps the order")

    # How much may wait.
    max_messages: int = setting(0, "messages", "that may wait; 0: as many as the store holds")
    memory_limit: int = setting(
        0, "bytes", "of waiting messages that are not persistent; 0: only the broker's limit"
    )
    at_limit: str = setting(
        "block",
        "",
        "block slows producers down, as ActiveMQ; error refuses a SEND; drop-oldest makes room",
        ("block", "error", "drop-oldest"),
    )
    pending_limit: int = setting(
        100_000,
        "messages",
        "that may wait for a slow subscriber of a topic before it loses the oldest; not durable ones",
    )

    # What was given back, or has failed.
    max_redeliveries: int = setting(
        -1, "times", "before a message is a dead letter; -1: `max_redeliveries` above", least=-1
    )
    redelivery_delay: float = setting(
        0.0, "seconds", "until a message that was given back comes again; 0: at once"
    )
    redelivery_backoff: float = setting(
        1.0,
        "times",
        "as long is each delay as the one before; 1: always the same",
        least=1,
        most=100,
    )
    redelivery_delay_max: float = setting(
        3600.0,
        "seconds",
        "is the longest delay, so that what failed for hours is tried every hour; 0: no limit",
    )
    dead_letter_queue: str = setting(
        DEAD_LETTERS,
        "",
        "where ActiveMQ's users look; {name} stands for the destination's name, empty drops instead",
    )
    dead_letter_non_persistent: bool = setting(
        False, "", "true: also what was sent with persistent:false becomes a dead letter"
    )
    dead_letter_ttl: int = setting(
        0, "milliseconds", "that a dead letter lives, whatever `ttl_default` says; 0: for ever"
    )

    # How long a message lives.
    expired: str = setting(
        "dead-letter",
        "",
        "what has expired is a dead letter, as in ActiveMQ; discard drops it",
        ("dead-letter", "discard"),
    )
    ttl_default: int = setting(
        0, "milliseconds", "that a message lives whose sender names no expiry; 0: for ever"
    )
    ttl_max: int = setting(
        0, "milliseconds", "that a message with an expiry may live at most; 0: as long as it says"
    )

    # What comes twice.
    dedup_window: int = setting(
        20_000, "ids", "of SENDs with dedup-id that are remembered, as in Artemis; 0: none"
    )
    dedup_seconds: float = setting(
        600.0, "seconds", "that an id is remembered: producers try again for minutes, not for hours"
    )

    # What a topic keeps for those who come later.
    retain: bool = setting(
        True, "", "a topic keeps the last message that was sent with ActiveMQ.Retain:true"
    )
    recover_messages: int = setting(
        0, "messages", "that a topic keeps in memory for subscribers with activemq.retroactive:true"
    )
    recover_seconds: float = setting(
        0.0, "seconds", "that a topic keeps these messages; 0: however old they are"
    )
    offline_timeout: float = setting(
        0.0, "seconds", "until a durable subscription that nobody uses is removed; 0: never"
    )

    # The destination itself.
    keep_idle: bool = setting(
        False, "", "true: not removed when it is empty and nobody has used it for a while"
    )
    advise_consumed: bool = setting(
        False,
        "",
        "true: an advisory for each acknowledged message, which costs as much as a message",
    )
    advise_delivered: bool = setting(
        False, "", "true: an advisory for each delivered message, which costs as much as a message"
    )

    def delay(self, redelivery: int) -> float:
        """Return the seconds until a message comes again that was given back `redelivery` times (1, 2 …)."""
        if not self.redelivery_delay:
            return 0.0
        most = self.redelivery_delay_max or YEAR
        try:
            delay = self.redelivery_delay * self.redelivery_backoff ** (redelivery - 1)
        except OverflowError:  # that often
            return most
        return min(delay, most)

    def expiry(self, expires: int, now: int) -> int:
        """Return when a message expires that came `now` and asked for `expires` (0: never).

        All in milliseconds since 1970. As ActiveMQ's TimeStampPlugin: `zeroExpirationOverride` and
        `ttlCeiling`.
        """
        if not expires:
            if not self.ttl_default:
                return 0
            expires = now + self.ttl_default
        return min(expires, now + self.ttl_max) if self.ttl_max else expires

    def dead_letters_of(self, name: str) -> str:
        """Return the name of the queue for the dead letters of a destination; "" drops them.

        One that would be too long for a name is nobody's to consume: then it is the common one.
        """
        letters = self.dead_letter_queue.replace(NAME, name)
        return letters if len(letters.encode()) <= NAME_BYTES else DEAD_LETTERS


DEFAULT = Policy()


class Policies:
    """The policies of all destinations, from the operator's sections."""

    def __init__(self, sections: Sequence[tuple[str, Mapping[str, Any]]] = ()) -> None:
        """`sections`: pattern and changes, in the order of the file.

        All sections that match apply; of two that say the same setting the later one wins. A pattern may
        begin with `/queue/` or `/topic/`, and then means only these.
        """
        self._changes = [changes for _, changes in sections]
        self._queues = _matchers(sections, QUEUES, TOPICS)
        self._topics = _matchers(sections, TOPICS, QUEUES)
        texts = {
            changes["dead_letter_queue"]
            for changes in self._changes
            if "dead_letter_queue" in changes
        }
        self._dead_letters = [text.partition(NAME) for text in {*texts, DEFAULT.dead_letter_queue}]
        # Destinations that the same sections match share one policy; there are thousands of them.
        self._made: dict[tuple[int, ...], Policy] = {(): DEFAULT}

    def for_queue(self, name: str) -> Policy:
        """Return the policy of the queue of this name."""
        return self._made_of(tuple([i for i, matches in self._queues if matches(name)]))

    def for_topic(self, name: str) -> Policy:
        """Return the policy of the topic of this name, and of the subscriptions to it."""
        return self._made_of(tuple([i for i, matches in self._topics if matches(name)]))

    def are_dead_letters(self, name: str) -> bool:
        """Tell whether a queue is for dead letters: what fails there is not buried once more."""
        return any(
            name.startswith(before) and name.endswith(after) if placeholder else name == before
            for before, placeholder, after in self._dead_letters
            if before or after
        )

    def _made_of(self, sections: tuple[int, ...]) -> Policy:
        policy = self._made.get(sections)
        if policy is None:
            changes: dict[str, Any] = {}
            for i in sections:
                changes |= self._changes[i]
            policy = self._made[sections] = replace(DEFAULT, **changes)
        return policy


def _matchers(
    sections: Sequence[tuple[str, Mapping[str, Any]]], kind: str, other: str
) -> list[tuple[int, Callable[[str], bool]]]:
    """Return number and pattern of the sections that may mean destinations of a kind."""
    return [
        (i, compile_pattern(pattern.removeprefix(kind)))
        for i, (pattern, _) in enumerate(sections)
        if not pattern.startswith(other)
    ]
