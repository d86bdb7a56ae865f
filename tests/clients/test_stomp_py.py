"""stomp.py, unchanged, in each version it speaks: a story per feature that its API can express."""

from __future__ import annotations

import time
from itertools import count

import pytest

from tests.clients.conftest import Talk
from tests.clients.talker import CONNECTIONS, Talker, texts
from tests.conftest import StartBroker
from tests.harness import DEADLINE, BrokerProcess

DEAD_LETTERS = "/queue/ActiveMQ.DLQ"
_numbers = count(1)


def left_in(talk: Talk, destination: str) -> list[str]:
    """Consume and return what is in a queue."""
    talker = talk("1.2")
    end = f"end {next(_numbers)}"
    talker.subscribe(destination, id="drain")
    talker.connection.send(destination, end, priority=0)
    found = []
    while (message := talker.expect("message")).body != end:
        found.append(message.body)
    talker.unsubscribe("drain")
    return found


def test_connected(server: BrokerProcess, version: str) -> None:
    """`connect(wait=True)` returns; the listener is told version, session and server."""
    talker = Talker(version, server)
    try:
        headers = talker.connect().headers
        assert headers["version"] == version
        assert headers["session"]
        assert headers["server"].startswith("ActiveMQ/")
        assert talker.connection.is_connected()
    finally:
        talker.leave()


def test_connect_command_and_vhost(server: BrokerProcess, later_version: str) -> None:
    """`with_connect_command` and `vhost` make no difference."""
    talker = Talker(later_version, server, vhost="example")
    try:
        talker.connection.connect(wait=True, with_connect_command=True)
        talker.expect("connected")
    finally:
        talker.leave()


def test_disconnect(talk: Talk, version: str) -> None:
    """`disconnect()` with its receipt ends the connection cleanly."""
    talker = talk(version)
    talker.connection.disconnect(receipt="bye")
    events = dict(talker.inbox.events.get(timeout=DEADLINE) for _ in range(2))
    assert events["receipt"].headers["receipt-id"] == "bye"
    assert "disconnected" in events
    assert not talker.connection.is_connected()


def test_context_manager(server: BrokerProcess, version: str, queue: str) -> None:
    """`with Connection(...)` leaves when everything has been sent and confirmed."""
    with CONNECTIONS[version]([("127.0.0.1", server.port)]) as connection:
        connection.connect(wait=True)
        connection.send(queue, "x")
    assert not connection.is_connected()


def test_send_and_receive(talk: Talk, version: str, queue: str) -> None:
    """A text, with headers of one's own, arrives with all that the specification asks for."""
    talker = talk(version)
    talker.subscribe(queue)
    talker.connection.send(queue, "hello", content_type="text/plain", color="red")
    message = talker.expect("message")
    assert message.body == "hello"
    assert message.headers["destination"] == queue
    assert message.headers["subscription"] == "s"
    assert message.headers["content-type"] == "text/plain"
    assert message.headers["content-length"] == "5"
    assert message.headers["color"] == "red"
    assert message.headers["message-id"]


@pytest.mark.parametrize("body", ["", "ä🐎\n\n", "x" * 1_000_000, "line\r\nline", '{"a": [1]}'])
def test_texts(talk: Talk, version: str, queue: str, body: str) -> None:
    """Texts of all kinds arrive as they were sent."""
    talker = talk(version)
    talker.subscribe(queue)
    talker.connection.send(queue, body)
    assert talker.expect("message").body == body


def test_bytes(talk: Talk, version: str, queue: str) -> None:
    """Bytes too, NULs and what looks like frames included."""
    body = bytes(range(256)) * 40 + b"\0\nMESSAGE\n\n\0"
    talker = talk(version, auto_decode=False)
    talker.subscribe(queue)
    talker.connection.send(queue, body)
    assert talker.expect("message").body == body


def test_without_content_length(talk: Talk, version: str, queue: str) -> None:
    """With `auto_content_length=False` the body ends at its NUL."""
    talker = talk(version, auto_content_length=False)
    talker.subscribe(queue)
    talker.connection.send(queue, "hello")
    assert talker.expect("message").body == "hello"


@pytest.mark.parametrize(
    "value", ["a:b", "C:\\temp\\new", "two\nlines", "cr\rlf\n", "größe 🐎", ""]
)
def test_header_values(talk: Talk, later_version: str, queue: str, value: str) -> None:
    """Whatever a value holds, it reads the same on the other side."""
    if "\r" in value and later_version == "1.1":
        value = value.replace(
            "\r", ""
        )  # 1.1 cannot express it, and stomp.py reads a CR as a line's end
    talker = talk(later_version)
    talker.subscribe(queue)
    talker.connection.send(queue, "x", headers={"key": value})
    assert talker.expect("message").headers["key"] == value


@pytest.mark.parametrize("reader", ["1.0", "1.1", "1.2"])
def test_mixed_versions(talk: Talk, version: str, queue: str, reader: str) -> None:
    """Writer and reader need not speak the same version."""
    receiver = talk(reader)
    receiver.subscribe(queue)
    talk(version).send(queue, "x", color="a:b")
    message = receiver.expect("message")
    assert message.body == "x"
    assert message.headers["color"] == "a:b"


def test_receipts(talk: Talk, version: str, queue: str) -> None:
    """Every verb that takes a receipt gets it."""
    talker = talk(version)
    talker.subscribe(queue, ack="client")
    sender = talk(version)
    sender.send(queue, "x")
    talker.ack(talker.expect("message"))
    talker.confirm(talker.connection.begin, "t")
    talker.confirm(talker.connection.abort, "t")
    talker.confirm(talker.connection.begin, "t")
    talker.confirm(talker.connection.commit, "t")
    talker.unsubscribe()


def test_unsubscribe(talk: Talk, version: str, queue: str) -> None:
    """After it nothing arrives; what was not acknowledged is somebody else's."""
    talker = talk(version)
    talker.subscribe(queue, ack="client")
    talk(version).send(queue, "1")
    talker.expect("message")
    talker.unsubscribe()
    talk(version).send(queue, "2")
    talker.nothing()
    other = talk(version)
    other.subscribe(queue)
    first, second = other.take(2)
    assert (first.body, first.headers["redelivered"]) == ("1", "true")
    assert second.body == "2"
    assert "redelivered" not in second.headers


def test_1_0_by_destination(talk: Talk, queue: str) -> None:
    """1.0 needs no ids: subscribe and unsubscribe by destination."""
    talker = talk("1.0")
    talker.confirm(talker.connection.subscribe, queue)
    talk("1.0").send(queue, "x")
    assert "subscription" not in talker.expect("message").headers
    talker.confirm(talker.connection.unsubscribe, queue)
    talk("1.0").send(queue, "y")
    talker.nothing()


def test_ack_client(talk: Talk, version: str, queue: str) -> None:
    """`ack="client"` acknowledges everything up to the message."""
    talk(version).send(queue, "1", "2", "3")
    talker = talk(version)
    talker.subscribe(queue, ack="client")
    messages = talker.take(3)
    talker.ack(messages[1])
    talker.unsubscribe()
    assert left_in(talk, queue) == ["3"]


def test_ack_client_individual(talk: Talk, version: str, queue: str) -> None:
    """`ack="client-individual"` acknowledges one."""
    talk(version).send(queue, "1", "2", "3")
    talker = talk(version)
    talker.subscribe(queue, ack="client-individual")
    messages = talker.take(3)
    talker.ack(messages[1])
    talker.unsubscribe()
    assert left_in(talk, queue) == ["1", "3"]


def test_nack(talk: Talk, later_version: str, queue: str) -> None:
    """A refused message is a dead letter; with `requeue="true"` it comes again."""
    body = f"poison {queue}"
    talk(later_version).send(queue, body)
    talker = talk(later_version)
    talker.subscribe(queue, ack="client-individual")
    message = talker.expect("message")
    if later_version == "1.1":  # its nack takes headers, that of 1.2 does not
        talker.connection.nack(*talker.named(message), requeue="true")
        message = talker.expect("message")
        assert message.headers["redelivered"] == "true"
    talker.confirm(talker.connection.nack, *talker.named(message))
    assert body in left_in(talk, DEAD_LETTERS)


def test_prefetch(talk: Talk, version: str, queue: str) -> None:
    """`activemq.prefetchSize` bounds what a consumer holds."""
    talk(version).send(queue, "1", "2", "3")
    talker = talk(version)
    talker.subscribe(queue, ack="client-individual", headers={"activemq.prefetchSize": "1"})
    first = talker.expect("message")
    talker.nothing()
    talker.connection.ack(*talker.named(first))
    assert talker.expect("message").body == "2"


def test_commit(talk: Talk, version: str, queue: str) -> None:
    """What is sent in a transaction appears at commit; begin() invents a name if it is given none."""
    reader, writer = talk(version), talk(version)
    reader.subscribe(queue)
    name = writer.connection.begin()
    writer.send(queue, "1", "2", transaction=name)
    reader.nothing()
    writer.confirm(writer.connection.commit, name)
    assert texts(reader.take(2)) == ["1", "2"]


def test_abort(talk: Talk, version: str, queue: str) -> None:
    """What is sent in an aborted transaction does not."""
    writer = talk(version)
    name = writer.connection.begin("t")
    writer.send(queue, "1", transaction=name)
    writer.confirm(writer.connection.abort, name)
    assert left_in(talk, queue) == []


def test_acks_in_a_transaction(talk: Talk, version: str, queue: str) -> None:
    """Acknowledgements count at commit, and not at all after abort."""
    talk(version).send(queue, "1", "2")
    talker = talk(version)
    talker.subscribe(queue, ack="client-individual")
    first, second = talker.take(2)
    talker.connection.begin("kept")
    talker.connection.begin("undone")
    talker.ack(first, transaction="kept")
    talker.ack(second, transaction="undone")
    talker.confirm(talker.connection.commit, "kept")
    talker.confirm(talker.connection.abort, "undone")
    talker.connection.disconnect()
    assert left_in(talk, queue) == ["2"]


def test_topic(talk: Talk, version: str, queue: str) -> None:
    """Every subscriber of a topic gets a copy."""
    topic = queue.replace("/queue/", "/topic/")
    talkers = [talk(version) for _ in range(3)]
    for talker in talkers:
        talker.subscribe(topic)
    talk(version).send(topic, "1", "2")
    for talker in talkers:
        assert texts(talker.take(2)) == ["1", "2"]


def test_competing_consumers(talk: Talk, version: str, queue: str) -> None:
    """Consumers of a queue share its messages in turn."""
    talkers = [talk(version) for _ in range(2)]
    for talker in talkers:
        talker.subscribe(queue)
    talk(version).send(queue, "1", "2", "3", "4")
    assert texts(talkers[0].take(2)) == ["1", "3"]
    assert texts(talkers[1].take(2)) == ["2", "4"]


def test_priority_and_expiry(talk: Talk, version: str, queue: str) -> None:
    """`priority` orders, `expires` ends."""
    sender = talk(version)
    sender.send(queue, "low", priority=1)
    sender.send(queue, "high", priority=9)
    sender.send(queue, "late", expires=int(time.time() * 1000) - 1)
    sender.send(queue, "middle")
    assert left_in(talk, queue) == ["high", "middle", "low"]


def test_lost_connection(talk: Talk, version: str, queue: str) -> None:
    """Messages in the hands of a client that dies go to another at once."""
    talk(version).send(queue, "1", "2")
    dying = talk(version)
    dying.subscribe(queue, ack="client")
    dying.take(2)
    other = talk(version)
    other.subscribe(queue, ack="client")
    dying.connection.transport.disconnect_socket()
    messages = other.take(2)
    assert texts(messages) == ["1", "2"]
    assert all(message.headers["redelivered"] == "true" for message in messages)


def test_errors(talk: Talk, version: str, queue: str) -> None:
    """A refused frame reaches on_error, and the connection goes on."""
    talker = talk(version)
    talker.connection.commit("never begun", receipt="r")
    error = talker.expect("error")
    assert error.headers["message"] == "Invalid transaction id: never begun"
    assert error.headers["receipt-id"] == "r"
    assert "BEGIN" in error.body
    talker.nothing()
    talker.connection.ack(*["1-1", "s"][: 2 if version == "1.1" else 1])
    assert "Unexpected ACK" in talker.expect("error").headers["message"]
    talker.nothing()


def test_fatal_error(talk: Talk, version: str) -> None:
    """An unknown command ends the connection after its ERROR."""
    talker = talk(version)
    talker.connection.send_frame("WHEE", {})
    assert talker.expect("error").headers["message"] == "Unknown STOMP action: WHEE"
    talker.expect("disconnected")


def test_heart_beats(talk: Talk, later_version: str) -> None:
    """Two idle ends that beat stay connected for much longer than either would wait."""
    talker = talk(later_version, heartbeats=(300, 300), heart_beat_receive_scale=10)
    begun = time.monotonic()
    while time.monotonic() - begun < 1.8:  # the broker's grace ends after 1.3 seconds
        talker.inbox.beats.get(timeout=DEADLINE)
    talker.nothing()


def test_broker_that_falls_silent(
    start_broker: StartBroker, talk: Talk, later_version: str
) -> None:
    """stomp.py notices a broker that does not beat any more."""
    broker = start_broker("memory:")
    talker = talk(later_version, to=broker, heartbeats=(0, 200))
    broker.process.send_signal(19)  # SIGSTOP
    while talker.inbox.events.get(timeout=DEADLINE)[0] != "heartbeat timeout":
        pass
    assert not talker.connection.is_connected()


def test_restart(start_broker: StartBroker, talk: Talk) -> None:
    """A client sees the broker go; it connects again and finds what was confirmed."""
    broker = start_broker()
    talker = talk("1.2", to=broker)
    talker.send("/queue/a", "kept")
    talker.send("/queue/a", "not kept", persistent="false")
    broker.kill()
    talker.expect("disconnected")
    talker = talk("1.2", to=start_broker())
    talker.subscribe("/queue/a")
    assert talker.expect("message").body == "kept"
    talker.nothing()


def test_many_messages(talk: Talk, version: str, queue: str) -> None:
    """Two thousand messages sent as fast as stomp.py can arrive in order."""
    talker = talk(version)
    talker.subscribe(queue)
    for number in range(2000):
        talker.connection.send(queue, str(number))
    assert texts(talker.take(2000)) == [str(number) for number in range(2000)]
