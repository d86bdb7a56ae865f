"""All brokers that this one knows by name: where `/peer/NAME/…` leads, and who is let in as a peer.

Only an operator names them (`[peer.NAME]` of the configuration). A client says a name, never an address.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from hmac import compare_digest
from typing import TYPE_CHECKING

from broker.connection import PEER_NAME as NAME
from broker.core.names import PEER
from broker.errors import HandshakeError, Refusal, StompError
from broker.peering.address import is_report, read_address
from broker.peering.peer import Peer, Tell
from broker.peering.queue import STORED_AS, PeerRoute
from broker.peering.visit import Visit

if TYPE_CHECKING:
    from broker.client import Client
    from broker.core.broker import Broker
    from broker.core.fanout import Route
    from broker.options import Options

#: Headers of CONNECT and CONNECTED between brokers, beside that of the name.
NODE, LARGEST = "hoofbeat-node", "hoofbeat-max-body"

RUN = 1 << 42  # numbers that belong to one run of a broker: at 50,000 a second they last for years


class Peers:
    """All of them."""

    def __init__(self, broker: Broker, options: Options, node: str, boot: int, tell: Tell) -> None:
        """`node` names our store for ever, `boot` counts its runs; `tell` is the operator's."""
        self.own_name = options.name
        self._node = node
        self._largest = options.max_body
        self._all = {
            section.name: Peer(broker, section, options.name, tell) for section in options.peers
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
