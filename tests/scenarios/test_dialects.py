"""What clients of ActiveMQ, of RabbitMQ and of the specification find, where these contradict each other.

One broker for each dialect; a table says who may expect what.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest

from broker import __version__
from broker.dialect import Dialect
from tests.conftest import StartBroker
from tests.harness import BrokerProcess, Client
from tests.scenarios.conftest import Connect
from tests.scenarios.steps import (
    accepted,
    ack,
    acknowledgement,
    drain,
    expect_error,
    is_served,
    nack,
    put,
    subscribe,
    take,
)

DIALECTS = ("activemq", "rabbitmq", "strict")


@pytest.fixture(scope="module", params=DIALECTS)
def dialect(request: pytest.FixtureRequest) -> str:
    """Run the test once for each dialect."""
    return str(request.param)


@pytest.fixture(scope="module")
def house(dialect: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    """Return a broker whose only listener speaks the dialect."""
    process = BrokerProcess("memory:", tmp_path_factory.mktemp(dialect), {"dialect": dialect})
    yield process
    process.kill()


SERVERS = {"activemq": "ActiveMQ/5.18 ", "rabbitmq": "RabbitMQ/3.13 ", "strict": ""}


def test_the_server_header_tells_clients_the_dialect(
    house: BrokerProcess, dialect: str, connect: Connect, version: str
) -> None:
    server = connect(version, to=house).connected.headers["server"]
    assert server == f"{SERVERS[dialect]}hoofbeat/{__version__}"


def test_after_an_error_that_harms_nothing(
    house: BrokerProcess, dialect: str, connect: Connect, version: str
) -> None:
    client = connect(version, to=house)
    client.send("SEND", b"where to?")
    expect_error(client.frame(), "SEND received without a Destination specified!")
    if dialect == "strict":
        client.expect_closed()
    else:
        assert is_served(client)


def test_after_an_error_that_leaves_nothing_to_trust(
    house: BrokerProcess, connect: Connect, version: str
) -> None:
    """All dialects close."""
    client = connect(version, to=house)
    client.write(b"SEND\ncontent-length:-1\n\n\0")
    expect_error(client.frame(), "Specified content-length may not be negative")
    client.expect_closed()


@pytest.mark.parametrize("escape", [r"\t", r"\d", r"\ "])
def test_an_undefined_escape(
    house: BrokerProcess,
    dialect: str,
    connect: Connect,
    later_version: str,
    queue: str,
    escape: str,
) -> None:
    """php-stomp never escapes: in ActiveMQ's dialect the backslash stands for itself."""
    client = connect(later_version, to=house)
    client.write(b"SEND\ndestination:%b\npath:C:%b\n\nx\0" % (queue.encode(), escape.encode()))
    if dialect == "activemq":
        subscribe(client, queue)
        (message,) = take(client, 1)
        assert message.headers["path"] == f"C:{escape}"
    else:
        expect_error(client.frame(), f"Undefined escape {escape}")
        client.expect_closed()


def test_a_backslash_in_1_0(house: BrokerProcess, connect: Connect, queue: str) -> None:
    """1.0 has no escapes, so none is undefined: all dialects take it."""
    client = connect("1.0", to=house)
    put(client, queue, b"x", path=r"C:\temp")
    subscribe(client, queue)
    (message,) = take(client, 1)
    assert message.headers["path"] == r"C:\temp"


def test_a_header_line_without_a_colon(
    house: BrokerProcess, dialect: str, connect: Connect, version: str, queue: str
) -> None:
    client = connect(version, to=house)
    client.write(b"SEND\ndestination:%b\nurgent\n\nx\0" % queue.encode())
    if dialect == "activemq":
        subscribe(client, queue)
        (message,) = take(client, 1)
        assert message.headers["urgent"] == ""
    else:
        expect_error(client.frame(), "A header line has no colon")
        client.expect_closed()


def test_the_first_frame_is_read_in_the_dialect_too(
    house: BrokerProcess, dialect: str, connect: Connect
) -> None:
    client = connect(None, to=house)
    client.write(b"CONNECT\naccept-version:1.2\nhost:localhost\nurgent\n\n\0")
    if dialect == "activemq":
        client.expect("CONNECTED")
    else:
        expect_error(client.frame(), "A header line has no colon")
        client.expect_closed()


# --- destinations and subscriptions -------------------------------------------------------------------

UNPREFIXED = {
    "activemq": None,
    "rabbitmq": "Unknown destination",
    "strict": "Illegal destination name: [{}] -- destinations must begin with one of: /queue/",
}


@pytest.mark.parametrize("name", ["plain", "/exchange/x", "Queue/a"])
def test_a_destination_without_a_prefix(
    house: BrokerProcess, dialect: str, connect: Connect, version: str, name: str
) -> None:
    """ActiveMQ has a queue of that name; also as one of several."""
    name = f"{name}.{version}"
    complaint = UNPREFIXED[dialect]
    if complaint is None:
        client = connect(version, to=house)
        put(client, name, b"x")
        assert drain(client, f"/queue/{name}") == [b"x"]
        return
    for command in ("SEND", "SUBSCRIBE"):
        for destination in (name, f"/queue/a,{name}"):
            client = connect(version, to=house)
            answer = client.ask(command, destination=destination, id="s")
            expect_error(answer, complaint.format(name))


def test_an_unknown_ack_mode(
    house: BrokerProcess, dialect: str, connect: Connect, version: str, queue: str
) -> None:
    client = connect(version, to=house)
    answer = client.ask("SUBSCRIBE", destination=queue, id="s", ack="sometimes")
    if dialect == "activemq":
        accepted(answer)
        client.send("SEND", b"x", destination=queue)
        assert "ack" not in client.expect("MESSAGE").headers  # it means auto
        accepted(client.ask("UNSUBSCRIBE", id="s"))
        assert drain(client, queue) == []
    else:
        expect_error(answer, "Invalid ack mode: sometimes")


def test_how_many_may_be_unacknowledged(
    house: BrokerProcess, dialect: str, connect: Connect, version: str, queue: str
) -> None:
    """Without a word of client and policy: 1000, or with RabbitMQ no limit."""
    client = connect(version, to=house)
    for number in range(1, 1102):
        last = {"receipt": "all"} if number == 1101 else {}
        client.send("SEND", b"x", destination=queue, **last)
    client.expect("RECEIPT")
    subscribe(client, queue, ack="client")
    take(client, 1101 if dialect == "rabbitmq" else 1000)
    assert client.silent()


def test_a_policy_comes_before_the_dialect(
    start_broker: StartBroker, connect: Connect, queue: str
) -> None:
    broker = start_broker("memory:", dialect="rabbitmq", **{'destination.">".prefetch': 2})
    client = connect(to=broker)
    put(client, queue, *[b"x"] * 4)
    subscribe(client, queue, ack="client")
    take(client, 2)
    assert client.silent()


# --- ACK, NACK and redelivery -------------------------------------------------------------------------


def test_an_ack_that_names_another_subscription(
    house: BrokerProcess, dialect: str, connect: Connect, queue: str
) -> None:
    """RabbitMQ finds the message by its message-id, whatever else the frame of 1.1 says, or does not say."""
    for headers in ({"subscription": "another"}, {}):
        for verb in ("ACK", "NACK"):
            client = connect("1.1", to=house)
            subscribe(client, queue, ack="client")
            client.send("SEND", b"x", destination=queue)
            id = client.expect("MESSAGE").headers["message-id"]
            answer = client.ask(verb, message_id=id, requeue="false", **headers)
            if dialect == "rabbitmq":
                accepted(answer)
            else:
                expect_error(answer, "subscription id" if not headers else f"Unexpected {verb}")
            client.close()
            drain(connect(to=house), queue)


def test_a_nack_that_says_no_more(
    house: BrokerProcess, dialect: str, connect: Connect, later_version: str, queue: str
) -> None:
    """It makes a dead letter of the message, or with RabbitMQ gives it back."""
    client = connect(later_version, to=house)
    subscribe(client, queue, ack="client-individual")
    client.send("SEND", b"x", destination=queue, mark=queue)
    client.send("NACK", **acknowledgement(client, client.expect("MESSAGE")))
    if dialect == "rabbitmq":
        accepted(ack(client, client.expect("MESSAGE", redelivered="true")))
    else:
        subscribe(client, "/queue/ActiveMQ.DLQ", id="dead", selector=f"mark = '{queue}'")
        client.expect("MESSAGE", original_destination=queue)


@pytest.mark.parametrize("in_transaction", [False, True])
def test_a_nack_in_mode_client(
    house: BrokerProcess,
    dialect: str,
    connect: Connect,
    later_version: str,
    queue: str,
    in_transaction: bool,
) -> None:
    """It means the one message, or as STOMP and RabbitMQ have it all before it too."""
    client = connect(later_version, to=house)
    put(client, queue, b"1", b"2", b"3")
    subscribe(client, queue, ack="client")
    messages = take(client, 3)
    if in_transaction:
        client.send("BEGIN", transaction="t")
        accepted(nack(client, messages[1], requeue="false", transaction="t"))
        accepted(client.ask("COMMIT", transaction="t"))
    else:
        accepted(nack(client, messages[1], requeue="false"))
    accepted(client.ask("UNSUBSCRIBE", id="s"))
    left = [b"1", b"3"] if dialect == "activemq" else [b"3"]
    assert drain(connect(to=house), queue) == left


def test_a_nack_in_1_0(house: BrokerProcess, dialect: str, connect: Connect, queue: str) -> None:
    client = connect("1.0", to=house)
    subscribe(client, queue, ack="client")
    client.send("SEND", b"x", destination=queue)
    answer = nack(client, client.expect("MESSAGE"), requeue="false")
    if dialect == "rabbitmq":
        accepted(answer)
    else:
        expect_error(answer, "NACK received but connection is in v1.0 mode.")


def test_what_a_first_delivery_says(
    house: BrokerProcess, dialect: str, connect: Connect, version: str, queue: str, topic: str
) -> None:
    """Each says the header once at most, and all say when it is another."""
    client = connect(version, to=house)
    for destination in (queue, topic, f"{queue}.*"):
        mode = "client" if destination == queue else "auto"
        subscribe(client, destination, id=destination, ack=mode)
        client.send("SEND", b"x", destination=destination.replace("*", "a"), redelivered="true")
        first = client.expect("MESSAGE").headers.get("redelivered")
        assert first == ("false" if dialect == "rabbitmq" else None)
    accepted(client.ask("UNSUBSCRIBE", id=queue))
    subscribe(client, queue, id="again")
    client.expect("MESSAGE", redelivered="true")


# --- SEND ---------------------------------------------------------------------------------------------


def test_the_receipt_of_a_send_in_a_transaction(
    house: BrokerProcess, dialect: str, connect: Connect, version: str, queue: str
) -> None:
    """It comes at once, or with RabbitMQ after COMMIT, and before that of COMMIT."""
    client = connect(version, to=house)
    client.send("BEGIN", transaction="t")
    client.send("SEND", b"x", destination=queue, transaction="t", receipt="send")
    if dialect != "rabbitmq":
        client.expect("RECEIPT", receipt_id="send")
    assert client.silent()
    client.send("COMMIT", transaction="t", receipt="commit")
    if dialect == "rabbitmq":
        client.expect("RECEIPT", receipt_id="send")
    client.expect("RECEIPT", receipt_id="commit")
    client.send("BEGIN", transaction="t")
    client.send("SEND", b"x", destination=queue, transaction="t", receipt="send")
    if dialect != "rabbitmq":
        client.expect("RECEIPT", receipt_id="send")
    accepted(client.ask("ABORT", transaction="t"))  # and none for what was not sent


def test_a_send_with_a_message_id(
    house: BrokerProcess, dialect: str, connect: Connect, version: str, queue: str
) -> None:
    """It is not the sender's to give: ignored, or with RabbitMQ refused."""
    client = connect(version, to=house)
    answer = client.ask("SEND", b"x", destination=queue, message_id="mine")
    if dialect == "rabbitmq":
        expect_error(answer, "Invalid header")
        assert "'message-id' is not allowed on 'SEND'." in answer.body.decode()
        return
    accepted(answer)
    subscribe(client, queue)
    assert client.expect("MESSAGE").headers["message-id"] != "mine"


# --- replies ------------------------------------------------------------------------------------------

REPLIES = "/temp-queue/replies"


def test_replies_come_without_a_subscribe(
    house: BrokerProcess, dialect: str, connect: Connect, version: str, queue: str
) -> None:
    """With RabbitMQ a reply-to is enough: the subscription's id is its name, and nothing is acknowledged."""
    client, server = connect(version, to=house), connect(version, to=house)
    subscribe(server, queue)
    for number in range(3):
        client.send("SEND", b"?", destination=queue, reply_to=REPLIES, correlation_id=str(number))
    requests = take(server, 3)
    assert len({request.headers["reply-to"] for request in requests}) == 1
    for request in requests:
        headers = {"correlation-id": request.headers["correlation-id"]}
        put(server, request.headers["reply-to"], b"!", **headers)
    if dialect != "rabbitmq":
        subscribe(client, REPLIES, id=REPLIES)
    for number in range(3):
        reply = client.expect("MESSAGE", subscription=REPLIES, correlation_id=str(number))
        assert reply.headers["destination"] == REPLIES
        assert "ack" not in reply.headers
    assert client.silent()


def test_a_temporary_queue_is_for_replies_only(
    house: BrokerProcess, dialect: str, connect: Connect, version: str
) -> None:
    """With RabbitMQ, where neither SUBSCRIBE nor SEND may name it; to others it is a queue."""
    client = connect(version, to=house)
    if dialect != "rabbitmq":
        subscribe(client, REPLIES)
        client.send("SEND", b"x", destination=REPLIES)
        client.expect("MESSAGE", destination=REPLIES)
        return
    for destination in (REPLIES, f"/queue/a,{REPLIES}", "/temp-topic/news"):
        expect_error(
            client.ask("SUBSCRIBE", destination=destination, id="s"), "Invalid destination"
        )
        expect_error(client.ask("SEND", destination=destination), "Invalid destination")
    assert is_served(client)


def test_a_known_reply_queue_is_a_queue(
    house: BrokerProcess, connect: Connect, version: str, queue: str
) -> None:
    """In all dialects: nobody is subscribed to it unasked."""
    client = connect(version, to=house)
    put(client, queue, b"?", reply_to=f"{queue}.replies")
    subscribe(client, queue)
    request = client.expect("MESSAGE", reply_to=f"{queue}.replies")
    put(client, request.headers["reply-to"], b"!")
    assert drain(client, f"{queue}.replies") == [b"!"]


def test_two_names_are_two_queues_and_one_id_is_one_subscription(
    start_broker: StartBroker, connect: Connect
) -> None:
    """RabbitMQ: each name is subscribed to once, and its id is taken, until it is unsubscribed from."""
    broker = start_broker("memory:", dialect="rabbitmq")
    client = connect(to=broker)
    for name in ("a", "b", "a"):
        put(client, "/queue/requests", name.encode(), reply_to=f"/temp-queue/{name}")
    answer = client.ask("SUBSCRIBE", destination="/queue/x", id="/temp-queue/a")
    expect_error(answer, "Duplicated subscription identifier")
    subscribe(client, "/queue/requests", id="r")
    for request in take(client, 3):
        name = f"/temp-queue/{request.body.decode()}"
        assert request.headers["reply-to"] == name  # it reads its own requests
    accepted(client.ask("UNSUBSCRIBE", id="/temp-queue/a"))
    accepted(client.ask("UNSUBSCRIBE", id="/temp-queue/b"))
    assert client.silent()


#: What each field of a dialect decides is shown above.
STORIES = {
    "server_header": test_the_server_header_tells_clients_the_dialect,
    "error_policy": test_after_an_error_that_harms_nothing,
    "undefined_escapes": test_an_undefined_escape,
    "colon_required": test_a_header_line_without_a_colon,
    "unprefixed_error": test_a_destination_without_a_prefix,
    "unknown_ack_refused": test_an_unknown_ack_mode,
    "prefetch_unlimited": test_how_many_may_be_unacknowledged,
    "any_subscription": test_an_ack_that_names_another_subscription,
    "nack_requeues": test_a_nack_that_says_no_more,
    "nack_cumulative": test_a_nack_in_mode_client,
    "nack_in_1_0": test_a_nack_in_1_0,
    "says_not_redelivered": test_what_a_first_delivery_says,
    "receipts_at_commit": test_the_receipt_of_a_send_in_a_transaction,
    "reply_to_subscribes": test_replies_come_without_a_subscribe,
    "message_id_refused": test_a_send_with_a_message_id,
}


def test_every_difference_has_a_story() -> None:
    assert STORIES.keys() == {field.name for field in dataclasses.fields(Dialect)}


# --- what an operator wants otherwise -----------------------------------------------------------------


def test_a_strict_dialect_that_keeps_connections(
    start_broker: StartBroker, connect: Connect
) -> None:
    """And is still strict about the rest."""
    broker = start_broker("memory:", dialect="strict", error_policy="activemq")
    client = connect(to=broker)
    client.send("SEND", b"where to?")
    expect_error(client.frame(), "SEND received without a Destination specified!")
    assert is_served(client)
    client.write(b"SEND\nurgent\n\n\0")
    expect_error(client.frame(), "A header line has no colon")
    client.expect_closed()


def test_escapes_and_lines_are_two_questions(start_broker: StartBroker, connect: Connect) -> None:
    broker = start_broker("memory:", undefined_escapes="error")
    client = connect(to=broker)
    client.write(b"SEND\nurgent\n\n\0")
    expect_error(client.frame(), "SEND received without a Destination specified!")
    client.write(b"SEND\npath:C:\\temp\n\n\0")
    expect_error(client.frame(), r"Undefined escape \t")
    client.expect_closed()


def test_a_server_header_of_the_operators_own(start_broker: StartBroker) -> None:
    broker = start_broker("memory:", dialect="rabbitmq", server_header="mine/1")
    with Client(broker.port) as client:
        assert client.connected.headers["server"] == "mine/1"
