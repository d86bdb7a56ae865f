"""Methods for other brokers: how the links to them fare; pause one, and let it go on."""

from __future__ import annotations

from typing import Any

from broker.admin.faults import wrong
from broker.admin.outside import House
from broker.peering.peer import Peer
from broker.peering.peers import Peers
from broker.watch.presence import in_flight

Object = dict[str, Any]


class Links:
    """Looks at peers, and pauses them."""

    def __init__(self, house: House) -> None:
        self._peers: Peers = house.peers

    def peers(self) -> list[Object]:
        """List the brokers that this one knows, by name."""
        return [tell(peer) for peer in sorted(self._peers, key=lambda peer: peer.name)]

    def pause_peer(self, name: str) -> Object:
        """Send nothing more to a peer, also after a restart; what is sent to it waits. What it sends is taken."""
        return self._pause(name, True)

    def resume_peer(self, name: str) -> Object:
        """Send to a peer again."""
        return self._pause(name, False)

    def _pause(self, name: str, paused: bool) -> Object:
        peer = self._peers.get(name)
        if peer is None:
            raise wrong("name", f"there is no peer {name!r}")
        peer.pause(paused)
        return tell(peer)


def tell(peer: Peer) -> Object:
    """Return how a peer fares."""
    return {
        "name": peer.name,
        "url": peer.settings.url or None,
        "linked": bool(peer.linked_since),
        "since": peer.linked_since or None,
        "trouble": peer.trouble or None,
        "paused": peer.ledger.paused,
        "waiting": peer.queue.waiting,
        "in_flight": in_flight(peer.queue),
        "forwarded": peer.forwarded,
        "refused_there": peer.refused_there,
        "came": peer.came,
        "repeated": peer.repeated,
        "refused_here": peer.refused_here,
    }
