"""Up to where a peer's messages have come: what makes each of them come once.

A peer sends what waits in its queue for us in order, lane by lane (a priority each), and by its own sequence
numbers, which never go back as long as its store lives. So the last number of each lane tells what has come. What
was refused for good is remembered too, with the reason: a peer that was killed before it knew asks again.

It is a mark of the journal: it goes to disk in one batch with the messages it is about.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from broker.core.broker import Broker

MARK = b"peer "  # begins the marks' names, the peer's follows
MOST_REFUSED = 100  # that are remembered: a peer asks again at most for what was in flight


class Ledger:
    """What has come from one peer, and what an operator has decided about it."""

    def __init__(self, broker: Broker, name: str) -> None:
        self._broker = broker
        self._key = MARK + name.encode()
        self.paused = False  # nothing is sent to it
        self._node = ""  # the store that the numbers are of
        self._last: dict[int, int] = {}  # lane → number
        self._refused: dict[str, str] = {}  # `LANE.NUMBER` → why, oldest first
        kept = broker.marks.get(self._key)
        if kept is not None:
            found = json.loads(kept)
            self.paused = found["paused"]
            self._node = found["node"]
            self._last = {int(lane): number for lane, number in found["last"].items()}
            self._refused = found["refused"]

    def meet(self, node: str) -> None:
        """A link begins, to a broker with this store. If it is another than before, its numbers are others too."""
        if node != self._node:
            self._node = node
            self._last.clear()
            self._refused.clear()
            self._note()

    def has(self, lane: int, number: int) -> bool:
        """Tell whether a message has come before."""
        return number <= self._last.get(lane, -1)

    def why_refused(self, key: str) -> str:
        """Return why a message was refused that has come before, "" if it was not."""
        return self._refused.get(key, "")

    def note(self, lane: int, number: int) -> None:
        """A message has come."""
        self._last[lane] = number
        self._note()

    def note_refused(self, lane: int, number: int, why: str) -> None:
        """A message has come and was refused for good."""
        self._refused[f"{lane}.{number}"] = why
        if len(self._refused) > MOST_REFUSED:
            del self._refused[next(iter(self._refused))]
        self.note(lane, number)

    def pause(self, paused: bool) -> None:
        """An operator says that nothing is to be sent there, or that it goes on."""
        self.paused = paused
        self._note()

    def _note(self) -> None:
        self._broker.journal.mark(self._key, self._encode)

    def _encode(self) -> bytes:
        state = {
            "paused": self.paused,
            "node": self._node,
            "last": self._last,
            "refused": self._refused,
        }
        return json.dumps(state).encode()
