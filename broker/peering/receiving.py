"""What a peer sends becomes a message here, once: found to be new, allowed, and sent on as if by a client.

On the way a message changes only as the way demands: `peer-via` grows by the name of the broker it came from, and
`reply-to` and `report-to` get that broker in front, so that answers and reports find home.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.client import Client
from broker.core.names import OWN_QUEUE, OWN_TOPIC
from broker.errors import Full, ProtocolError, Refusal
from broker.peering.address import (
    LINK_HEADERS,
    MOST_HOPS,
    TARGET,
    VIA,
    is_report,
    way_back,
)
from broker.reporting import REPORT_ID, REPORT_TO, REPORTS
from broker.sending import INTERPRETED, Sending
from broker.stomp.frame import Frame

if TYPE_CHECKING:
    from broker.peering.peer import Peer

#: Of the headers that came with a message, those that are the link's, or are written anew here.
NOT_PASSED_ON = LINK_HEADERS | {
    *("ack", "content-length", "destination", "message-id", "receipt", "subscription"),
    "redelivered",
}
#: Headers whose value decides what becomes of a message that a peer sends; the rest may differ from one to the next.
VARIED = LINK_HEADERS | INTERPRETED - {"expires", "message-id", "timestamp"} | {"JMSXUserID"}
USER = "JMSXUserID"  # who sent it there: a peer is trusted to know


class Receiving:
    """Takes what one peer sends over one link."""

    def __init__(self, peer: Peer, client: Client, id_prefix: bytes) -> None:
        """`client` stands for the peer, `id_prefix` begins the ids that messages get here."""
        self._peer = peer
        self._broker = client.broker
        self._sending = Sending(client, id_prefix, no_replies)
        self._longest = client.options.max_header_line

    def take(self, key: str, frame: Frame) -> None:
        """Take a message, unless it has come before; `key` is what the peer calls it.

        Once everything done so far is durable, it can be confirmed. Raises `Full` for what may be taken when it
        comes again, `Refusal` for what never can be, and `Blocked`.
        """
        peer, ledger = self._peer, self._peer.ledger
        lane, number = read_key(key)
        if ledger.has(lane, number):
            peer.repeated += 1
            if why := ledger.why_refused(key):
                raise Refusal(why)
            return
        try:
            if not self._sending.send_again(frame):
                self._send(frame)
        except Full:
            raise
        except Refusal as error:
            ledger.note_refused(lane, number, error.text)
            peer.refused_here += 1
            raise
        ledger.note(lane, number)
        peer.came += 1

    def _send(self, frame: Frame) -> None:
        """Send it on, or home. Raises `Refusal`, and `Blocked`."""
        peer, headers = self._peer, frame.headers
        target = headers.get(TARGET, "")
        if target == REPORTS:
            self._broker.reports.came_home(peer.name, headers)
            return
        if "," in target or "?" in target or target != target.strip():
            raise Refusal(f"Not a destination by its plain name: {target}")
        via = [*filter(None, headers.get(VIA, "").split(",")), peer.name]
        check_way(via, peer.own_name)
        is_allowed = is_report(target) or peer.may_send_here(target)
        if target.startswith((OWN_QUEUE, OWN_TOPIC)) or not is_allowed:
            raise Refusal(
                f"{peer.name} may not send to {target}",
                f"The broker {peer.own_name} does not accept it from there: [peer.{peer.name}] accept.",
            )
        passed = {name: value for name, value in headers.items() if name not in NOT_PASSED_ON}
        passed["destination"] = target
        if "reply-to" in passed:
            passed["reply-to"] = reply_to = way_back(passed["reply-to"], peer.name)
            if len(reply_to.encode()) > self._longest:
                raise Refusal(
                    f"With the way back it is longer than {self._longest} bytes: reply-to"
                )
        told = {VIA: ",".join(via)}
        told |= {name: headers[name] for name in (USER, REPORT_ID) if name in headers}
        if REPORT_TO in headers:
            told[REPORT_TO] = way_back(headers[REPORT_TO], peer.name)
        sent = Frame("SEND", passed, frame.body)
        sent.plain = frame.plain and is_plain(*told.values(), passed.get("reply-to", ""))
        self._sending.pass_on(sent, told)
        if frame.template is not None and VARIED.isdisjoint(frame.template.holes):
            self._sending.plan_on(frame.template, sent.headers, told)


def read_key(key: str) -> tuple[int, int]:
    """Return lane and number of what a peer calls `LANE.NUMBER`. Raises `ProtocolError`."""
    lane, _, number = key.partition(".")
    if not all(part.isascii() and part.isdecimal() and len(part) < 20 for part in (lane, number)):
        raise ProtocolError(
            f"A peer's message is called LANE.NUMBER, not {key!r}",
            "Is it a hoofbeat of another age?",
        )
    return int(lane), int(number)


def check_way(via: list[str], own_name: str) -> None:
    """Raise `Refusal` for a message that has come through here before, or through too many brokers."""
    if own_name in via:
        raise Refusal(f"It goes in a ring: {', '.join(via)}, {own_name}")
    if len(via) > MOST_HOPS:
        raise Refusal(f"It came through more than {MOST_HOPS} brokers: {', '.join(via)}")


def is_plain(*texts: str) -> bool:
    """Tell whether no version of STOMP escapes anything in some texts."""
    text = "".join(texts)
    return text.isprintable() and ":" not in text and "\\" not in text


def no_replies(name: str) -> None:
    """A peer has no temporary queues of its own here."""
