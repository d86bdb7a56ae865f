"""A transaction is on disk whole or not at all, whenever the broker dies."""

from __future__ import annotations

import random
from collections import Counter
from itertools import count
from pathlib import Path

import pytest

from tests.conftest import StartBroker
from tests.durability.crowd import Member, Scene, kill_it
from tests.durability.ways import STORES, choose_seed, drain
from tests.harness import Client

SIZE = 5  # messages of a transaction
STOCK = 2000  # messages to be moved


class Sender(Member):
    """Sends transactions of several messages to a queue that nobody reads."""

    def __init__(self, scene: Scene, name: str) -> None:
        super().__init__(scene, name)
        self.confirmed: set[str] = set()
        self._names = (f"{name} {number}" for number in count())

    def work(self, client: Client) -> None:
        while True:
            name = next(self._names)
            client.send("BEGIN", transaction=name)
            for number in range(SIZE):
                body = f"{name}/{number}".encode()
                client.send("SEND", body, destination="/queue/whole", transaction=name)
            assert client.ask("COMMIT", transaction=name).command == "RECEIPT"
            self.confirmed.add(name)
            self.scene.progress()


class Mover(Member):
    """Moves messages from one queue to the other, each in a transaction of its own."""

    def __init__(self, scene: Scene, name: str) -> None:
        super().__init__(scene, name)
        self.confirmed: set[bytes] = set()

    def work(self, client: Client) -> None:
        client.send(
            "SUBSCRIBE",
            destination="/queue/from",
            id_="1",
            ack="client-individual",
            prefetch_count="20",
        )
        while True:
            frame = client.frame()
            if frame.command == "RECEIPT":
                self.confirmed.add(frame.headers["receipt-id"].encode())
                self.scene.progress()
                continue
            assert frame.command == "MESSAGE", frame
            name = frame.body.decode()
            client.send("BEGIN", transaction=name)
            client.send("SEND", frame.body, destination="/queue/to", transaction=name)
            client.send("ACK", id_=frame.headers["ack"], transaction=name)
            client.send("COMMIT", transaction=name, receipt=name)


@pytest.mark.parametrize("store", STORES)
def test_whole_or_absent(store: str, start_broker: StartBroker, tmp_path: Path) -> None:
    """Messages sent together arrive together; a message moved is in one queue or the other, never in both."""
    chance = random.Random(choose_seed())
    url = STORES[store].format(tmp_path)
    scene = Scene(lambda: start_broker(url))
    with scene.broker.connect() as client:
        for number in range(STOCK):
            client.send("SEND", b"%d" % number, destination="/queue/from")
        client.ask("SEND", b"first", destination="/queue/to")
    senders = [Sender(scene, f"sender {n}") for n in range(2)]
    movers = [Mover(scene, f"mover {n}") for n in range(2)]
    for member in (*senders, *movers):
        member.start()
    for kill in range(3):
        scene.await_progress(chance.randint(1, 200))
        scene.end(kill == 2, kill_it)
    for member in (*senders, *movers):
        member.finish()
    with scene.broker.connect() as client:
        parts = Counter(m.body.decode().partition("/")[0] for m in drain(client, "/queue/whole"))
        stayed = [message.body for message in drain(client, "/queue/from")]
        moved = [message.body for message in drain(client, "/queue/to")][1:]
    assert {name: size for name, size in parts.items() if size != SIZE} == {}
    assert set().union(*(sender.confirmed for sender in senders)) <= parts.keys()
    assert sorted(stayed + moved, key=int) == [b"%d" % number for number in range(STOCK)]
    assert set().union(*(mover.confirmed for mover in movers)) <= set(moved)
