"""Much of it: messages by the hundred thousand, bodies by the hundred megabytes."""

from __future__ import annotations

import os
import time

import pytest

from tests.durability.ways import MB, fill, frames, take
from tests.peers.conftest import MakeNode
from tests.peers.nodes import STORES, Node, wait_for

COUNT = 100_000

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]


def pair(make_node: MakeNode, store: str) -> tuple[Node, Node]:
    """Return A, which dials B, linked."""
    a, b = make_node("A", store), make_node("B", store)
    a.know(b, dial=True)
    b.know(a)
    b.start()
    a.start()
    a.await_linked(b)
    return a, b


@pytest.mark.parametrize("delay", [0.0, 0.025])
@pytest.mark.parametrize("store", STORES)
def test_a_hundred_thousand(store: str, delay: float, make_node: MakeNode) -> None:
    """They wait while the peer is away; then they go, and neither broker holds them in memory."""
    a, b = pair(make_node, store)
    b.door.delay = delay
    a.call("pause_peer", "B")
    fill(a.connect(), "/peer/B/queue/x", COUNT)
    before = a.broker.memory(), b.broker.memory()
    start = time.perf_counter()
    a.call("resume_peer", "B")
    most = [0, 0]

    def left() -> int:
        for number, node in enumerate((a, b)):
            most[number] = max(most[number], node.broker.memory() - before[number])
        peer = a.peer(b)
        return int(peer["waiting"] + peer["in_flight"])

    wait_for(a, left, lambda number: number == 0)
    seconds = time.perf_counter() - start
    print(
        f"{store}, {delay * 2000:.0f} ms there and back: {COUNT / seconds:,.0f} messages/s; RssAnon grew by"
        f" {most[0] / MB:.0f} and {most[1] / MB:.0f} MB, to {a.broker.memory() / MB:.0f} and {b.broker.memory() / MB:.0f}"
    )
    assert most[0] < 100 * MB
    assert most[1] < 100 * MB
    assert COUNT / seconds > 1000
    client = b.connect()
    client.send("SUBSCRIBE", destination="/queue/x", id="1", ack="client")
    take(client, frames(client), range(COUNT))


def test_a_film(make_node: MakeNode) -> None:
    """A body of 100 MB crosses a link that is cut twice on the way."""
    a, b = pair(make_node, "lmdb")
    body = os.urandom(MB) * 100
    client = a.connect()
    client.send("SEND", body, destination="/peer/B/queue/x", receipt="r")
    b.door.cut()
    client.expect("RECEIPT")
    a.await_linked(b)
    b.door.cut()
    a.await_forwarded(b)
    consumer = b.connect()
    consumer.send("SUBSCRIBE", destination="/queue/x", id="1")
    message = next(frames(consumer))
    assert message.body == body
    print(f"RssAnon {a.broker.memory() / MB:.0f} and {b.broker.memory() / MB:.0f} MB")
