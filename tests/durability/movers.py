"""Transactions that are cut by the death of a broker: senders of several messages, and movers.

A mover takes messages from a durable subscription and sends each on, with its acknowledgement in the same
transaction: hence a message is here or there, never in both and never in neither.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import count

from broker.stomp import Frame
from tests.durability.crowd import Member, Scene
from tests.durability.troupe import END, Wish, send_end, subscribe
from tests.durability.ways import drain
from tests.harness import BrokerProcess, Client

FROM = "/topic/from"
MOST = 5  # messages of a transaction


class Sender(Member):
    """Sends transactions of several messages to a topic. A message reads TRANSACTION/NUMBER."""

    def __init__(self, scene: Scene, name: str, seed: int) -> None:
        super().__init__(scene, name)
        self.sizes: dict[str, int] = {}  # of all transactions, messages
        self.confirmed: set[str] = set()
        self._chance = random.Random(f"{seed} {name}")
        self._names = (f"{name} {number}" for number in count())

    def work(self, client: Client) -> None:
        while True:
            name, size = next(self._names), self._chance.randint(1, MOST)
            self.sizes[name] = size
            client.send("BEGIN", transaction=name)
            for number in range(size):
                body = f"{name}/{number}".encode()
                client.send("SEND", body, destination=FROM, transaction=name)
            assert client.ask("COMMIT", transaction=name).command == "RECEIPT"
            self.confirmed.add(name)
            self.scene.progress()


class Mover(Member):
    """Moves what comes to a durable subscription, some at a time; now and then it changes its mind first."""

    def __init__(self, scene: Scene, wish: Wish, target: str, seed: int) -> None:
        super().__init__(scene, f"mover of {wish.place}")
        self.login = wish.login
        self.confirmed: set[str] = set()  # messages
        self._wish = wish
        self._target = target
        self._chance = random.Random(f"{seed} {self.name}")
        self._transactions = count()

    def work(self, client: Client) -> None:
        subscribe(client, self._wish)
        held: list[Frame] = []
        moving: dict[str, list[str]] = {}  # receipt → messages
        size = 1
        while True:
            frame = client.frame()
            if frame.command == "RECEIPT":
                self.confirmed.update(moving.pop(frame.headers["receipt-id"]))
                self.scene.progress()
                continue
            assert frame.command == "MESSAGE", (frame, frame.body)
            held.append(frame)
            if len(held) < size:
                continue
            if self._chance.random() < 0.1:
                self._move(client, held, "ABORT")
            name = self._move(client, held, "COMMIT")
            moving[name] = [each.body.decode() for each in held]
            held.clear()
            size = self._chance.randint(1, MOST)

    def _move(self, client: Client, messages: list[Frame], end: str) -> str:
        """Move messages in a transaction that ends in some way; return its name, and receipt."""
        name = str(next(self._transactions))
        client.send("BEGIN", transaction=name)
        for message in messages:
            client.send("SEND", message.body, destination=self._target, transaction=name)
        for message in messages[-1:] if self._wish.cumulative else messages:
            client.send("ACK", id_=message.headers["ack"], transaction=name)
        if end == "COMMIT":
            client.send(end, transaction=name, receipt=name)
        else:
            client.send(end, transaction=name)
        return name


def drain_durable(broker: BrokerProcess, wish: Wish, ended: bool = False) -> Iterator[str]:
    """Yield what a durable subscription that nobody uses still holds. `ended`: the end was sent already."""
    with broker.connect(**wish.login) as client:
        if not ended:
            send_end(client, wish.destination)
        subscribe(client, wish)
        while True:
            message = client.expect("MESSAGE")
            client.send("ACK", id_=message.headers["ack"])
            if END in message.headers:
                break
            yield message.body.decode()
        assert client.silent()


def drain_queue(broker: BrokerProcess, destination: str) -> Iterator[str]:
    """Yield what a queue holds."""
    with broker.connect() as client:
        yield from (message.body.decode() for message in drain(client, destination))
