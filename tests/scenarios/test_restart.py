"""What a restart keeps, by a crash or in order, on every store that keeps anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import StartBroker
from tests.harness import BrokerProcess
from tests.scenarios.conftest import Connect
from tests.scenarios.steps import (
    accepted,
    ack,
    bodies,
    drain,
    nack,
    put,
    subscribe,
    take,
)


def end(broker: BrokerProcess, how: str) -> None:
    """Stop a broker in order, or kill it."""
    if how == "stop":
        assert broker.stop() == 0
    else:
        broker.kill()


@pytest.mark.parametrize(
    ("store", "how"),
    [("lmdb:{}/data", "stop"), ("lmdb:{}/data", "kill"), ("sqlite:{}/hoof.db", "kill")],
)
def test_what_is_kept(
    start_broker: StartBroker, connect: Connect, tmp_path: Path, store: str, how: str
) -> None:
    """Whatever was confirmed is as it was; whatever was not to be kept is forgotten.

    One story for all, because starting a broker takes longer than anything else here.
    """
    store = store.format(tmp_path)
    broker = start_broker(store, linger=0.1)
    sender, reader = connect(to=broker), connect(to=broker)
    body = bytes(range(256)) * 4
    put(sender, "/queue/a", body, key="a:b\nc\\d", color="red", persistent="true")
    put(sender, "/queue/a", b"forgotten", persistent="false")
    put(sender, "/queue/a", b"forgotten, too", persistent="False")  # as Python writes it
    put(sender, "/queue/a", b"default")
    put(sender, "/queue/größe/b c", b"other queue")
    put(sender, "/queue/order", *[b"%d" % n for n in range(2500)])
    put(sender, "/queue/done", b"acknowledged")
    put(sender, "/queue/refused", b"poison", color="green")
    put(sender, "/queue/held", b"held", b"waiting")
    put(sender, "/topic/a", b"x", persistent="true")
    subscribe(reader, "/queue/done", id="done", ack="client")
    accepted(ack(reader, reader.expect("MESSAGE")))
    subscribe(reader, "/queue/refused", id="refused", ack="client")
    accepted(nack(reader, reader.expect("MESSAGE")))
    subscribe(reader, "/queue/held", id="held", ack="client", **{"activemq.prefetchSize": "1"})
    held = reader.expect("MESSAGE")
    end(broker, how)

    broker = start_broker(store)
    sender, reader = connect(to=broker), connect("1.1", to=broker)
    subscribe(reader, "/queue/a", ack="client")
    first, second = take(reader, 2)
    assert reader.silent()
    assert first.body == body
    assert first.headers["key"] == "a:b\nc\\d"
    assert first.headers["color"] == "red"
    assert first.headers["persistent"] == "true"
    assert second.body == b"default"
    assert "persistent" not in second.headers
    assert drain(sender, "/queue/größe/b c") == [b"other queue"]
    put(sender, "/queue/order", b"2500", b"2501")
    assert [int(body) for body in drain(sender, "/queue/order")] == list(range(2502))
    for destination in ("/queue/done", "/queue/refused", "/topic/a"):
        assert drain(sender, destination) == []
    subscribe(reader, "/queue/ActiveMQ.DLQ", id="dead")
    letter = reader.expect("MESSAGE", color="green", original_destination="/queue/refused")
    assert letter.body == b"poison"
    subscribe(reader, "/queue/held", id="held", ack="client")
    again, waiting = take(reader, 2)
    assert bodies([again, waiting]) == [b"held", b"waiting"]
    assert again.headers["redelivered"] == "true"
    assert again.headers["message-id"] == held.headers["message-id"]


def test_ids_never_come_again(start_broker: StartBroker, connect: Connect) -> None:
    """Messages and sessions of two lives of a broker have different ids, also if nothing was stored."""
    ids: list[str] = []
    sessions: list[str] = []
    for _ in range(2):
        broker = start_broker()
        client = connect(to=broker)
        sessions.append(client.connected.headers["session"])
        subscribe(client, "/queue/consumed.before.it.was.written")
        client.send("SEND", destination="/queue/consumed.before.it.was.written")
        ids.append(client.expect("MESSAGE").headers["message-id"])
        broker.kill()
    assert len(set(ids)) == len(set(sessions)) == 2


def test_marks_after_an_orderly_stop(start_broker: StartBroker, connect: Connect) -> None:
    """After a stop in order only what a consumer really had is marked."""
    broker = start_broker(linger=0.1)
    sender, client = connect(to=broker), connect(to=broker)
    put(sender, "/queue/a", b"had", b"waited")
    subscribe(client, "/queue/a", ack="client", **{"activemq.prefetchSize": "1"})
    client.expect("MESSAGE")
    sender.close()
    client.close()
    assert broker.stop() == 0
    broker = start_broker()
    client = connect(to=broker)
    subscribe(client, "/queue/a", ack="client")
    had, waited = take(client, 2)
    assert had.headers.get("redelivered") == "true"
    assert "redelivered" not in waited.headers


def test_refusals_are_counted_over_a_restart(start_broker: StartBroker, connect: Connect) -> None:
    """A message cannot escape `max_redeliveries` by a restart."""
    broker = start_broker(max_redeliveries=2)
    put(connect(to=broker), "/queue/a", b"poison")
    for _ in range(2):
        client = connect(to=broker)
        subscribe(client, "/queue/a", ack="client", **{"activemq.prefetchSize": "1"})
        client.send("NACK", id=client.expect("MESSAGE").headers["ack"], requeue="true")
        client.expect("MESSAGE")
        accepted(client.ask("DISCONNECT"))
        broker.kill()
        broker = start_broker(max_redeliveries=2)
    client = connect(to=broker)
    subscribe(client, "/queue/a", ack="client")
    accepted(nack(client, client.expect("MESSAGE"), requeue="true"))
    assert drain(connect(to=broker), "/queue/ActiveMQ.DLQ") == [b"poison"]


def test_default_can_be_not_persistent(start_broker: StartBroker, connect: Connect) -> None:
    """With `default_persistent = false` only `persistent:true` is kept, as in ActiveMQ."""
    broker = start_broker(default_persistent=False)
    sender = connect(to=broker)
    put(sender, "/queue/a", b"default")
    put(sender, "/queue/a", b"kept", persistent="true")
    broker.kill()
    broker = start_broker()
    assert drain(connect(to=broker), "/queue/a") == [b"kept"]
