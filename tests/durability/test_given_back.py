"""More is given back than a queue keeps in memory: each message once, in order, whatever came meanwhile."""

from __future__ import annotations

import pytest

from broker.core.lane import WINDOW
from tests.durability.house import Client, House


@pytest.mark.parametrize("transient", [0, WINDOW])
@pytest.mark.parametrize("stays", [False, True])
def test_given_back_and_delivered_once(stays: bool, transient: int) -> None:
    """Messages that went straight to a consumer were never read from disk, and must not be later.

    Another consumer still holds one of them, or not; messages that are not stored stand in between, or
    not; then more come than fit into memory.
    """
    house = House()
    producer, leaving, staying = Client(house), Client(house), Client(house)
    total = 0

    def send(count: int, **headers: str) -> None:
        nonlocal total
        for _ in range(count):
            producer.ask("SEND", b"%d" % total, destination="/queue/a", **headers)
            total += 1

    if stays:
        subscribe(staying, 1)
        send(1)
    subscribe(leaving, 2 * WINDOW)
    send(2 * WINDOW)
    leaving.ask("UNSUBSCRIBE", id_="1")
    if stays:
        staying.ask("NACK", id_="1-1", requeue="true")
    send(transient, persistent="false")
    send(2 * WINDOW)
    consumer = Client(house)
    if stays:
        staying.ask("UNSUBSCRIBE", id_="1")
    subscribe(consumer, 10 * WINDOW)
    assert [int(frame.body) for frame in consumer.frames] == list(range(total))


def subscribe(client: Client, prefetch: int) -> None:
    """Consume, each message acknowledged by itself."""
    client.ask(
        "SUBSCRIBE",
        destination="/queue/a",
        id_="1",
        ack="client-individual",
        prefetch_count=str(prefetch),
    )
