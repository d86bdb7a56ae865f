"""Where a connection is let in: to which virtual host, and as whom.

    CONNECT ─▶ `find`: the host that it names ─▶ `let_in`: who is it?  ─▶ at once or later: a `Person`, or no

Not here: how the answer is found. `Open` is the reception of a broker that asks nobody.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from broker.agenda import Agenda
from broker.core.broker import Broker
from broker.errors import HandshakeError
from broker.options import Options
from broker.person import Person, unchecked
from broker.rights import Rights
from broker.talk import Visitors
from broker.turn import Turn


@dataclass(frozen=True, slots=True)
class Host:
    """A virtual host, as its connections know it."""

    broker: Broker
    turn: Turn
    options: Options
    #: Begins the ids of messages that arrive here; no two stores or runs share one.
    id_prefix: bytes
    agenda: Agenda
    #: Who knows other brokers; without, none is taken for one.
    visitors: Visitors | None = None
    #: Who may do what there; without, nothing is said, and everybody may.
    rights: Rights = field(default_factory=Rights)


@dataclass(frozen=True, slots=True)
class Claim:
    """Who a client says it is."""

    login: str
    passcode: str = field(repr=False)


#: Hears who a client is, or why it is not let in.
Answer = Callable[[Person | HandshakeError], None]


class Guard(Protocol):
    """Who finds out who one client is, wherever it goes."""

    def let_in(self, claim: Claim, answer: Answer) -> None:
        """Call `answer` at once, or later in a turn."""

    def meet(self, peer: str, outcome: Person | HandshakeError, answer: Answer) -> None:
        """Another broker has come as a login, and its own passcode was right or not: call `answer` in the same way."""


class Reception(Guard, Protocol):
    """Who lets one connection in, to a virtual host."""

    def find(self, name: str) -> Host:
        """Go to the virtual host of a name, "" if the client named none, and return it. Raises `HandshakeError`."""


class Open:
    """Lets everybody in, to the only host, as whom he says he is."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def find(self, name: str) -> Host:
        """Return the only host: as with ActiveMQ it has all names."""
        return self._host

    def let_in(self, claim: Claim, answer: Answer) -> None:
        """Let somebody in."""
        answer(unchecked(claim.login))

    def meet(self, peer: str, outcome: Person | HandshakeError, answer: Answer) -> None:
        """Let a peer in, or not."""
        answer(outcome)
