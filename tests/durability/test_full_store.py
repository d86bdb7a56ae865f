"""A store that is full refuses messages, says so, takes acknowledgements, and recovers when it is drained."""

from __future__ import annotations

import random
from itertools import count
from pathlib import Path

import pytest

from broker.stomp import Frame
from tests.conftest import StartBroker
from tests.durability.conftest import Connect
from tests.durability.ways import STORES
from tests.harness import Client

MIB = 1024 * 1024
MAP = 16 * MIB
FULL = "The store is full"


def fill_up(client: Client, size: int) -> list[int]:
    """Send numbered messages of `size` bytes until none is taken; return which were.

    Several at once may be refused before that: what they would take at worst is not free any more. When
    one is refused while nothing else is on the way, the store is full.
    """
    taken: list[int] = []
    for first in count(step=50):
        for number in range(first, first + 49):
            body = (b"%d" % number).ljust(size)
            client.send("SEND", body, destination="/queue/a", receipt=str(number))
        answers = [client.frame() for _ in range(49)]
        refusals = {a.headers["message"] for a in answers if a.command == "ERROR"}
        assert refusals <= {FULL}
        taken += sorted(int(a.headers["receipt-id"]) for a in answers if a.command == "RECEIPT")
        last = client.ask("SEND", (b"%d" % (first + 49)).ljust(size), destination="/queue/a")
        if last.command == "ERROR":
            assert last.headers["message"] == FULL
            return taken
        taken.append(first + 49)
    raise AssertionError("unreachable")


def number_of(message: Frame) -> int:
    """Return what `fill_up` counted."""
    return int(message.body[:20])


def subscribe(client: Client, prefetch: int) -> None:
    """Consume the queue, each message acknowledged by itself."""
    client.send(
        "SUBSCRIBE",
        destination="/queue/a",
        id_="1",
        ack="client-individual",
        prefetch_count=str(prefetch),
    )


@pytest.mark.parametrize(("store", "size"), [("lmdb", 1500), ("lmdb", 100_000), ("sqlite", 1500)])
def test_full_and_drained(
    store: str, size: int, start_broker: StartBroker, connect: Connect, tmp_path: Path
) -> None:
    """ERROR at the mark, the link stays; drained to nothing; then it takes as much as before."""
    broker = start_broker(STORES[store].format(tmp_path), map_size=MAP)
    producer = connect(broker)
    taken = fill_up(producer, size)
    assert MAP / 4 < len(taken) * size < MAP
    refused = producer.ask("SEND", bytes(size), destination="/queue/a")
    assert refused.headers["message"] == FULL
    transient = producer.ask("SEND", b"", destination="/topic/t")
    assert transient.command == "RECEIPT"  # what is not stored goes on
    broker.kill()
    broker = start_broker(STORES[store].format(tmp_path), map_size=MAP)
    producer = connect(broker)
    assert producer.ask("SEND", bytes(size), destination="/queue/a").headers["message"] == FULL
    consumer = connect(broker)
    subscribe(consumer, 500)
    for number in taken:
        message = consumer.expect("MESSAGE")
        assert number_of(message) == number
        consumer.send("ACK", id_=message.headers["ack"])
    assert consumer.ask("UNSUBSCRIBE", id_="1").command == "RECEIPT"
    assert len(fill_up(producer, size)) > 0.9 * len(taken)
    transient = producer.ask("SEND", b"", destination="/topic/t")
    assert transient.command == "RECEIPT"  # full again, it goes on again


@pytest.mark.parametrize("store", STORES)
def test_full_and_acknowledged_in_any_order(
    store: str, start_broker: StartBroker, connect: Connect, tmp_path: Path
) -> None:
    """Deletes all over a full store take room before they give any: there must be enough of it."""
    broker = start_broker(STORES[store].format(tmp_path), map_size=MAP // 2)
    producer = connect(broker)
    taken = fill_up(producer, 1500)
    consumer = connect(broker)
    subscribe(consumer, len(taken))
    keys = [consumer.expect("MESSAGE").headers["ack"] for _ in taken]
    random.Random(1).shuffle(keys)
    acks = [Frame("ACK", {"id": key}).encode("1.2") for key in keys]
    consumer.write(b"".join(acks))
    consumer.send("BEGIN", transaction="t", receipt="all")
    consumer.expect("RECEIPT", receipt_id="all")
    assert producer.ask("SEND", b"again", destination="/queue/a").command == "RECEIPT"
    assert consumer.expect("MESSAGE").body == b"again"


@pytest.mark.parametrize(("store", "size"), [("lmdb", 1500), ("sqlite", 50_000)])
def test_full_and_given_back(
    store: str, size: int, start_broker: StartBroker, connect: Connect, tmp_path: Path
) -> None:
    """A consumer that holds everything goes away: nothing new is stored, yet the broker lives on."""
    broker = start_broker(STORES[store].format(tmp_path), map_size=MAP // 2)
    producer = connect(broker)
    taken = fill_up(producer, size)
    consumer = broker.connect()
    subscribe(consumer, len(taken))
    for number in taken:
        assert number_of(consumer.expect("MESSAGE")) == number
    consumer.close()
    consumer = connect(broker)
    subscribe(consumer, len(taken))
    for number in taken:
        message = consumer.expect("MESSAGE", redelivered="true")
        assert number_of(message) == number
        consumer.send("ACK", id_=message.headers["ack"])
    assert consumer.silent()
    assert producer.ask("SEND", b"again", destination="/queue/a").command == "RECEIPT"


def test_acknowledgements_are_committed_beyond_the_mark(
    start_broker: StartBroker, connect: Connect, tmp_path: Path
) -> None:
    """A transaction that only acknowledges is taken even if more is stored than should be."""
    url = STORES["lmdb"].format(tmp_path)
    broker = start_broker(url, map_size=MAP)
    taken = fill_up(connect(broker), 1500)
    assert broker.stop() == 0
    broker = start_broker(url, map_size=MAP // 2)
    consumer = connect(broker)
    subscribe(consumer, 10)
    consumer.send("BEGIN", transaction="t")
    for number in taken[:10]:
        message = consumer.expect("MESSAGE")
        assert number_of(message) == number
        consumer.send("ACK", id_=message.headers["ack"], transaction="t")
    consumer.send("UNSUBSCRIBE", id_="1", receipt="no more")
    while (frame := consumer.frame()).command == "MESSAGE":
        pass
    assert frame.headers["receipt-id"] == "no more"
    assert consumer.ask("COMMIT", transaction="t").command == "RECEIPT"
    sender = connect(broker)
    assert sender.ask("SEND", b"", destination="/queue/a").headers["message"] == FULL
