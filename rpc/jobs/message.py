"""A message that has come, and the one word that its receiver says of it. Knows headers, and no connection."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from broker.stomp import Frame

VIA = "peer-via"  # the brokers that it came through, oldest first
LOGINS = ("JMSXUserID", "report-owner")  # whose it is, if its broker says so


@dataclass(frozen=True, slots=True)
class Origin:
    """Who sent a message, as the brokers tell it; no client can write that."""

    login: str | None  # of the sender; None: it has none, or its broker does not tell
    brokers: tuple[str, ...]  # that it came through, by their names, oldest first; none: ours

    @property
    def broker(self) -> str | None:
        """The broker that its sender gave it to; None: ours."""
        return self.brokers[0] if self.brokers else None

    def __str__(self) -> str:
        """Return both in a few words: `shop at site-a`, `shop`, `site-a`, or `here`."""
        return " at ".join(filter(None, (self.login, self.broker))) or "here"


@dataclass(frozen=True, slots=True)
class Word:
    """What is said of a message."""

    name: str
    reason: str = ""
    delay: float | None = None  # seconds until it comes again; None: it does not


PROCESSED = Word("processed")


class Message:
    """A message. Its receiver says one word of it: `processed`, `failed` or `later`."""

    def __init__(self, frame: Frame, say: Callable[[Message, Word], None]) -> None:
        """`say` is told the word, in whichever thread it was said."""
        self.headers = frame.headers
        self.body = frame.body
        self.word: Word | None = None  # what was said of it
        self._say = say

    @property
    def id(self) -> str:
        """What its sender knows it by: its correlation-id, else its message-id."""
        return self.headers.get("correlation-id") or self.headers["message-id"]

    @property
    def sender(self) -> Origin:
        """Who sent it."""
        headers = self.headers
        login = next((headers[name] for name in LOGINS if headers.get(name)), None)
        return Origin(login, tuple(filter(None, headers.get(VIA, "").split(","))))

    @property
    def text(self) -> str:
        """Its body as a text. Raises `UnicodeDecodeError` if it is none in UTF-8."""
        return self.body.decode()

    @property
    def redelivered(self) -> bool:
        """True if it may have been handed out before: what it asks for may be done already."""
        return self.headers.get("redelivered", "").lower() == "true"

    def processed(self) -> None:
        """It is done: its sender is told so, and it does not come again."""
        self._speak(PROCESSED)

    def failed(self, reason: str) -> None:
        """It cannot be done, now or ever: its sender is told why, and it becomes a dead letter."""
        self._speak(Word("failed", reason=reason))

    def later(self, delay: float = 0.0) -> None:
        """It is kept for later: it comes again after `delay` seconds, 0: as the queue's redelivery policy says.

        What was given back too often (`max_redeliveries`) is FAILED. Raises `ValueError` for a delay below 0.
        """
        if not delay >= 0:
            raise ValueError(f"A delay is a number of seconds, not {delay!r}")
        self._speak(Word("later", delay=delay))

    def _speak(self, word: Word) -> None:
        if self.word is not None:
            raise RuntimeError(f"The message {self.id} has had its word: {self.word.name}")
        self.word = word
        self._say(self, word)

    def __repr__(self) -> str:
        return f"<Message {self.id} from {self.sender}>"
