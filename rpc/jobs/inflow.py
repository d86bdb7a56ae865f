"""A consumer of one queue without a socket: messages that wait to be taken, those at work, words not confirmed yet.

A word is lost if the connection breaks before the broker has it, and the message comes again. So what was said is
kept until its RECEIPT: a message that comes again has it said once more, and is not handed out twice. One that is
still at work when the connection breaks is not handed out twice either: its word goes to whichever copy is the last.

    took in ──take──> at work ──say──> said ──RECEIPT──> forgotten
      └─ lost: comes again   └─ lost, comes again: at work still, or said once more

Pure, not locked; belongs to one event loop.
"""

from __future__ import annotations

import logging
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Protocol

from broker.stomp import Frame
from rpc.errors import BrokerRefused, ConnectionLost
from rpc.jobs.consuming import Settings
from rpc.jobs.message import PROCESSED, Message, Word
from rpc.lifeline import Host, Lifeline, Timer
from rpc.link import Link, refusal

log = logging.getLogger("rpc")

SUBSCRIPTION = "inbox"
SUBSCRIBED, GOODBYE = "subscribed", "goodbye"  # receipts; no message-id reads so
FAREWELL = 5.0  # seconds for the broker to confirm the last words
MOST_SAID = 10_000  # words that are kept, of messages that may never come again


class InflowHost(Host, Protocol):
    """What an inflow needs of the event loop it lives on."""

    def came(self) -> None:
        """There is something to take, or it is over."""


class Inflow:
    """One consumer, over one connection after the other."""

    def __init__(
        self, host: InflowHost, settings: Settings, say: Callable[[Message, Word], None]
    ) -> None:
        """`say`: what messages tell their words to."""
        self.lifeline = Lifeline(
            host, self, settings.address, settings.heart_beat, settings.connect_timeout
        )
        self.refusal: BrokerRefused | None = None  # it was not even let begin
        self.stopping = False  # nothing more is taken
        self.over = False
        self._host = host
        self._settings = settings
        self._say = say
        self._served = False  # was subscribed once
        self._ready: deque[Frame] = deque()
        self._at_work: dict[str, Frame | None] = {}  # by message-id; None: its connection is lost
        self._said: OrderedDict[str, Word] = OrderedDict()
        self._farewell: Timer | None = None

    # What the face asks for.

    def take(self) -> Message | None:
        """Return the next message, if there is one."""
        if not self._ready or self.stopping:
            return None
        frame = self._ready.popleft()
        self._at_work[frame.headers["message-id"]] = frame
        return Message(frame, self._say)

    def say(self, message: Message, word: Word) -> None:
        """Tell the broker a message's word, now or when the message comes again."""
        key = message.headers["message-id"]
        self._said[key] = word
        if len(self._said) > MOST_SAID:
            self._said.popitem(last=False)
        frame = self._at_work.pop(key, None)
        if frame is not None:
            self._tell(frame, word)

    def stop(self) -> None:
        """Take nothing more."""
        self.stopping = True
        self._host.came()

    def finish(self) -> None:
        """Leave, once the broker has confirmed what was said; what was not taken goes back."""
        self.stop()
        link = self.lifeline.link
        if link is None or not self.lifeline.is_open:
            self._end()
        elif self._farewell is None:
            self.lifeline.send(link.disconnect(GOODBYE))
            self._farewell = self._host.later(FAREWELL, self._end)

    # rpc.lifeline.Speaker

    def greeting(self, link: Link) -> bytes:
        """Return what a new connection is to be told first."""
        return link.subscribe(
            self._settings.destination,
            SUBSCRIPTION,
            "client-individual",
            prefetch=self._settings.prefetch,
            receipt=SUBSCRIBED,
        )

    def begun(self) -> None:
        """The connection is open; a RECEIPT will tell when messages come."""

    def heard(self, frames: list[Frame]) -> None:
        """Frames have come."""
        for frame in frames:
            if frame.command == "MESSAGE":
                self._came(frame)
            elif frame.command == "RECEIPT":
                self._confirmed(frame.headers.get("receipt-id", ""))
            elif not self._served:
                self._end(refusal(frame))
            else:
                # A word for a message that is not ours any more. If the link must end, the broker ends it.
                self._said.pop(frame.headers.get("receipt-id", ""), None)
                log.warning("The broker refused: %s", refusal(frame))
            if self.over:
                return

    def ended(self, error: ConnectionLost, was_open: bool, has_left: Callable[[int], bool]) -> bool:
        """The connection is lost; make another, unless it is over."""
        self._ready.clear()
        self._at_work = dict.fromkeys(self._at_work)
        if self.over:
            return False
        refused = error if isinstance(error, BrokerRefused) and not self._served else None
        if refused is not None or self._farewell is not None:
            self._end(refused)
            return False
        log.warning("%s; trying again", error)
        return True

    def _came(self, frame: Frame) -> None:
        """A message has come, for the first time or again."""
        key = frame.headers["message-id"]
        if word := self._said.get(key):
            self._tell(frame, word)
        elif key in self._at_work:
            self._at_work[key] = frame
        else:
            self._ready.append(frame)
            self._host.came()

    def _confirmed(self, receipt: str) -> None:
        if receipt == GOODBYE:
            self._said.clear()
            self._end()
        elif receipt == SUBSCRIBED:
            self._served = True
            log.info("Taking from %s at %s", self._settings.destination, self._settings.address)
        else:
            self._said.pop(receipt, None)

    def _tell(self, frame: Frame, word: Word) -> None:
        link, key = self.lifeline.link, frame.headers["message-id"]
        if link is None or not self.lifeline.is_open:
            return
        if word is PROCESSED:
            said = link.ack(frame, receipt=key)
        else:
            said = link.nack(frame, delay=word.delay, reason=word.reason, receipt=key)
        self.lifeline.send(said)
        if word.delay is not None:  # it comes again in any case, perhaps before the RECEIPT
            del self._said[key]

    def _end(self, refused: BrokerRefused | None = None) -> None:
        if self.over:
            return
        self.over = True
        self.refusal = refused
        if self._farewell is not None:
            self._farewell.cancel()
        if self._said:
            log.warning(
                "The broker has not confirmed %d words: their messages may come again",
                len(self._said),
            )
        self.lifeline.close(ConnectionLost("The inbox was left", sent=True))
        self._host.came()
