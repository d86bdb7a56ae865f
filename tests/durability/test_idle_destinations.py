"""Destinations come and go by the thousand: what nobody uses leaves nothing behind, what is used stays."""

from __future__ import annotations

import gc
import tracemalloc

from tests.durability.house import Client, House


def test_reply_queues_leave_nothing_behind() -> None:
    """Hundreds of queues with names of their own, again and again: memory is flat, and the store empty."""
    house = House()
    client = Client(house)
    sizes = []
    tracemalloc.start()
    for round_ in range(4):
        for number in range(300):
            queue = f"/queue/reply.{round_}.{number}"
            sent = client.ask("SEND", b"x", destination=queue, receipt="r")
            assert sent == ["RECEIPT"]  # on disk
            client.ask("SUBSCRIBE", destination=queue, id_=queue, ack="client-individual")
            [message] = client.frames
            assert client.ask("ACK", id_=message.headers["ack"], receipt="r") == ["RECEIPT"]
            assert client.ask("UNSUBSCRIBE", id_=queue, receipt="r") == ["RECEIPT"]
        house.sweep()
        gc.collect()
        sizes.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert house.broker.routes.queues == {}
    assert house.store.load().queues == []
    assert sizes[-1] - sizes[1] < 50_000, sizes


def test_topics_leave_nothing_behind() -> None:
    """The same for topics that were only published to, or subscribed to."""
    house = House()
    client = Client(house)
    for number in range(100):
        topic = f"/topic/{number}"
        assert client.ask("SEND", b"x", destination=topic, receipt="r") == ["RECEIPT"]
        assert client.ask("SUBSCRIBE", destination=topic, id_=topic, receipt="r") == ["RECEIPT"]
    house.sweep()
    assert len(house.broker.routes.topics) == 100
    for number in range(100):
        assert client.ask("UNSUBSCRIBE", id_=f"/topic/{number}", receipt="r") == ["RECEIPT"]
    house.sweep()
    assert house.broker.routes.topics == {}


def test_what_is_used_stays() -> None:
    """A message that waits, a consumer that waits, an acknowledgement that waits for COMMIT."""
    house = House()
    client, other = Client(house), Client(house)
    client.ask("SEND", b"x", destination="/queue/message")
    client.ask("SUBSCRIBE", destination="/queue/consumer", id_="1")
    client.ask("SEND", b"x", destination="/queue/held")
    other.ask("SUBSCRIBE", destination="/queue/held", id_="1", ack="client-individual")
    [message] = other.frames
    other.ask("BEGIN", transaction="t")
    other.ask("ACK", id_=message.headers["ack"], transaction="t")
    other.ask("UNSUBSCRIBE", id_="1")
    house.sweep()
    assert house.broker.routes.queues.keys() == {"message", "consumer", "held"}
    other.ask("ABORT", transaction="t")
    assert client.ask("SUBSCRIBE", destination="/queue/held", id_="2") == ["MESSAGE"]


def test_a_transaction_outlives_its_destination() -> None:
    """A SEND waits for COMMIT so long that its queue is forgotten: the message arrives all the same."""
    house = House()
    client = Client(house)
    for route in ("/queue/a", "/topic/a"):
        client.ask("BEGIN", transaction="t")
        client.ask("SEND", b"x", destination=route, transaction="t")
        house.sweep()
        client.ask("SUBSCRIBE", destination=route, id_=route)
        assert client.ask("COMMIT", transaction="t", receipt="r") == ["MESSAGE", "RECEIPT"]
