"""What was sent and what became of it, when everything is in play: more than `history` can say.

Producers and consumers note here what they did and heard, in the order in which they did and heard it. It
knows no sockets and no broker. What the notes prove is said in `verdicts`.

A message is named by its producer and that producer's own number; a SEND that was tried again has the name of
the first try. A *place* is where a message waits for somebody: a queue, or one durable subscription.
A *session* is one connection of one consumer. A *life* is the time from one start of the broker to its end.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path

from tests.durability.history import ACK_CONFIRMED, ACKED, CONFIRMED, DELIVERED, Name

__all__ = ("ACKED", "ACK_CONFIRMED", "CONFIRMED", "DELIVERED", "Name")

NACKED, NACK_CONFIRMED = "nacked", "nack-confirmed"  # for ever: a dead letter
RETURNED, RETURN_CONFIRMED = "returned", "return-confirmed"  # a NACK that wants it again
LEFT = "left"  # a session ends while the broker lives
BURIED = "buried"  # found among the dead letters, at the end
ASKED, ANSWERED = "asked", "answered"  # a request, and its reply

#: Someone has heard a promise about a message: hence it is, or was, on disk.
PROMISES = (CONFIRMED, ACK_CONFIRMED, NACK_CONFIRMED, RETURN_CONFIRMED)

ACK, NACK, RETURN, LATER, KILL = "ack", "nack", "return", "later", "kill"


@dataclass(frozen=True, slots=True)
class Sent:
    """A message as its producer wants it; times in milliseconds."""

    producer: str
    number: int
    destination: str
    fate: str = ACK  # what its consumers do with it
    colour: str = ""
    group: str = ""
    dedup: bool = False  # it has a dedup-id, and is sent again until it is confirmed
    delay: int = 0  # until it is delivered first
    period: int = 0
    repeat: int = 0
    at: int = 0  # when it was sent first, ms since 1970
    size: int = 0  # bytes of the body

    @property
    def name(self) -> Name:
        """What everybody calls it."""
        return self.producer, self.number

    @property
    def deliveries(self) -> int:
        """How often it is to be delivered."""
        return 1 + self.repeat

    @property
    def late(self) -> bool:
        """True when it is scheduled."""
        return bool(self.delay)


@dataclass(frozen=True, slots=True)
class Note:
    """Something that a client did or heard."""

    kind: str
    place: str
    name: Name
    life: int
    session: int = 0
    id: str = ""  # the message-id
    redelivered: bool = False
    count: int = 1  # which attempt this is, as the broker counts
    at: int = 0  # when it was noted, ms since 1970
    stamp: int = 0  # when it was sent, as the broker says in `timestamp`
    job: str = ""
    size: int = 0  # bytes of the body
    text: str = ""  # of an answer


@dataclass(frozen=True, slots=True)
class Place:
    """Where messages wait, and what is expected there."""

    name: str
    takes: Callable[[Sent], bool]
    ordered: bool = True  # each session gets a producer's messages in order
    alone: bool = True  # one consumer at a time, so first deliveries are in order over all sessions


def of(notes: Iterable[Note], *kinds: str) -> Iterator[Note]:
    """Return the notes of some kinds."""
    return (note for note in notes if note.kind in kinds)


class Ledger:
    """All places, all messages, all notes."""

    def __init__(self, places: list[Place]) -> None:
        self.places = {place.name: place for place in places}
        self.sent: dict[Name, Sent] = {}
        self.notes: list[Note] = []
        self.note = self.notes.append  # from any thread
        self.choosers: dict[int, str] = {}  # session → the only colour that it wants
        self.stopped: set[int] = set()  # lives that ended in order
        self.next_session = count(1).__next__

    def promised(self) -> dict[Name, int]:
        """Return what is, or was, certainly on disk, and in which life somebody heard so first."""
        lives: dict[Name, int] = {}
        for note in of(self.notes, *PROMISES):
            lives[note.name] = min(note.life, lives.get(note.name, note.life))
        return lives

    def save(self, path: Path) -> None:
        """Write everything down, one thing a line: first what was sent, then what happened."""
        lines = [*map(asdict, self.sent.values()), *map(asdict, self.notes)]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))

    def summary(self) -> str:
        """Return how much of everything there was, place by place."""
        lines = [
            f"{len(self.sent)} sent, {len({n.name for n in of(self.notes, CONFIRMED)})} confirmed"
        ]
        for place in self.places:
            notes = [note for note in self.notes if note.place == place]
            delivered = list(of(notes, DELIVERED))
            numbers = {
                "messages": len({n.name for n in delivered}),
                "deliveries": len(delivered),
                "marked": sum(n.redelivered for n in delivered),
                "sessions": len({n.session for n in delivered}),
                "acks confirmed": sum(1 for _ in of(notes, ACK_CONFIRMED)),
                "dead letters": sum(1 for _ in of(notes, BURIED)),
            }
            lines.append(f"{place}: " + ", ".join(f"{n} {what}" for what, n in numbers.items()))
        asked, answered = (sum(1 for _ in of(self.notes, kind)) for kind in (ASKED, ANSWERED))
        lines.append(f"{asked} requests, {answered} answers")
        return "\n".join(lines)
