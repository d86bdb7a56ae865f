"""Fault 1, its smallest case: killed while consumers hold what they have not acknowledged. The loops are in durability/."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import StartBroker
from tests.durability.ways import STORES
from tests.faults.launching import Start
from tests.scenarios.steps import accepted, put, take

QUEUE = "/queue/held"
COUNT = 20


def killed_while_held(start: Start, url: str) -> None:
    """Send, take, acknowledge a few; kill; the others come again, and say so."""
    broker = start(url)
    with broker.connect() as producer, broker.connect() as consumer:
        consumer.send("SUBSCRIBE", destination=QUEUE, id_="1", ack="client-individual")
        put(producer, QUEUE, *(b"%d" % number for number in range(COUNT)))
        for message in take(consumer, COUNT)[:5]:
            accepted(consumer.ask("ACK", id_=message.headers["ack"]))
        broker.kill()
    broker = start(url)
    with broker.connect() as consumer:
        put(consumer, QUEUE, b"end", priority="0")
        consumer.send("SUBSCRIBE", destination=QUEUE, id_="1", ack="client-individual")
        back = []
        while (message := consumer.expect("MESSAGE")).body != b"end":
            back.append(message)
    lost = {*range(5, COUNT)} - {int(message.body) for message in back}
    assert not lost, f"lost: {sorted(lost)}"
    assert len(back) == COUNT - 5, "acknowledged with a receipt, yet delivered"
    marked = {message.headers.get("redelivered") for message in back}
    assert marked == {"true"}, "delivered again without redelivered:true"


@pytest.mark.parametrize("store", STORES)
def test_killed_while_consumers_hold_messages(
    store: str, start_broker: StartBroker, tmp_path: Path
) -> None:
    """What was taken and not acknowledged is there again after kill -9, marked, in order; the rest is gone."""
    killed_while_held(start_broker, STORES[store].format(tmp_path))
