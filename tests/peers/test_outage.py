"""What is sent to a peer is kept here and comes there, in order and once, whatever happens on the way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.peers.conftest import MakeNode
from tests.peers.nodes import STORES, Node, numbered
from tests.scenarios.steps import bodies, drain, put, subscribe, take

Trouble = Callable[[Node, Node], None]


@pytest.fixture(params=["stomp", "http"])
def transport(request: pytest.FixtureRequest) -> str:
    """Run the story once over each transport."""
    return str(request.param)


def pair(
    make_node: MakeNode, store: str = "", transport: str = "stomp", **settings: Any
) -> tuple[Node, Node]:
    """Return A, which dials B; nobody runs yet."""
    a, b = make_node("A", store), make_node("B", store, transport=transport)
    a.know(b, dial=True, **settings)
    b.know(a, **settings)
    return a, b


def arrived(node: Node, destination: str) -> list[bytes]:
    """Take what is in a queue."""
    return drain(node.connect(), destination)


@pytest.mark.parametrize("store", STORES)
def test_the_peer_is_down(store: str, make_node: MakeNode) -> None:
    """SEND is confirmed at once; when the peer comes up everything arrives, in order, once. It survives our restart."""
    a, b = pair(make_node, store)
    a.start()
    put(a.connect(), "/peer/B/queue/x", *numbered(1, 3000))
    assert a.peer(b)["waiting"] == 3000
    a.kill()
    a.start()
    put(a.connect(), "/peer/B/queue/x", *numbered(3001, 3010))
    b.start()
    peer = a.await_forwarded(b)
    assert peer["forwarded"] == 3010
    assert arrived(b, "/queue/x") == numbered(1, 3010)


def test_only_one_can_dial(transport: str, make_node: MakeNode) -> None:
    """One link serves both directions: B, which cannot reach A, sends to it as A sends to B."""
    a, b = pair(make_node, transport=transport)
    b.start()
    put(b.connect(), "/peer/A/queue/y", *numbered(1, 500))
    a.start()
    put(a.connect(), "/peer/B/queue/x", *numbered(1, 500))
    a.await_forwarded(b)
    b.await_forwarded(a)
    assert arrived(a, "/queue/y") == numbered(1, 500)
    assert arrived(b, "/queue/x") == numbered(1, 500)
    assert b.door.connects <= {"stomp": 1, "http": 2}[transport]


@pytest.mark.parametrize("limit", ["error", "block", "drop-oldest"])
def test_no_more_may_wait(limit: str, make_node: MakeNode) -> None:
    """An operator says how much waits for a peer, and what becomes of more."""
    a, b = make_node("A"), make_node("B")
    a.know(b, dial=True, outbox_messages=3, outbox_at_limit=limit)
    b.know(a)
    a.start()
    client, to = a.connect(), "/peer/B/queue/x"
    put(client, to, *numbered(1, 3))
    client.send("SEND", b"4", destination=to, receipt="4")
    if limit == "error":
        refused = client.expect("ERROR", receipt_id="4")
        assert refused.headers["retry"] == "true"
    elif limit == "drop-oldest":
        client.expect("RECEIPT", receipt_id="4")
    b.start()
    if limit == "block":  # it was held until there was room
        client.expect("RECEIPT", receipt_id="4")
    a.await_forwarded(b)
    kept = {"error": (1, 3), "block": (1, 4), "drop-oldest": (2, 4)}
    assert arrived(b, "/queue/x") == numbered(*kept[limit])


def test_an_operator_pauses_a_peer(make_node: MakeNode) -> None:
    """Nothing is sent to it, also after a restart, and what it sends is taken all the same."""
    a, b = pair(make_node)
    b.start()
    a.start()
    a.await_linked(b)
    assert a.call("pause_peer", "B")["paused"] is True
    put(a.connect(), "/peer/B/queue/x", *numbered(1, 3))
    a.kill()
    a.start()
    b.await_linked(a)
    put(b.connect(), "/peer/A/queue/y", *numbered(1, 3))
    b.await_forwarded(a)
    assert arrived(a, "/queue/y") == numbered(1, 3)
    assert a.peer(b)["waiting"] == 3
    assert a.call("resume_peer", "B")["paused"] is False
    a.await_forwarded(b)
    assert arrived(b, "/queue/x") == numbered(1, 3)


def test_both_dial(make_node: MakeNode) -> None:
    """Then there are two links, and still everything comes once."""
    a, b = make_node("A"), make_node("B")
    a.know(b, dial=True)
    b.know(a, dial=True)
    b.start()
    a.start()
    put(b.connect(), "/peer/A/queue/y", *numbered(1, 300))
    put(a.connect(), "/peer/B/queue/x", *numbered(1, 300))
    a.await_forwarded(b)
    b.await_forwarded(a)
    b.door.cut()
    put(b.connect(), "/peer/A/queue/y", *numbered(301, 600))
    put(a.connect(), "/peer/B/queue/x", *numbered(301, 600))
    a.await_forwarded(b)
    b.await_forwarded(a)
    assert arrived(a, "/queue/y") == numbered(1, 600)
    assert arrived(b, "/queue/x") == numbered(1, 600)


def kill_the_sender(a: Node, b: Node) -> None:
    a.kill()
    a.start()


def kill_the_receiver(a: Node, b: Node) -> None:
    b.kill()
    b.start()


def stop_the_sender(a: Node, b: Node) -> None:
    a.stop()
    a.start()


def stop_the_receiver(a: Node, b: Node) -> None:
    b.stop()
    b.start()


def cut(a: Node, b: Node) -> None:
    b.door.cut()


TROUBLES = [kill_the_sender, kill_the_receiver, stop_the_sender, stop_the_receiver, cut]


def test_in_the_middle(transport: str, make_node: MakeNode) -> None:
    """Either side is stopped or killed, or the link is cut, while messages go both ways: each comes once, in order."""
    a, b = pair(make_node, transport=transport)
    b.start()
    a.start()
    sent = 0
    for trouble in TROUBLES:
        a.await_linked(b)
        for node, other in ((a, "B"), (b, "A")):
            client = node.connect()
            for body in numbered(sent + 1, sent + 300):
                client.send("SEND", body, destination=f"/peer/{other}/queue/x")
            client.ask("SEND", b"%d" % (sent + 301), destination=f"/peer/{other}/queue/x")
        trouble(a, b)
        sent += 301
    a.await_forwarded(b)
    b.await_forwarded(a)
    assert arrived(b, "/queue/x") == numbered(1, sent)
    assert arrived(a, "/queue/x") == numbered(1, sent)


@pytest.mark.parametrize("lost", [b"RECEIPT", b"ACK"])
def test_a_confirmation_is_lost(lost: bytes, transport: str, make_node: MakeNode) -> None:
    """It was sent twice, and came once."""
    a, b = pair(make_node, transport=transport)
    b.start()
    a.start()
    a.await_linked(b)
    b.await_linked(a)
    event = b.door.lose(lost)
    sender, receiver = (a, b) if lost == b"RECEIPT" else (b, a)
    put(sender.connect(), f"/peer/{receiver.name}/queue/x", *numbered(1, 10))
    assert event.wait(30)
    sender.await_forwarded(receiver)
    assert receiver.peer(sender)["repeated"] > 0
    assert arrived(receiver, "/queue/x") == numbered(1, 10)


def test_a_number_is_never_used_twice(make_node: MakeNode) -> None:
    """What a killed broker had sent and never written does not make its peer take new messages for old ones."""
    a, b = pair(make_node)
    b.start()
    a.start()
    a.await_linked(b)
    client = a.connect()
    for body in numbered(1, 100):
        client.send("SEND", body, destination="/peer/B/queue/x", persistent="false")
    assert client.silent()
    a.await_forwarded(b)
    for trouble in (kill_the_sender, stop_the_sender):
        trouble(a, b)
        a.await_linked(b)
        put(a.connect(), "/peer/B/queue/x", *numbered(1, 10))
        a.await_forwarded(b)
    assert arrived(b, "/queue/x") == numbered(1, 100) + numbered(1, 10) * 2


def test_a_link_that_is_dead_is_found(make_node: MakeNode) -> None:
    """No bytes, and nobody hangs up: heart-beats tell, and the messages go over the next link."""
    a, b = pair(make_node, heart_beat=0.3)
    b.start()
    a.start()
    a.await_linked(b)
    b.await_linked(a)
    before = b.door.connects
    b.door.hold()
    put(a.connect(), "/peer/B/queue/x", *numbered(1, 10))
    put(b.connect(), "/peer/A/queue/y", *numbered(1, 10))
    a.await_forwarded(b)
    b.await_forwarded(a)
    assert b.door.connects == before + 1
    assert arrived(b, "/queue/x") == numbered(1, 10)
    assert arrived(a, "/queue/y") == numbered(1, 10)


def test_the_next_link_takes_over(transport: str, make_node: MakeNode) -> None:
    """The dialled broker does not know that the old link is dead, without heart-beats it never would."""
    a, b = pair(make_node, transport=transport, heart_beat=0)
    b.start()
    a.start()
    b.await_linked(a)
    b.door.hold()
    put(b.connect(), "/peer/A/queue/y", *numbered(1, 10))
    kill_the_sender(a, b)
    b.await_forwarded(a)
    assert arrived(a, "/queue/y") == numbered(1, 10)


def test_a_slow_link(transport: str, make_node: MakeNode) -> None:
    """So many messages are on their way that it is busy all the time."""
    a, b = pair(make_node, transport=transport)
    b.door.delay = 0.05
    b.start()
    a.start()
    a.await_linked(b)
    client = b.connect()
    subscribe(client, "/queue/x")
    put(a.connect(), "/peer/B/queue/x", *numbered(1, 2000))
    assert bodies(take(client, 2000)) == numbered(1, 2000)
