"""A link that another broker has dialled: it is a client with a few verbs of its own.

    SEND           a message of the peer's, called LANE.NUMBER by its receipt ─▶ RECEIPT once it is on disk
    SUBSCRIBE      to /peer/ITS-NAME: what waits here for it comes as MESSAGE, called LANE.NUMBER by its ack
    ACK, NACK      what it has taken, and what it never will; without an id: the oldest, which it cannot read
    DISCONNECT     as ever

What there is no room for ends the link: what comes behind it must not be taken before it. The peer dials again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from broker.answers import receipt_frame
from broker.client import Client
from broker.core.event import Event
from broker.core.names import PEER
from broker.errors import Full, Refusal, StompError
from broker.peering.forwarding import Forwarding
from broker.peering.receiving import Receiving
from broker.stomp.frame import Frame

if TYPE_CHECKING:
    from broker.peering.peer import Peer
    from broker.talk import Verb


class Visit:
    """What a peer says that has dialled us."""

    def __init__(
        self,
        peer: Peer,
        node: str,
        largest: int,
        client: Client,
        id_prefix: bytes,
        end: Callable[[bytes], None],
        dismiss: Callable[[StompError], None],
    ) -> None:
        """`node` is the peer's store, `largest` the bytes of a body that it takes; `end` says the last word."""
        self._peer = peer
        self._client = client
        self._largest = largest
        self._end = end
        self._dismiss = dismiss
        self._receiving = Receiving(peer, client, id_prefix)
        self._forwarding: Forwarding | None = None
        self._paused = False
        self.verbs: dict[str, Verb] = {
            "SEND": self._take,
            "SUBSCRIBE": self._subscribe,
            "ACK": self._ack,
            "NACK": self._nack,
            "DISCONNECT": self._disconnect,
        }
        peer.ledger.meet(node)
        client.broker.tell(Event("Connection", client))

    def pause(self, paused: bool) -> None:
        """Hand over no more messages, or go on."""
        self._paused = paused
        if self._forwarding is not None:
            self._forwarding.stop(paused)

    def leave(self, died: bool) -> None:
        """The peer is gone or going: what it has not confirmed waits for its next link."""
        if not self.verbs:
            return
        self.verbs = {}
        if self._forwarding is not None:
            self._peer.detach(
                self._forwarding, "the peer hung up" if died else "the link was ended"
            )
        self._client.broker.tell(Event("Connection", self._client, gone=True))

    def _take(self, frame: Frame) -> None:
        key = frame.headers.get("receipt", "")
        try:
            self._receiving.take(key, frame)
        except Full as full:
            full.fatal = True
            raise
        self._client.promise(receipt_frame(key, self._client.version))

    def _subscribe(self, frame: Frame) -> None:
        destination = frame.headers.get("destination", "")
        if destination != PEER + self._peer.name:
            raise Refusal(
                f"A peer cannot subscribe to {destination}",
                f"What waits for it is called {PEER}{self._peer.name}.",
            )
        if self._peer.is_dialled:
            raise Refusal(
                f"{self._peer.own_name} dials {self._peer.name} itself",
                "What waits comes over that link.",
            )
        self._client.say_receipt(frame.headers)
        head = b"MESSAGE\nsubscription:%b\ndestination:/peer\nack:%%b\n" % (
            frame.headers.get("id", "").encode()
        )
        self._forwarding = Forwarding(
            self._peer, lambda key: head % key.encode(), self._client.outbox, self._largest
        )
        self._forwarding.stop(self._paused)
        self._peer.attach(self._forwarding, self._let_go)

    def _ack(self, frame: Frame) -> None:
        key = frame.headers.get("id", "")
        if self._forwarding is None or not self._forwarding.confirm(key):
            raise Refusal(f"Nothing is in flight that is called {key}")
        self._peer.works()

    def _nack(self, frame: Frame) -> None:
        key = frame.headers.get("id", "")
        why = frame.headers.get("reason", "")
        if not key and self._forwarding is not None:
            key = self._forwarding.oldest
        if self._forwarding is None or not self._forwarding.refuse(key, why):
            raise Refusal(f"Nothing is in flight that is called {key}")

    def _disconnect(self, frame: Frame) -> None:
        receipt = frame.headers.get("receipt")
        self._end(b"" if receipt is None else receipt_frame(receipt, self._client.version))

    def _let_go(self, why: str) -> None:
        self._dismiss(Full(f"This link ends: {why}", "It may be made again."))
