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


@pytest.fixture(params=["lmdb:{}/data", "sqlite:{}/hoof.db"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Run the test on each store that outlives the process."""
    return str(request.param.format(tmp_path))


def end(broker: BrokerProcess, how: str) -> None:
    """Stop a broker in order, or kill it."""
    if how == "stop":
        assert broker.stop() == 0
    else:
        broker.kill()


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_what_is_kept(start_broker: StartBroker, connect: Connect, store: str, how: str) -> None:
    """Durable messages with all they had; `persistent:false` is forgotten; acknowledged is gone."""
    broker = start_broker(store, linger=0.1)
    sender = connect("1.2", to=broker)
    body = bytes(range(256)) * 4
    put(sender, "/queue/a", body, key="a:b\nc\\d", color="red", persistent="true")
    put(sender, "/queue/a", b"forgotten", persistent="false")
    put(sender, "/queue/a", b"default")
    put(sender, "/queue/größe/b c", b"other queue")
    put(sender, "/queue/done", b"x")
    reader = connect(to=broker)
    subscribe(reader, "/queue/done", ack="client")
    accepted(ack(reader, reader.expect("MESSAGE")))
    sender.close()
    reader.close()
    end(broker, how)
    broker = start_broker(store)
    client = connect("1.2", to=broker)
    subscribe(client, "/queue/a", ack="client")
    first, second = take(client, 2)
    assert client.silent()
    assert first.body == body
    assert first.headers["key"] == "a:b\nc\\d"
    assert first.headers["color"] == "red"
    assert first.headers["persistent"] == "true"
    assert second.body == b"default"
    assert "persistent" not in second.headers
    assert drain(connect(to=broker), "/queue/größe/b c") == [b"other queue"]
    assert drain(connect(to=broker), "/queue/done") == []


def test_held_by_a_consumer_when_it_ended(
    start_broker: StartBroker, connect: Connect, store: str
) -> None:
    """It is there again, before what only waited, with its id, marked as delivered before."""
    broker = start_broker(store)
    put(connect(to=broker), "/queue/a", b"held", b"waiting")
    client = connect(to=broker)
    subscribe(client, "/queue/a", ack="client", **{"activemq.prefetchSize": "1"})
    held = client.expect("MESSAGE")
    broker.kill()
    broker = start_broker(store)
    client = connect(to=broker)
    subscribe(client, "/queue/a", ack="client")
    again, waiting = take(client, 2)
    assert bodies([again, waiting]) == [b"held", b"waiting"]
    assert again.headers["redelivered"] == "true"
    assert again.headers["message-id"] == held.headers["message-id"]


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


def test_ids_never_come_again(start_broker: StartBroker, connect: Connect, store: str) -> None:
    """Messages of two lives of a broker have different ids."""
    ids: list[str] = []
    sessions: list[str] = []
    for _ in range(2):
        broker = start_broker(store)
        client = connect(to=broker)
        sessions.append(client.connected.headers["session"])
        subscribe(client, "/queue/consumed.before.it.was.written")
        client.send("SEND", destination="/queue/consumed.before.it.was.written")
        ids.append(client.expect("MESSAGE").headers["message-id"])
        broker.kill()
    assert len(set(ids)) == len(set(sessions)) == 2


def test_order_over_a_restart(start_broker: StartBroker, connect: Connect, store: str) -> None:
    """What was sent before comes before what is sent after; a long backlog too."""
    broker = start_broker(store)
    sender = connect(to=broker)
    sender.write(
        b"".join(b"SEND\ndestination:/queue/a\n\n%d\0" % n for n in range(2500))
        + b"SEND\ndestination:/queue/b\nreceipt:last\n\n\0"
    )
    sender.expect("RECEIPT", receipt_id="last")
    broker.kill()
    broker = start_broker(store)
    sender = connect(to=broker)
    put(sender, "/queue/a", b"2500", b"2501")
    client = connect(to=broker)
    subscribe(client, "/queue/a")
    assert [int(message.body) for message in take(client, 2502)] == list(range(2502))


def test_dead_letters_are_kept(start_broker: StartBroker, connect: Connect, store: str) -> None:
    """A refused message survives as a dead letter, and only as one."""
    broker = start_broker(store)
    put(connect(to=broker), "/queue/a", b"poison", color="green")
    client = connect(to=broker)
    subscribe(client, "/queue/a", ack="client")
    accepted(nack(client, client.expect("MESSAGE")))
    broker.kill()
    broker = start_broker(store)
    assert drain(connect(to=broker), "/queue/a") == []
    client = connect("1.1", to=broker)
    subscribe(client, "/queue/ActiveMQ.DLQ")
    letter = client.expect("MESSAGE", color="green", original_destination="/queue/a")
    assert letter.body == b"poison"


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


def test_memory_forgets(start_broker: StartBroker, connect: Connect) -> None:
    """The store `memory:` keeps nothing over a restart, and everything until then."""
    broker = start_broker("memory:")
    sender = connect(to=broker)
    put(sender, "/queue/a", *[b"%d" % n for n in range(50)])
    assert len(drain(connect(to=broker), "/queue/a")) == 50
    put(sender, "/queue/a", b"x")
    broker.kill()
    broker = start_broker("memory:")
    assert drain(connect(to=broker), "/queue/a") == []
