"""A link that we have dialled: we are a client there, with the verbs that `broker.peering.visit` takes.

    what waits here for the peer     ─▶ SEND receipt:LANE.NUMBER …      RECEIPT ─▶ done here; ERROR ─▶ a dead letter here
    MESSAGE ack:LANE.NUMBER          ─▶ taken like any of the peer's    ─▶ ACK once it is on disk; NACK: never

An ERROR with `retry`, or one that is about none of our messages, ends the link; it is dialled again after a while.
What we cannot read ends it too, after a NACK without an id: the peer knows what comes next for us.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from broker.client import Client
from broker.connection import PEER_NAME, Connection, for_peers
from broker.core.names import PEER
from broker.dialect import DIALECTS
from broker.errors import Full, HandshakeError, StompError
from broker.peering.forwarding import Forwarding
from broker.peering.peers import NODE, largest_of
from broker.peering.receiving import Receiving
from broker.person import another_broker
from broker.stomp.frame import Frame, header_lines
from broker.stomp.session import ClientSession

if TYPE_CHECKING:
    from broker.peering.peer import Peer
    from broker.peering.peers import Peers
    from broker.talk import Verb

SUBSCRIBED = "subscribed"  # the receipt of our one SUBSCRIBE


class Dialled(Connection):
    """Our end of a link to another broker."""

    def __init__(self, peers: Peers, peer: Peer, *house: Any) -> None:
        """`house` is what any `Connection` gets."""
        super().__init__(*house)
        self.peer = peer
        self._peers = peers
        beat = int(peer.settings.heart_beat * 1000)
        session = ClientSession((beat, beat))
        session.heard = session.spoke = self._turn.now
        self.session = self._ours = session
        self._why = "the broker there did not answer"
        request = session.request(
            peer.settings.virtual_host,
            peers.own_name,
            peer.settings.passcode,
            {**peers.introduce(), "accept-version": "1.2"},
        )
        self.say(request.encode("1.0"))

    def _connect(self, frame: Frame) -> None:
        """The peer has answered."""
        peer, headers = self.peer, frame.headers
        if frame.command == "ERROR":
            self.give_up(f"the peer said: {headers.get('message', '')}")
            return
        try:
            self._ours.accept(frame)
            if self._ours.version != "1.2":
                raise HandshakeError("Peers speak STOMP 1.2")
            largest = largest_of(headers)
            if headers.get(PEER_NAME) != peer.name:
                raise HandshakeError(f"The broker there calls itself {headers.get(PEER_NAME)}")
        except StompError as error:
            self._error(error)
            return
        self._why = "the link was lost"
        self._parser.version = "1.2"
        self._parser.limits = for_peers(self._options)
        client = Client(
            "1.2",
            DIALECTS["activemq"],
            self._broker,
            self._options,
            self._outbox,
            partial(self._turn.promise, self),
            self._session_id,
            another_broker(peer.name),
            "",
            self._turn.stamp,
            self._host.rights,
        )
        self._conversation = Dialogue(self, client, headers[NODE], largest)
        self._look_after()

    def _error(self, error: StompError, frame: Frame | None = None) -> None:
        """A fault of the peer's: one of its messages is refused, or the link ends."""
        key = "" if frame is None else frame.headers.get("ack", "")
        if key and not error.fatal and not isinstance(error, Full):
            self._turn.promise(self, refusal(error.text, key))
            return
        why = error.hint if error.hint.startswith(error.text) else f"{error.text}. {error.hint}"
        if frame is None and self._conversation is not None:
            self._why = why
            self._end(refusal(error.text))
        else:
            self.give_up(why)

    def give_up(self, why: str) -> None:
        """End the link, to dial again after a while."""
        if not self.closing:
            self._why = why
            self._leave()
            self.transport.abort()

    def explain(self, why: str) -> None:
        """Whoever carries the link knows why it ends."""
        if not self.closing:
            self._why = why

    def lost(self) -> None:
        """The link is gone."""
        super().lost()
        self.peer.failed(self._why)

    def why(self) -> str:
        """Return why it ends."""
        return self._why


class Dialogue:
    """What the peer says, after CONNECTED."""

    def __init__(self, link: Dialled, client: Client, node: str, largest: int) -> None:
        self._link = link
        self._peer = link.peer
        self._could_not_bear = False  # the peer, what it was sent
        self._client = client
        self._receiving = Receiving(link.peer, client, link._host.id_prefix)
        self.verbs: dict[str, Verb] = {
            "RECEIPT": self._receipt,
            "MESSAGE": self._message,
            "ERROR": self._said_error,
        }
        self._peer.ledger.meet(node)
        self._forwarding = Forwarding(self._peer, send_head, client.outbox, largest)
        lines = header_lines(
            (
                ("id", "peer"),
                ("destination", PEER + self._peer.own_name),
                ("ack", "client-individual"),
                ("receipt", SUBSCRIBED),
            ),
            "1.2",
        )
        client.outbox.say(b"SUBSCRIBE\n%b\n\0\n" % lines)
        self._peer.attach(self._forwarding, link.give_up)

    def pause(self, paused: bool) -> None:
        """Hand over no more messages, or go on."""
        self._forwarding.stop(paused)

    def leave(self, died: bool) -> None:
        """The link is gone: what was not confirmed waits for the next one.

        That it `died` says nothing about what it carried.
        """
        if self.verbs:
            self.verbs = {}
            self._peer.detach(self._forwarding, self._link.why(), self._could_not_bear)

    def _receipt(self, frame: Frame) -> None:
        if self._forwarding.confirm(frame.headers.get("receipt-id", "")):
            self._peer.works()

    def _message(self, frame: Frame) -> None:
        key = frame.headers.get("ack", "")
        self._receiving.take(key, frame)
        self._peer.works()
        self._client.promise(b"ACK\nid:%b\n\n\0\n" % key.encode())

    def _said_error(self, frame: Frame) -> None:
        headers = frame.headers
        key, text = headers.get("receipt-id", ""), headers.get("message", "")
        if key == SUBSCRIBED:
            return  # it dials us as well, and what waits for us comes over that link
        if "retry" not in headers and self._forwarding.refuse(key, text):
            return
        self._could_not_bear = not key and "retry" not in headers
        self._link.give_up(f"the peer said: {text}")


def refusal(why: str, key: str = "") -> bytes:
    """Return the NACK of a message; without a key it is the oldest that was not confirmed."""
    headers = [("id", key)] if key else []
    return b"NACK\n%b\n\0\n" % header_lines([*headers, ("reason", why)], "1.2")


def send_head(key: str) -> bytes:
    """Return what stands before a message's tail."""
    return b"SEND\ndestination:/peer\nreceipt:%b\n" % key.encode()
