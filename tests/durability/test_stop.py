"""SIGTERM under load: everybody is told the end, and everything they were told before is true."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.conftest import StartBroker
from tests.durability.conftest import Connect
from tests.durability.crowd import Consumer, Drain, Member, Producer, Scene
from tests.durability.history import ACK_CONFIRMED, ACKED, CONFIRMED, DELIVERED, SENT
from tests.durability.ways import STORES
from tests.harness import Closed


@pytest.mark.parametrize("store", STORES)
def test_stopped_under_load(store: str, start_broker: StartBroker, tmp_path: Path) -> None:
    """Exit status 0, EOF for every client, receipts kept, what was unfinished comes back and says so."""
    url = STORES[store].format(tmp_path)
    scene = Scene(lambda: start_broker(url))
    members: list[Member] = [Producer(scene, f"producer {n}", 100) for n in range(3)]
    members += [Consumer(scene, f"consumer {n}") for n in range(3)]
    for member in members:
        member.start()
    scene.await_progress(2000)
    assert scene.end(last=True, how=lambda broker: broker.stop()) == 0
    for member in members:
        member.finish()
        assert [type(end) for end in member.ends] == [Closed]
    drain = Drain(scene, "drain")
    drain.start()
    drain.finish()

    history = scene.history
    assert history.names(CONFIRMED) <= history.names(ACKED)
    assert history.names(DELIVERED) <= history.names(SENT)
    delivered = [event for event in history.events if event.kind == DELIVERED]
    seen = {event.name for event in delivered if event.life == 0}
    ended = {e.name for e in history.events if e.kind == ACK_CONFIRMED and e.life == 0}
    drained = {event.name: event.redelivered for event in delivered if event.life == 1}
    assert not ended & drained.keys()
    assert {name for name, again in drained.items() if again} == seen & drained.keys()
    # While one consumer after the other is told the end, the next one may get what the last one had.
    firsts = Counter(event.name for event in delivered if not event.redelivered)
    assert set(firsts.values()) <= {1}


def test_a_client_that_does_not_hang_up(start_broker: StartBroker, connect: Connect) -> None:
    """One neither reads nor closes, one only does not close: the broker waits a moment, not for ever."""
    broker = start_broker(linger=0.2)
    deaf = connect(broker)
    deaf.send("SUBSCRIBE", destination="/queue/a", id_="1", ack="client-individual")
    idle = connect(broker)
    for _ in range(200):
        idle.send("SEND", bytes(100_000), destination="/queue/a")
    assert idle.silent()
    assert broker.stop() == 0
    idle.expect_closed()
