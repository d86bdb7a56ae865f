"""What is checked before anything is sent, and what is read from headers: no broker, no connection."""

from __future__ import annotations

from typing import Any

import pytest

from broker.stomp import Frame
from rpc.errors import (
    BrokerRefused,
    ConnectionLost,
    Forbidden,
    InvalidParams,
    Overloaded,
    Timeout,
)
from rpc.jobs import Inbox, Message, NotTracked, Peer, Sender, Status
from rpc.jobs.asking import Patience, explained
from rpc.jobs.destinations import joined
from rpc.jobs.sending import prepare

QUEUED: dict[str, Any] = {
    "id": "1",
    "status": "QUEUED",
    "sent": 1000,
    "changed": 1500,
    "parts": [
        {"destination": "/queue/a", "status": "QUEUED", "changed": 1500, "by": None, "cause": None}
    ],
}


def incoming(**headers: str) -> Message:
    """Return a message with headers."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Message(Frame("MESSAGE", {"message-id": "m1", **named}), lambda message, word: None)


def test_a_peer_is_a_destination() -> None:
    peer = Peer("site-b")
    assert str(peer) == "/peer/site-b/queue/inbox"
    assert peer.queue("orders") == peer.queue("/queue/orders") == "/peer/site-b/queue/orders"
    assert joined([peer, "/queue/a"]) == "/peer/site-b/queue/inbox,/queue/a"


@pytest.mark.parametrize("name", ["", "a/b", "a,b"])
def test_a_peer_has_a_name(name: str) -> None:
    with pytest.raises(ValueError, match="A peer has a name like site-b"):
        Peer(name)


def test_several_destinations_are_a_list() -> None:
    with pytest.raises(ValueError, match="needs a destination"):
        joined([])
    with pytest.raises(TypeError, match="are a list"):
        joined("/queue/a")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"priority": 10}, "A priority is 0 to 9, not 10"),
        ({"ttl": 0}, "A ttl is a positive number"),
        ({"ttl": float("inf")}, "A ttl is a positive number"),
        ({"headers": {"receipt": "1"}}, "The header receipt is the message's own"),
        ({"id": ""}, "An id is a text"),
    ],
)
def test_what_cannot_be_sent(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        prepare("/queue/a", "x", **options)


def test_a_body_is_bytes_or_text() -> None:
    with pytest.raises(TypeError, match="bytes or str, not dict"):
        prepare("/queue/a", {})  # type: ignore[arg-type]


def test_a_text_says_so_unless_it_is_said_otherwise() -> None:
    assert b"content-type:text/plain" in prepare("/queue/a", "é").kind.lines
    told = prepare("/queue/a", "{}", headers={"content-type": "application/json"})
    assert told.kind.lines.count(b"content-type") == 1
    assert b"content-type" not in prepare("/queue/a", b"x").kind.lines


def test_faces_check_what_they_are_given() -> None:
    for wrong in ("http://x", "stomp://"):
        with pytest.raises(ValueError, match="URL"):
            Sender(wrong)
        with pytest.raises(ValueError, match="URL"):
            Inbox(wrong)
    with pytest.raises(ValueError, match="prefetch"):
        Inbox(prefetch=0)


@pytest.mark.parametrize(
    ("headers", "login", "broker", "words"),
    [
        ({}, None, None, "here"),
        ({"report_owner": "shop"}, "shop", None, "shop"),
        ({"peer_via": "a,b"}, None, "a", "a"),
        ({"peer_via": "a", "JMSXUserID": "shop", "report_owner": "x"}, "shop", "a", "shop at a"),
    ],
)
def test_who_sent_it(
    headers: dict[str, str], login: str | None, broker: str | None, words: str
) -> None:
    sender = incoming(**headers).sender
    assert (sender.login, sender.broker, str(sender)) == (login, broker, words)


def test_its_id_is_the_senders() -> None:
    assert incoming().id == "m1"
    assert incoming(correlation_id="c1").id == "c1"


def test_a_delay_is_no_less_than_nothing() -> None:
    with pytest.raises(ValueError, match="A delay"):
        incoming().later(-1)


# Waiting, without waiting.


def test_it_asks_for_as_long_as_is_left() -> None:
    patience = Patience("1", 45.0, now=0.0)
    assert b'"wait":30.0' in patience.ask(0.0).params
    assert patience.take(QUEUED) is None
    assert b'"wait":15.0' in patience.ask(30.0).params
    with pytest.raises(Timeout, match=r"within 45\.0 s: it is QUEUED"):
        patience.ask(45.0)


def test_the_end_is_the_end() -> None:
    ended = Patience("1", None, now=0.0).take(QUEUED | {"status": "FAILED"})
    assert ended is not None
    assert ended.status is Status.FAILED


def test_a_broker_that_is_away_is_asked_again_more_and_more_rarely() -> None:
    patience = Patience("1", None, now=0.0)
    lost = ConnectionLost("gone", sent=True)
    rests = [patience.rest(lost, 0.0, 1.0) for _ in range(8)]
    assert rests[:3] == [0.1, 0.2, 0.4]
    assert rests[-1] == 5.0
    assert patience.rest(Overloaded("busy", retry_after=2.0), 0.0, 1.0) == 2.0
    patience.take(QUEUED)
    assert patience.rest(lost, 0.0, 1.0) == 0.1


def test_it_rests_no_longer_than_it_may() -> None:
    patience = Patience("1", 1.0, now=0.0)
    assert patience.rest(Overloaded("busy", retry_after=2.0), 0.75, 1.0) == 0.25
    with pytest.raises(Timeout, match="its broker does not answer"):
        patience.ask(1.0)


def test_what_cannot_be_helped_is_raised() -> None:
    patience = Patience("1", None, now=0.0)
    for error in (BrokerRefused("no", sent=False), Forbidden("no")):
        with pytest.raises(type(error)):
            patience.rest(error, 0.0, 0.0)
    with pytest.raises(NotTracked):
        patience.rest(InvalidParams("id: unknown", {"argument": "id"}), 0.0, 0.0)
    other = InvalidParams("wait: no", {"argument": "wait"})
    assert explained(other, "1") is other
    with pytest.raises(ValueError, match="A timeout"):
        Patience("1", -1.0, now=0.0)
