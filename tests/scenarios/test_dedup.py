"""Producers that send again because they did not hear: the same id twice is one message."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pytest

from broker.stomp import Frame
from tests.conftest import StartBroker
from tests.harness import BrokerProcess, Client
from tests.scenarios.conftest import Connect
from tests.scenarios.steps import (
    accepted,
    bodies,
    drain,
    expect_error,
    let_pass,
    put,
    subscribe,
    take,
)

IDS = ["dedup-id", "_AMQ_DUPL_ID"]
SETTINGS: dict[str, object] = {
    'destination."few.>".dedup_window': 3,
    'destination."short.>".dedup_seconds': 2.0,
    'destination."off.>".dedup_window': 0,
    'destination."full.>".max_messages': 1,
    'destination."full.>".at_limit': "error",
}
_numbers = count(1)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    """Return a broker whose destinations remember more or less."""
    directory = tmp_path_factory.mktemp("dedup")
    process = BrokerProcess(f"lmdb:{directory / 'data'}", directory, SETTINGS)
    yield process
    process.kill()


def send(client: Client, destination: str, body: bytes, /, id: str, **headers: str) -> Frame:
    """Send a message under an id and return the answer, RECEIPT or ERROR."""
    receipt = f"sent {next(_numbers)}"
    named = {"destination": destination, "receipt": receipt, "dedup-id": id, **headers}
    client.write(Frame("SEND", named, body).encode(client.version))
    answer = client.frame()
    assert answer.headers["receipt-id"] == receipt
    return answer


def queue_in(pattern: str) -> str:
    """Return the destination of a queue that nobody else uses, of those with a policy."""
    return f"/queue/{pattern}.{next(_numbers)}"


@pytest.mark.parametrize("first", IDS)
@pytest.mark.parametrize("second", IDS)
def test_the_second_one_is_confirmed_and_not_kept(
    connect: Connect, version: str, queue: str, first: str, second: str
) -> None:
    """From whichever connection, under either name of the header, which is passed on."""
    for name, client in ((first, connect(version)), (second, connect())):
        headers = {"destination": queue, name: "7", "receipt": "r"}
        client.write(Frame("SEND", headers, name.encode()).encode(client.version))
        client.expect("RECEIPT", receipt_id="r")
    client = connect(version)
    subscribe(client, queue)
    message = client.expect("MESSAGE")
    assert (message.body, message.headers[first]) == (first.encode(), "7")
    assert client.silent()


def test_an_id_is_remembered_for_its_destination(connect: Connect, queue: str, topic: str) -> None:
    """Elsewhere it means another message; the same destination has several spellings."""
    client, consumer = connect(), connect()
    subscribe(consumer, topic)
    for destination in (queue, queue.removeprefix("/queue/"), f"{queue}.other", topic, topic):
        accepted(send(client, destination, destination.encode(), id="1"))
    assert consumer.expect("MESSAGE").body == topic.encode()
    assert consumer.silent()
    assert drain(connect(), queue) == [queue.encode()]
    assert drain(connect(), f"{queue}.other") == [f"{queue}.other".encode()]


def test_a_topic_gets_it_once(connect: Connect, topic: str) -> None:
    """Every subscriber."""
    one, other = connect(), connect()
    for client in (one, other):
        subscribe(client, topic)
    sender = connect()
    for id in ("1", "1", "2"):
        accepted(send(sender, topic, id.encode(), id=id))
    assert bodies(take(one, 2)) == bodies(take(other, 2)) == [b"1", b"2"]
    assert one.silent()


def test_several_destinations_are_one(connect: Connect, queue: str) -> None:
    """What was sent to `a,b` is remembered for `a,b`."""
    client = connect()
    for _ in range(2):
        accepted(send(client, f"{queue}.a,{queue}.b", b"1", id="1"))
    accepted(send(client, f"{queue}.a", b"2", id="1"))
    assert drain(connect(), f"{queue}.a") == [b"1", b"2"]
    assert drain(connect(), f"{queue}.b") == [b"1"]


def test_it_is_remembered_though_the_message_is_consumed(connect: Connect, queue: str) -> None:
    """Producers are late."""
    client = connect()
    subscribe(client, queue)
    sender = connect()
    accepted(send(sender, queue, b"1", id="1"))
    assert client.expect("MESSAGE").body == b"1"
    accepted(send(sender, queue, b"1", id="1"))
    assert client.silent()


@pytest.mark.parametrize("id", ["", "x" * 5000, "größe", "a:b\\c\nd", "0"])
def test_an_id_is_any_text(connect: Connect, queue: str, id: str) -> None:
    """Also an empty one, and one that is very long."""
    client = connect()
    for other in (id, id, id + "!"):
        accepted(send(client, queue, other.encode(), id=other))
    assert drain(connect(), queue) == [id.encode(), (id + "!").encode()]


def test_so_many_are_remembered(connect: Connect) -> None:
    """`dedup_window`: the oldest is forgotten first; one that comes again does not get younger."""
    queue = queue_in("few")
    client = connect()
    for id in ("1", "2", "3", "1", "4", "1", "3"):
        accepted(send(client, queue, id.encode(), id=id))
    assert drain(connect(), queue) == [b"1", b"2", b"3", b"4", b"1"]


def test_for_so_long(server: BrokerProcess, connect: Connect) -> None:
    """`dedup_seconds`."""
    queue = queue_in("short")
    client = connect()
    for body in (b"1", b"2"):
        accepted(send(client, queue, body, id="1"))
    let_pass(server, 2.1)
    accepted(send(client, queue, b"3", id="1"))
    assert drain(connect(), queue) == [b"1", b"3"]


def test_not_at_all(connect: Connect) -> None:
    """With `dedup_window = 0` the header is one of the user's."""
    queue = queue_in("off")
    client = connect()
    for body in (b"1", b"2"):
        accepted(send(client, queue, body, id="1"))
    assert drain(connect(), queue) == [b"1", b"2"]


def test_what_was_refused_may_come_again(connect: Connect) -> None:
    """An ERROR is no reason to remember an id."""
    queue = queue_in("full")
    client = connect()
    put(client, queue, b"0")
    expect_error(send(client, queue, b"1", id="1"), "is full")
    expect_error(send(client, queue, b"1", id="2", expires="soon"), "Invalid expires")
    assert drain(connect(), queue) == [b"0"]
    accepted(send(client, queue, b"1", id="1"))
    assert drain(connect(), queue) == [b"1"]
    accepted(send(client, queue, b"2", id="2"))
    assert drain(connect(), queue) == [b"2"]


# Transactions and schedules.


def test_in_a_transaction_it_counts_with_the_commit(connect: Connect, queue: str) -> None:
    """What is aborted may be sent again; within a transaction too the second one is not kept."""
    client = connect()
    for end in ("ABORT", "COMMIT", "COMMIT"):
        accepted(client.ask("BEGIN", transaction="t"))
        for body in (b"1", b"1 again"):
            accepted(send(client, queue, body, id="1", transaction="t"))
        accepted(client.ask(end, transaction="t"))
    accepted(send(client, queue, b"1 once more", id="1"))
    assert drain(connect(), queue) == [b"1"]


def test_what_waits_in_a_transaction_comes_second(connect: Connect, queue: str) -> None:
    """To whoever commits, or sends, first."""
    client = connect()
    accepted(client.ask("BEGIN", transaction="t"))
    accepted(send(client, queue, b"held", id="1", transaction="t"))
    accepted(send(client, queue, b"sent", id="1"))
    accepted(client.ask("COMMIT", transaction="t"))
    assert drain(connect(), queue) == [b"sent"]


def test_what_is_scheduled_is_scheduled_once(
    server: BrokerProcess, connect: Connect, queue: str
) -> None:
    """Before it is due and after it; its repetitions are not the sender's."""
    client = connect()
    subscribe(client, queue)
    sender = connect()
    plan = {"AMQ_SCHEDULED_DELAY": "50", "AMQ_SCHEDULED_PERIOD": "50", "AMQ_SCHEDULED_REPEAT": "1"}
    for body in (b"1", b"2"):
        accepted(send(sender, queue, body, id="1", **plan))
    assert bodies(take(client, 2)) == [b"1", b"1"]
    accepted(send(sender, queue, b"3", id="1"))
    let_pass(server, 0.2)
    assert client.silent()


# Restarts.


@pytest.mark.parametrize(
    ("store", "how"),
    [("lmdb:{}/data", "stop"), ("lmdb:{}/data", "kill"), ("sqlite:{}/hoof.db", "kill")],
)
def test_it_survives_the_broker(
    start_broker: StartBroker, connect: Connect, tmp_path: object, store: str, how: str
) -> None:
    """As its message does: what is not persistent is forgotten with its id."""
    store = store.format(tmp_path)
    broker = start_broker(store, linger=0.1)
    client = connect(to=broker)
    accepted(send(client, "/queue/a", b"1", id="1"))
    accepted(send(client, "/queue/a", b"2", id="2", persistent="false"))
    accepted(send(client, "/queue/a", b"3", id="3"))
    if how == "stop":
        assert broker.stop() == 0
    else:
        broker.kill()
    broker = start_broker(store)
    client = connect(to=broker)
    for id in ("1", "2", "3", "4"):
        accepted(send(client, "/queue/a", b"again " + id.encode(), id=id))
    assert drain(connect(to=broker), "/queue/a") == [b"1", b"3", b"again 2", b"again 4"]


def test_a_producer_that_repeats_everything_after_a_crash(
    start_broker: StartBroker, connect: Connect
) -> None:
    """Killed in the middle of a stream: whatever was confirmed or not, each is there once, in order."""
    broker = start_broker()
    client = connect(to=broker)
    confirmed = 0
    for number in range(500):
        body = b"%d" % number
        headers = {"destination": "/queue/a", "dedup-id": f"id {number}", "receipt": f"{number}"}
        client.write(Frame("SEND", headers, body).encode("1.2"))
    while confirmed < 100:
        client.expect("RECEIPT", receipt_id=str(confirmed))
        confirmed += 1
    broker.kill()
    broker = start_broker()
    client = connect(to=broker)
    for number in range(500):
        accepted(send(client, "/queue/a", b"%d" % number, id=f"id {number}"))
    found = [int(body) for body in drain(connect(to=broker), "/queue/a")]
    assert found == list(range(500))
