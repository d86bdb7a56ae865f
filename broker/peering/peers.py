"""All brokers that this one knows by name: what waits for each, who carries it, how it fares.

Only an operator names them (`[peer.NAME]` of the configuration). A client says a name, never an address.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from hmac import compare_digest
from typing import TYPE_CHECKING

from broker.connection import PEER_NAME as NAME
from broker.core.names import PEER
from broker.core.policy import DEFAULT
from broker.errors import HandshakeError, Refusal, StompError
from broker.peering.address import is_report, make_test, read_address
from broker.peering.ledger import Ledger
from broker.peering.queue import STORED_AS, PeerQueue, PeerRoute
from broker.peering.visit import Visit

if TYPE_CHECKING:
    from broker.client import Client
    from broker.core.broker import Broker
    from broker.core.fanout import Route
    from broker.options import Options
    from broker.peering.forwarding import Forwarding
    from broker.sections import PeerSection

#: Headers of CONNECT and CONNECTED between brokers, beside that of the name.
NODE, LARGEST = "hoofbeat-node", "hoofbeat-max-body"

LONGEST = 500  # characters of a trouble
MOST_SAID = 20  # troubles that the operator hears of before there is a link again
RUN = 1 << 42  # numbers that belong to one run of a broker: at 50,000 a second they last for years


class Peer:
    """One other broker."""

    def __init__(
        self, broker: Broker, settings: PeerSection, own_name: str, say: Callable[[str], None]
    ) -> None:
        """`say` tells the operator."""
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
        self._say = say
        self._said: set[str] = set()  # the troubles of which the operator has heard
        self._forwarding: Forwarding | None = None
        self._let_go: Callable[[str], None] = lambda why: None

    @property
    def is_dialled(self) -> bool:
        """True when it is we who make the link."""
        return bool(self.settings.url)

    def attach(self, forwarding: Forwarding, let_go: Callable[[str], None]) -> None:
        """A link carries what waits; one before it, which may be dead, is told to end by its `let_go`."""
        before, self._forwarding = self._forwarding, None
        if before is not None:
            self._let_go("another link to the same broker has come")
            before.end()
        self._forwarding, self._let_go = forwarding, let_go
        self.linked_since = self._broker.now
        self._said.clear()
        self._say(f"linked to the peer {self.name}")
        forwarding.begin()

    def detach(self, forwarding: Forwarding, why: str, died: bool = False) -> None:
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
            self._say(f"no link to the peer {self.name}: {self.trouble}")


class Peers:
    """All of them."""

    def __init__(
        self, broker: Broker, options: Options, node: str, boot: int, say: Callable[[str], None]
    ) -> None:
        """`node` names our store for ever, `boot` counts its runs; `say` tells the operator."""
        self.own_name = options.name
        self._node = node
        self._largest = options.max_body
        self._all = {
            section.name: Peer(broker, section, options.name, say) for section in options.peers
        }
        broker.routes.services[PEER] = self._route
        if self._all:
            # Peers may have seen numbers of the last run that never came to the disk.
            broker.next_seq = max(broker.next_seq, boot * RUN)
        #: Peers that are not named any more, and how many messages wait for each.
        self.forgotten = {
            name.removeprefix(STORED_AS): sum(lanes.values())
            for name, lanes in broker.routes.unclaimed.items()
            if name.startswith(STORED_AS) and name.removeprefix(STORED_AS) not in self._all
        }

    def __iter__(self) -> Iterator[Peer]:
        return iter(self._all.values())

    def get(self, name: str) -> Peer | None:
        """Return the peer of a name."""
        return self._all.get(name)

    def _route(self, destination: str) -> Route:
        """Return where `/peer/NAME/…` leads. Raises `Refusal`."""
        name, target = read_address(destination)
        peer = self._all.get(name)
        if peer is None:
            raise Refusal(f"There is no peer {name}", "The operator of a broker names its peers.")
        if not (is_report(target) or peer.may_send_there(target)):
            raise Refusal(
                f"Nothing may be sent to {destination}",
                f"The operator allows only some destinations there: [peer.{name}] send.",
            )
        return PeerRoute(peer.queue, target)

    # How two brokers meet.

    def introduce(self) -> dict[str, str]:
        """Return the headers of CONNECT, or CONNECTED, that tell the other broker who we are."""
        return {NAME: self.own_name, NODE: self._node, LARGEST: str(self._largest)}

    def meet(self, headers: Mapping[str, str], version: str) -> dict[str, str]:
        """Check a CONNECT from another broker; return what CONNECTED is to tell it. Raises `HandshakeError`."""
        self._welcome(headers)
        largest_of(headers)
        if version != "1.2":
            raise HandshakeError("Peers speak STOMP 1.2", "accept-version:1.2")
        return self.introduce()

    def talk(
        self,
        headers: Mapping[str, str],
        client: Client,
        id_prefix: bytes,
        end: Callable[[bytes], None],
        dismiss: Callable[[StompError], None],
    ) -> Visit:
        """Return what a peer says that was met; for the parameters see `Visit`."""
        peer = self._welcome(headers)
        return Visit(peer, headers[NODE], largest_of(headers), client, id_prefix, end, dismiss)

    def _welcome(self, headers: Mapping[str, str]) -> Peer:
        """Return the peer that a CONNECT is from. Raises `HandshakeError`."""
        name = headers[NAME]
        peer = self._all.get(name)
        passcode = "" if peer is None else peer.settings.passcode
        given = headers.get("passcode", "")
        if peer is None or not compare_digest(passcode.encode(), given.encode()):
            raise HandshakeError(
                f"The broker {self.own_name} does not know a peer {name} with this passcode",
                "Both configurations name each other, with the same passcode.",
            )
        return peer


def largest_of(headers: Mapping[str, str]) -> int:
    """Return how large a body the other broker takes, in bytes. Raises `HandshakeError`."""
    text = headers.get(LARGEST, "")
    if not (text.isascii() and text.isdecimal() and len(text) < 19 and headers.get(NODE)):
        raise HandshakeError("This is no hoofbeat", "Only hoofbeats can be peers.")
    return int(text)
