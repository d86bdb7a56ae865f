"""One other broker: what waits for it, who carries it, what has come from it, how it fares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from broker.core.policy import DEFAULT
from broker.peering.address import make_test
from broker.peering.ledger import Ledger
from broker.peering.queue import PeerQueue

if TYPE_CHECKING:
    from broker.core.broker import Broker
    from broker.sections import PeerSection

LONGEST = 500  # characters of a trouble
MOST_SAID = 20  # troubles that the operator hears of before there is a link again


#: Tells the operator of a peer, by its name: what trouble there is, "" if it is linked.
Tell = Callable[[str, str], None]


class Carrier(Protocol):
    """Who carries what waits: see `broker.peering.forwarding`."""

    def begin(self) -> None:
        """Forward what waits, and what comes."""

    def end(self, died: bool = False) -> None:
        """The link is gone."""

    def pause_as_told(self) -> None:
        """An operator has paused the peer, or lets it go on."""


class Peer:
    """One other broker."""

    def __init__(self, broker: Broker, settings: PeerSection, own_name: str, tell: Tell) -> None:
        self.name = settings.name
        self.own_name = own_name
        self.settings = settings
        policy = replace(
            DEFAULT, max_messages=settings.outbox_messages, at_limit=settings.outbox_at_limit
        )
        self.queue = PeerQueue(broker, self.name, policy)
        self.ledger = Ledger(broker, self.name)
        self.may_send_there = make_test(settings.send)
        self.may_send_here = make_test(settings.accept)
        self.linked_since = 0  # milliseconds since 1970; 0: there is no link
        self.trouble = ""  # why the last link ended, or none came about
        self.failures = 0  # links in a row over which nothing came or went
        self.forwarded = 0  # messages that it has confirmed, since the start
        self.came = 0  # messages of it that were taken
        self.repeated = 0  # that came a second time, and were only confirmed
        self.refused_here = 0  # that were refused for good
        self.refused_there = 0  # the same, by the peer
        self._broker = broker
        self._tell_operator = tell
        self._said: set[str] = set()  # the troubles of which the operator has heard
        self._forwarding: Carrier | None = None
        self._let_go: Callable[[str], None] = lambda why: None

    @property
    def is_dialled(self) -> bool:
        """True when it is we who make the link."""
        return bool(self.settings.url)

    def attach(self, forwarding: Carrier, let_go: Callable[[str], None]) -> None:
        """A link carries what waits; one before it, which may be dead, is told to end by its `let_go`."""
        before, self._forwarding = self._forwarding, None
        if before is not None:
            self._let_go("another link to the same broker has come")
            before.end()
        self._forwarding, self._let_go = forwarding, let_go
        self.linked_since = self._broker.now
        self._said.clear()
        self._tell_operator(self.name, "")
        forwarding.begin()

    def detach(self, forwarding: Carrier, why: str, died: bool = False) -> None:
        """A link carries no more."""
        if self._forwarding is forwarding:
            self._forwarding, self._let_go = None, lambda why: None
            self.linked_since = 0
            self._tell(why)
        forwarding.end(died)

    def pause(self, paused: bool) -> None:
        """Send nothing to it, or go on; also after a restart."""
        self.ledger.pause(paused)
        if self._forwarding is not None:
            self._forwarding.pause_as_told()

    def failed(self, why: str) -> None:
        """A link was lost, or did not come about."""
        self.failures += 1
        self._tell(why)

    def works(self) -> None:
        """Something came or went over the link."""
        self.failures = 0

    def _tell(self, why: str) -> None:
        """Note a trouble, and tell of it once: links are dialled again and again. It may be in the peer's words."""
        self.trouble = "".join(
            char if char.isprintable() else " " for char in why[:LONGEST]
        ).strip()
        if self.trouble not in self._said and len(self._said) < MOST_SAID:
            self._said.add(self.trouble)
            self._tell_operator(self.name, self.trouble)
