"""Acknowledging and refusing messages, in every mode and version."""

from __future__ import annotations

import pytest

from tests.conftest import StartBroker
from tests.harness import BrokerProcess
from tests.scenarios.conftest import Connect
from tests.scenarios.steps import (
    accepted,
    ack,
    acknowledgement,
    bodies,
    drain,
    expect_error,
    is_served,
    nack,
    put,
    subscribe,
    take,
)

DEAD_LETTERS = "/queue/ActiveMQ.DLQ"


@pytest.mark.parametrize("mode", ["client", "client-individual"])
def test_acknowledged_messages_are_gone(
    connect: Connect, version: str, queue: str, mode: str
) -> None:
    """What was acknowledged is delivered to nobody again; 1.0 knows client-individual too."""
    put(connect(version), queue, b"1", b"2")
    client = connect(version)
    subscribe(client, queue, ack=mode)
    for message in take(client, 2):
        accepted(ack(client, message))
    accepted(client.ask("UNSUBSCRIBE", id="s"))
    assert drain(connect(version), queue) == []


def test_client_is_cumulative(connect: Connect, version: str, queue: str) -> None:
    """In mode client an ACK stands for every message delivered before it, and for none after."""
    put(connect(version), queue, *[b"%d" % n for n in range(5)])
    client = connect(version)
    subscribe(client, queue, ack="client")
    messages = take(client, 5)
    accepted(ack(client, messages[2]))
    for message in messages[:3]:
        expect_error(ack(client, message), "Unexpected ACK received for message-id")
    accepted(client.ask("UNSUBSCRIBE", id="s"))
    assert drain(connect(version), queue) == [b"3", b"4"]


def test_client_individual_is_not(connect: Connect, version: str, queue: str) -> None:
    """In mode client-individual each ACK stands for one message, in any order."""
    put(connect(version), queue, *[b"%d" % n for n in range(5)])
    client = connect(version)
    subscribe(client, queue, ack="client-individual")
    messages = take(client, 5)
    for number in (3, 0, 4):
        accepted(ack(client, messages[number]))
    accepted(client.ask("UNSUBSCRIBE", id="s"))
    assert drain(connect(version), queue) == [b"1", b"2"]


def test_cumulative_per_subscription(connect: Connect, version: str, queue: str) -> None:
    """An ACK on one subscription leaves another's messages alone, also on the same connection."""
    put(connect(version), f"{queue}.a", b"a1")
    put(connect(version), f"{queue}.b", b"b1")
    put(connect(version), f"{queue}.a", b"a2")
    client = connect(version)
    subscribe(client, f"{queue}.a", id="a", ack="client")
    a1, a2 = take(client, 2)
    subscribe(client, f"{queue}.b", id="b", ack="client")
    b1 = client.expect("MESSAGE")
    accepted(ack(client, a2))
    expect_error(ack(client, a1), "Unexpected ACK")
    accepted(ack(client, b1))


def test_two_cumulative_subscriptions_to_one_queue(
    connect: Connect, version: str, queue: str
) -> None:
    """Each acknowledges what itself was given."""
    client = connect(version)
    subscribe(client, queue, id="a", ack="client")
    subscribe(client, queue, id="b", ack="client")
    put(connect(version), queue, *[b"%d" % n for n in range(6)])
    messages = take(client, 6)
    of_a = [message for message in messages if message.headers["subscription"] == "a"]
    accepted(ack(client, of_a[-1]))
    client.close()
    assert drain(connect(version), queue) == [b"1", b"3", b"5"]


def test_auto_needs_no_ack(connect: Connect, version: str, queue: str) -> None:
    """An ACK of what was delivered in mode auto is an error that costs nothing else."""
    put(connect(version), queue, b"x")
    client = connect(version)
    subscribe(client, queue)
    message = client.expect("MESSAGE")
    named = {"message-id": message.headers["message-id"], "subscription": "s", "id": "1-1"}
    for command in ("ACK",) if version == "1.0" else ("ACK", "NACK"):
        answer = client.ask(command, **named)
        expect_error(answer, f"Unexpected {command} received for message-id [")
    assert is_served(client)


@pytest.mark.parametrize(
    "id", ["", "1", "1-1", "0-0", "-1", "99-1", "x", "1-", "-", "²-1", "9" * 5000]
)
def test_unknown_ids(connect: Connect, version: str, queue: str, id: str) -> None:
    """An id that names nothing is an error, and the connection goes on."""
    client = connect(version)
    subscribe(client, queue, ack="client")
    answer = client.ask("ACK", **{"message-id": id, "subscription": "s", "id": id})
    expect_error(answer, f"Unexpected ACK received for message-id [{id}]")
    assert is_served(client)


def test_acknowledged_twice(connect: Connect, version: str, queue: str) -> None:
    """The second ACK, or a NACK after it, finds nothing."""
    put(connect(version), queue, b"x", b"y")
    client = connect(version)
    subscribe(client, queue, ack="client-individual")
    message, other = take(client, 2)
    accepted(ack(client, message))
    expect_error(ack(client, message), "Unexpected ACK")
    if version != "1.0":
        expect_error(nack(client, message), "Unexpected NACK")
    accepted(ack(client, other))


def test_ack_before_subscribe(connect: Connect, version: str) -> None:
    """Without a subscription there is nothing to acknowledge."""
    client = connect(version)
    for command in ("ACK",) if version == "1.0" else ("ACK", "NACK"):
        answer = client.ask(command, **{"message-id": "1", "subscription": "1", "id": "1-1"})
        expect_error(answer, f"Unexpected {command}")
    assert is_served(client)


def test_ack_by_message_id_alone_in_1_0(connect: Connect, queue: str) -> None:
    """Net::Stomp names only the message; the broker finds the subscription, with an id or without."""
    put(connect(), queue, b"1", b"2")
    put(connect(), f"{queue}.2", b"3")
    client = connect("1.0")
    accepted(client.ask("SUBSCRIBE", destination=queue, ack="client-individual"))
    first, second = take(client, 2)
    subscribe(client, f"{queue}.2", id="named", ack="client")
    third = client.expect("MESSAGE")
    for message in (second, third, first):
        accepted(client.ask("ACK", message_id=message.headers["message-id"]))


@pytest.mark.parametrize("subscription", ["undefined", "", "s"])
def test_subscription_on_an_ack_means_little_in_1_0(
    connect: Connect, queue: str, subscription: str
) -> None:
    """stomp-client writes `subscription:undefined`; 1.0 goes by the message-id."""
    put(connect(), queue, b"x")
    client = connect("1.0")
    subscribe(client, queue, ack="client")
    message_id = client.expect("MESSAGE").headers["message-id"]
    accepted(client.ask("ACK", message_id=message_id, subscription=subscription))


def test_php_echoes_all_headers(connect: Connect, version: str, queue: str) -> None:
    """php-stomp's `ack($frame)` repeats every header of the MESSAGE but content-length."""
    put(connect(version), queue, b"x", color="red", transaction_id="t", expires="0", type="")
    client = connect(version)
    subscribe(client, queue, ack="client")
    headers = dict(client.expect("MESSAGE").headers)
    del headers["content-length"]
    if version == "1.2":
        headers["id"] = headers["ack"]
    accepted(client.ask("ACK", **headers))


def test_stompit_names_a_message_threefold(connect: Connect, version: str, queue: str) -> None:
    """`id`, `subscription` and `message-id` on one ACK; its NUL LF comes in a write of its own."""
    put(connect(version), queue, b"x")
    client = connect(version)
    subscribe(client, queue, ack="client-individual")
    message = client.expect("MESSAGE")
    id = message.headers.get("ack", message.headers["message-id"])
    message_id = message.headers["message-id"]
    client.write(f"ACK\nid:{id}\nsubscription:s\nmessage-id:{message_id}\nreceipt:r\n\n".encode())
    client.write(b"\0\n")
    client.expect("RECEIPT", receipt_id="r")


def test_1_2_goes_by_id_alone(connect: Connect, queue: str) -> None:
    """In 1.2 `message-id` and `subscription` on an ACK are ignored, right or wrong."""
    put(connect(), queue, b"x")
    client = connect("1.2")
    subscribe(client, queue, ack="client")
    id = client.expect("MESSAGE").headers["ack"]
    accepted(client.ask("ACK", id=id, message_id="wrong", subscription="wrong"))


def test_1_1_goes_by_subscription_and_message_id(connect: Connect, queue: str) -> None:
    """In 1.1 both must fit: an ACK that names another subscription is an error."""
    client = connect("1.1")
    subscribe(client, queue, id="a", ack="client")
    subscribe(client, f"{queue}.other", id="b", ack="client")
    put(connect(), queue, b"x")
    message_id = client.expect("MESSAGE").headers["message-id"]
    for wrong in ("b", "c", ""):
        answer = client.ask("ACK", message_id=message_id, subscription=wrong)
        expect_error(answer, f"Unexpected ACK received for message-id [{message_id}]")
    accepted(client.ask("ACK", message_id=message_id, subscription="a", id="ignored"))


@pytest.mark.parametrize("command", ["ACK", "NACK"])
def test_missing_headers(connect: Connect, command: str) -> None:
    """What an ACK or NACK lacks is named in ActiveMQ's words."""
    missing_id = {
        "ACK": "ACK received without a ack id for acknowledge!",
        "NACK": "NACK received without an ack header to acknowledge!",
    }
    client = connect("1.2")
    expect_error(client.ask(command, message_id="1", subscription="1"), missing_id[command])
    assert is_served(client)
    client = connect("1.1")
    answer = client.ask(command, subscription="1")
    expect_error(answer, f"{command} received without a message-id to acknowledge!")
    answer = client.ask(command, message_id="1")
    expect_error(answer, f"{command} received without a subscription id for acknowledge!")
    assert is_served(client)


def test_missing_message_id_in_1_0(connect: Connect) -> None:
    """The same for 1.0."""
    client = connect("1.0")
    answer = client.ask("ACK", subscription="1")
    expect_error(answer, "ACK received without a message-id to acknowledge!")
    assert is_served(client)


def test_no_nack_in_1_0(connect: Connect, queue: str) -> None:
    """NACK came with 1.1; the message stays with its consumer."""
    put(connect(), queue, b"x")
    client = connect("1.0")
    subscribe(client, queue, ack="client")
    message = client.expect("MESSAGE")
    expect_error(nack(client, message), "NACK received but connection is in v1.0 mode.")
    accepted(ack(client, message))


def test_same_message_twice_on_one_connection(
    connect: Connect, later_version: str, topic: str
) -> None:
    """Two subscriptions to a topic get a copy each, which are acknowledged apart."""
    client = connect(later_version)
    subscribe(client, topic, id="a", ack="client-individual")
    subscribe(client, topic, id="b", ack="client-individual")
    put(connect(), topic, b"x")
    first, second = take(client, 2)
    assert {first.headers["subscription"], second.headers["subscription"]} == {"a", "b"}
    assert acknowledgement(client, first) != acknowledgement(client, second)
    accepted(ack(client, first))
    expect_error(ack(client, first), "Unexpected ACK")
    accepted(ack(client, second))


# NACK


def dead_letter(connect: Connect, body: bytes) -> dict[str, str]:
    """Return the headers of the dead letter with this body; all others are consumed on the way."""
    client = connect()
    subscribe(client, DEAD_LETTERS)
    while (message := client.expect("MESSAGE")).body != body:
        pass
    accepted(client.ask("UNSUBSCRIBE", id="s"))
    return message.headers


@pytest.mark.parametrize("mode", ["client", "client-individual"])
def test_nack_moves_one_message_to_the_dead_letters(
    connect: Connect, later_version: str, queue: str, mode: str
) -> None:
    """As in ActiveMQ: that one message only, in every mode, with its id and where it came from."""
    body = f"poison {queue}".encode()
    put(connect(), queue, b"before", body, b"after", color="red")
    client = connect(later_version)
    subscribe(client, queue, ack=mode)
    before, poison, after = take(client, 3)
    accepted(nack(client, poison))
    expect_error(ack(client, poison), "Unexpected ACK")
    expect_error(nack(client, poison), "Unexpected NACK")
    letter = dead_letter(connect, body)
    assert letter["message-id"] == poison.headers["message-id"]
    assert letter["original-destination"] == queue
    assert letter["color"] == "red"
    accepted(ack(client, before))
    accepted(ack(client, after))
    accepted(client.ask("UNSUBSCRIBE", id="s"))
    assert drain(connect(), queue) == []


def test_nack_of_what_is_not_persistent_drops_it(
    connect: Connect, later_version: str, queue: str
) -> None:
    """As in ActiveMQ: no dead letter for what was not to be kept."""
    body = f"fleeting {queue}".encode()
    put(connect(), queue, body, persistent="false")
    client = connect(later_version)
    subscribe(client, queue, ack="client")
    accepted(nack(client, client.expect("MESSAGE")))
    accepted(client.ask("UNSUBSCRIBE", id="s"))
    assert drain(connect(), queue) == []
    assert body not in drain(connect(), DEAD_LETTERS)


def test_nack_of_a_dead_letter_drops_it(connect: Connect, later_version: str, queue: str) -> None:
    """What is refused among the dead letters does not come back."""
    body = f"poison {queue}".encode()
    put(connect(), queue, body)
    client = connect(later_version)
    subscribe(client, queue, ack="client")
    accepted(nack(client, client.expect("MESSAGE")))
    subscribe(client, DEAD_LETTERS, id="dead", ack="client-individual")
    while (message := client.expect("MESSAGE")).body != body:
        accepted(ack(client, message))
    accepted(nack(client, message))
    accepted(client.ask("UNSUBSCRIBE", id="dead"))
    assert body not in drain(connect(), DEAD_LETTERS)


def test_nack_with_requeue(connect: Connect, later_version: str, queue: str) -> None:
    """With `requeue:true` the message goes back to its place at once, marked as delivered before."""
    put(connect(), queue, b"1", b"2")
    client = connect(later_version)
    subscribe(client, queue, ack="client-individual")
    first, second = take(client, 2)
    client.send("NACK", **acknowledgement(client, first), requeue="true")
    again = client.expect("MESSAGE", redelivered="true")
    assert again.body == b"1"
    assert again.headers["message-id"] == first.headers["message-id"]
    accepted(ack(client, second))
    accepted(ack(client, again))
    accepted(client.ask("UNSUBSCRIBE", id="s"))
    assert drain(connect(), queue) == []


def test_requeued_message_may_go_to_another(
    connect: Connect, later_version: str, queue: str
) -> None:
    """A consumer that cannot do the work hands it to the next in line."""
    put(connect(), queue, b"1", b"2")
    unable, able = connect(later_version), connect(later_version)
    subscribe(unable, queue, ack="client", **{"activemq.prefetchSize": "1"})
    subscribe(able, queue, ack="client", **{"activemq.prefetchSize": "1"})
    mine = unable.expect("MESSAGE")
    accepted(ack(able, able.expect("MESSAGE")))
    unable.send("NACK", **acknowledgement(unable, mine), requeue="true")
    assert able.expect("MESSAGE", redelivered="true").body == b"1"


def test_requeue_false_is_a_dead_letter(connect: Connect, later_version: str, queue: str) -> None:
    """`requeue:false` says what happens without it."""
    body = f"poison {queue}".encode()
    put(connect(), queue, body)
    client = connect(later_version)
    subscribe(client, queue, ack="client")
    accepted(nack(client, client.expect("MESSAGE"), requeue="false"))
    assert dead_letter(connect, body)["original-destination"] == queue


def test_requeue_misspelt(connect: Connect, later_version: str, queue: str) -> None:
    """A `requeue` that is neither true nor false is an error, and no dead letter: the client still has it."""
    put(connect(), queue, b"1")
    client = connect(later_version)
    subscribe(client, queue, ack="client")
    message = client.expect("MESSAGE")
    expect_error(nack(client, message, requeue="maybe"), "Invalid requeue: maybe")
    # As Python writes it.
    client.send("NACK", **acknowledgement(client, message), requeue="True")
    accepted(ack(client, client.expect("MESSAGE", redelivered="true")))


@pytest.mark.parametrize("times", [6, 2])
def test_requeue_ends(
    server: BrokerProcess, start_broker: StartBroker, connect: Connect, queue: str, times: int
) -> None:
    """After `max_redeliveries` a message that nobody wants is a dead letter; by default after six."""
    broker = server if times == 6 else start_broker(max_redeliveries=times)
    body = f"nobody's {queue}".encode()
    put(connect(to=broker), queue, body)
    client = connect(to=broker)
    subscribe(client, queue, ack="client")
    for delivery in range(times + 1):
        message = client.expect("MESSAGE")
        assert message.headers.get("redelivered") == ("true" if delivery else None)
        client.send("NACK", **acknowledgement(client, message), requeue="true")
    assert client.silent()
    assert body in drain(connect(to=broker), DEAD_LETTERS)


def test_nack_gives_credit(connect: Connect, later_version: str, queue: str) -> None:
    """A refused message makes room for the next one, as an acknowledged does."""
    put(connect(), queue, b"1", b"2")
    client = connect(later_version)
    subscribe(client, queue, ack="client", **{"activemq.prefetchSize": "1"})
    client.send("NACK", **acknowledgement(client, client.expect("MESSAGE")))
    assert client.expect("MESSAGE").body == b"2"


def test_acks_in_one_packet_with_unsubscribe(connect: Connect, version: str, queue: str) -> None:
    """ACK, UNSUBSCRIBE and DISCONNECT written together are done in order."""
    put(connect(version), queue, b"1", b"2", b"3")
    client = connect(version)
    subscribe(client, queue, ack="client-individual")
    messages = take(client, 3)
    for message in (messages[0], messages[2]):
        client.send("ACK", **acknowledgement(client, message))
    client.send("UNSUBSCRIBE", id="s")
    client.send("DISCONNECT", receipt="bye")
    client.expect("RECEIPT", receipt_id="bye")
    client.expect_closed()
    assert drain(connect(version), queue) == [b"2"]


def test_messages_held_by_the_client_are_bounded_by_nothing_else(
    connect: Connect, version: str, queue: str
) -> None:
    """Two thousand acknowledgements, one a message, in reverse order."""
    sender = connect(version)
    sender.write(
        b"".join(b"SEND\ndestination:%b\n\n%d\0" % (queue.encode(), n) for n in range(2000))
    )
    assert is_served(sender)
    client = connect(version)
    subscribe(client, queue, ack="client-individual", **{"activemq.prefetchSize": "2000"})
    messages = take(client, 2000)
    assert bodies(messages) == [b"%d" % n for n in range(2000)]
    for message in reversed(messages):
        client.send("ACK", **acknowledgement(client, message))
    accepted(client.ask("UNSUBSCRIBE", id="s"))
    assert drain(connect(version), queue) == []
