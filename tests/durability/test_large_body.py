"""A very large message is taken, kept and delivered, and others hardly notice."""

from __future__ import annotations

import random
import time

import pytest

from tests.conftest import StartBroker
from tests.durability.conftest import Connect
from tests.durability.ways import pings, tell

MB = 1_000_000
SIZES = [10, pytest.param(100, marks=[pytest.mark.long, pytest.mark.timeout(300)])]  # MB


@pytest.mark.parametrize("size", SIZES)
def test_a_large_body(size: int, start_broker: StartBroker, connect: Connect) -> None:
    """Sent, confirmed, killed, delivered octet by octet, while others are served."""
    body = random.randbytes(size * MB)
    broker = start_broker()
    client = connect(broker)
    with pings(broker) as took:
        began = time.perf_counter()
        assert client.ask("SEND", body, destination="/queue/a").command == "RECEIPT"
        print(f"{size} MB stored in {time.perf_counter() - began:.2f} s")
    tell("meanwhile", took, broker)
    assert max(took) < 2
    broker.kill()
    broker = start_broker()
    client = connect(broker)
    with pings(broker) as took:
        began = time.perf_counter()
        client.send("SUBSCRIBE", destination="/queue/a", id_="1", ack="client-individual")
        message = client.expect("MESSAGE")
        print(f"{size} MB delivered in {time.perf_counter() - began:.2f} s")
    tell("meanwhile", took, broker)
    assert max(took) < 2
    assert message.body == body
    assert client.ask("ACK", id_=message.headers["ack"]).command == "RECEIPT"
    assert client.silent()
    print(f"at the end RssAnon {broker.memory() / MB:.0f} MB")
