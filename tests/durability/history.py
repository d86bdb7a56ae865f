"""What happened to every message of a run, and the verdict on it: Jepsen's total-queue, and a little more.

Producers and consumers note here what they did and heard. It knows no sockets and no broker, so that the
verdict itself can be tested with invented histories.

A message is named by its producer and that producer's own number. A life is the time from one start of
the broker to its end. What a client did not hear is unknown, never failed: an unconfirmed SEND may be
there or not, and an unconfirmed ACK may count or not.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path

Name = tuple[str, int]  # producer, number

SENT, CONFIRMED = "sent", "confirmed"  # a SEND left; its RECEIPT came
DELIVERED = "delivered"
ACKED, ACK_CONFIRMED = "acked", "ack-confirmed"  # an ACK left; its RECEIPT came


@dataclass(frozen=True, slots=True)
class Event:
    """Something that a client did or heard."""

    kind: str
    producer: str
    number: int
    life: int  # of the broker that the client's connection belongs to
    client: str = ""  # the consumer
    redelivered: bool = False

    @property
    def name(self) -> Name:
        """The message."""
        return self.producer, self.number


class History:
    """Everything that happened, in the order it was noted."""

    def __init__(self, events: list[Event] | None = None) -> None:
        self.events: list[Event] = events or []
        self.note = self.events.append  # from any thread

    def names(self, kind: str) -> set[Name]:
        """Return the messages that something of this kind happened to."""
        return {event.name for event in self.events if event.kind == kind}

    def save(self, path: Path) -> None:
        """Write it down, one event a line."""
        path.write_text("".join(json.dumps(asdict(event)) + "\n" for event in self.events))

    def summary(self) -> str:
        """Return the counts of total-queue."""
        sent, confirmed = self.names(SENT), self.names(CONFIRMED)
        delivered = self.names(DELIVERED)
        deliveries = sum(event.kind == DELIVERED for event in self.events)
        return (
            f"{len(sent)} sent, {len(confirmed)} confirmed, {len(delivered)} delivered, "
            f"{len(delivered - confirmed)} of them unconfirmed, "
            f"{deliveries - len(delivered)} redeliveries, "
            f"{len(self.names(ACK_CONFIRMED))} acknowledgements confirmed"
        )


def judge(history: History) -> list[str]:
    """Return what is wrong with a history; nothing if the broker kept its promises.

    The run must have been drained, and no consumer may have left while the broker lived: then nothing is
    given back within a life.
    """
    return [
        *_lost(history),
        *_unexpected(history),
        *_duplicates(history),
        *_back_from_the_dead(history),
        *_disorder(history),
    ]


def _lost(history: History) -> list[str]:
    """A confirmed message must reach somebody who acknowledges it."""
    lost = history.names(CONFIRMED) - history.names(ACKED)
    return [f"lost: {name}" for name in sorted(lost)]


def _unexpected(history: History) -> list[str]:
    unexpected = history.names(DELIVERED) - history.names(SENT)
    return [f"never sent, yet delivered: {name}" for name in sorted(unexpected)]


def _duplicates(history: History) -> list[str]:
    """Within a life a message goes out once; in a later life it says that it may have been seen."""
    faults = []
    lives: dict[Name, set[int]] = defaultdict(set)
    for event in sorted(history.events, key=lambda event: event.life):
        if event.kind != DELIVERED:
            continue
        if event.life in lives[event.name]:
            faults.append(f"delivered twice in one life: {event}")
        elif lives[event.name] and not event.redelivered:
            faults.append(f"delivered again without redelivered:true: {event}")
        lives[event.name].add(event.life)
    return faults


def _back_from_the_dead(history: History) -> list[str]:
    """An acknowledgement that was confirmed is for ever."""
    ended: dict[Name, int] = {}
    for event in history.events:
        if event.kind == ACK_CONFIRMED:
            ended[event.name] = min(event.life, ended.get(event.name, event.life))
    return [
        f"acknowledged with a receipt, yet delivered: {event}"
        for event in history.events
        if event.kind == DELIVERED and event.life > ended.get(event.name, event.life)
    ]


def _disorder(history: History) -> list[str]:
    """A producer's messages go out in the order it sent them.

    Seen by one consumer in one life: all of them. Over lives: first deliveries, the ones without
    `redelivered:true`, for what is older goes first.
    """
    faults = []
    newest: dict[tuple[int, str, str], int] = {}  # of a life, a consumer and a producer
    first: dict[str, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    for event in history.events:
        if event.kind != DELIVERED:
            continue
        key = event.life, event.client, event.producer
        if event.number <= newest.get(key, -1):
            faults.append(f"out of order behind {newest[key]}: {event}")
        newest[key] = event.number
        if not event.redelivered:
            first[event.producer][event.life].append(event.number)
    for producer, lives in first.items():
        before = -1
        for life, numbers in sorted(lives.items()):
            if min(numbers) < before:  # the same one again is a duplicate, and told as such
                faults.append(
                    f"{producer}'s {min(numbers)} first delivered in life {life}, after {before}"
                )
            before = max(before, *numbers)
    return faults
