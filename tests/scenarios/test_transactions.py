"""Transactions: all or nothing, several at once, nothing of them before COMMIT."""

from __future__ import annotations

import pytest

from tests.conftest import StartBroker
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


def test_sends_are_invisible_until_commit(connect: Connect, version: str, queue: str) -> None:
    """Then they appear all at once and in order; the RECEIPT of such a SEND comes at once."""
    reader, writer = connect(version), connect(version)
    subscribe(reader, queue)
    accepted(writer.ask("BEGIN", transaction="t"))
    put(writer, queue, b"1", b"2", b"3", transaction="t")
    assert reader.silent()
    put(writer, queue, b"outside")
    assert reader.expect("MESSAGE").body == b"outside"
    accepted(writer.ask("COMMIT", transaction="t"))
    messages = take(reader, 3)
    assert bodies(messages) == [b"1", b"2", b"3"]
    assert all("transaction" not in message.headers for message in messages)


def test_abort_leaves_nothing(connect: Connect, version: str, queue: str) -> None:
    """What was sent in an aborted transaction was never sent."""
    reader, writer = connect(version), connect(version)
    subscribe(reader, queue)
    accepted(writer.ask("BEGIN", transaction="t"))
    put(writer, queue, b"1", b"2", transaction="t")
    accepted(writer.ask("ABORT", transaction="t"))
    assert reader.silent()
    expect_error(writer.ask("COMMIT", transaction="t"), "Invalid transaction id: t")


def test_over_several_destinations(connect: Connect, version: str, queue: str, topic: str) -> None:
    """One transaction may send to many queues and topics."""
    reader, writer = connect(version), connect(version)
    places = [f"{queue}.a", topic, f"{queue}.b"]
    for place in places:
        subscribe(reader, place, id=place)
    accepted(writer.ask("BEGIN", transaction="t"))
    for place in places:
        put(writer, place, b"x", transaction="t")
    assert reader.silent()
    accepted(writer.ask("COMMIT", transaction="t"))
    assert [message.headers["destination"] for message in take(reader, 3)] == places


def test_several_at_once(connect: Connect, version: str, queue: str) -> None:
    """Transactions of one connection do not disturb each other; each commits in its own order."""
    reader, writer = connect(version), connect(version)
    subscribe(reader, queue)
    for name in ("a", "b", "c"):
        accepted(writer.ask("BEGIN", transaction=name))
    for number in (b"1", b"2"):
        for name in ("a", "b", "c"):
            put(writer, queue, name.encode() + number, transaction=name)
    accepted(writer.ask("COMMIT", transaction="b"))
    assert bodies(take(reader, 2)) == [b"b1", b"b2"]
    accepted(writer.ask("ABORT", transaction="a"))
    assert reader.silent()
    accepted(writer.ask("COMMIT", transaction="c"))
    assert bodies(take(reader, 2)) == [b"c1", b"c2"]


def test_names_belong_to_a_connection(connect: Connect, version: str, queue: str) -> None:
    """Two clients may use the same name; one cannot reach into the other's transaction."""
    mine, yours = connect(version), connect(version)
    accepted(mine.ask("BEGIN", transaction="t"))
    expect_error(yours.ask("COMMIT", transaction="t"), "Invalid transaction id: t")
    expect_error(
        yours.ask("SEND", b"x", destination=queue, transaction="t"), "Invalid transaction id: t"
    )
    accepted(yours.ask("BEGIN", transaction="t"))
    put(mine, queue, b"mine", transaction="t")
    accepted(yours.ask("ABORT", transaction="t"))
    accepted(mine.ask("COMMIT", transaction="t"))
    assert drain(connect(version), queue) == [b"mine"]


def test_names_can_be_used_again(connect: Connect, version: str, queue: str) -> None:
    """After COMMIT or ABORT a name is free; while it is open, BEGIN is an error that harms nothing."""
    client = connect(version)
    for end in ("COMMIT", "ABORT", "COMMIT"):
        accepted(client.ask("BEGIN", transaction="t"))
        put(client, queue, end.encode(), transaction="t")
        answer = client.ask("BEGIN", transaction="t")
        expect_error(answer, "The transaction was already started: t")
        accepted(client.ask(end, transaction="t"))
    assert drain(connect(version), queue) == [b"COMMIT", b"COMMIT"]


@pytest.mark.parametrize(
    ("command", "doing"), [("BEGIN", "beginning"), ("COMMIT", "committing"), ("ABORT", "aborting")]
)
def test_missing_name(connect: Connect, version: str, command: str, doing: str) -> None:
    """BEGIN, COMMIT and ABORT need a transaction."""
    client = connect(version)
    expected = f"Must specify the transaction you are {doing}"
    expect_error(client.ask(command), expected)
    expect_error(client.ask(command, transaction=""), expected)
    assert is_served(client)


@pytest.mark.parametrize("command", ["COMMIT", "ABORT", "SEND", "ACK", "NACK"])
def test_unknown_name(connect: Connect, version: str, queue: str, command: str) -> None:
    """A transaction that was not begun is an error, on every command that names one."""
    put(connect(version), queue, b"x")
    client = connect(version)
    subscribe(client, queue, ack="client")
    message = client.expect("MESSAGE")
    headers = {"destination": queue} | acknowledgement(client, message)
    answer = client.ask(command, **headers, transaction="t")
    if version == "1.0" and command == "NACK":
        expect_error(answer, "v1.0 mode")
    else:
        expect_error(answer, "Invalid transaction id: t")
    accepted(ack(client, message))
    accepted(client.ask("UNSUBSCRIBE", id="s"))
    assert drain(connect(version), queue) == []


@pytest.mark.parametrize("goodbye", ["hang up", "DISCONNECT", "fatal error"])
def test_leaving_aborts(connect: Connect, version: str, queue: str, goodbye: str) -> None:
    """However a client leaves, its open transactions are undone and what it held goes back."""
    put(connect(version), f"{queue}.in", b"work")
    client, other = connect(version), connect(version)
    subscribe(client, f"{queue}.in", ack="client")
    message = client.expect("MESSAGE")
    accepted(client.ask("BEGIN", transaction="t"))
    accepted(ack(client, message, transaction="t"))
    put(client, f"{queue}.out", b"result", transaction="t")
    if goodbye == "hang up":
        client.close()
    elif goodbye == "DISCONNECT":
        accepted(client.ask("DISCONNECT"))
    else:
        client.write(b"NONSENSE\n\n\0")
    subscribe(other, f"{queue}.in")
    assert other.expect("MESSAGE", redelivered="true").body == b"work"
    assert drain(connect(version), f"{queue}.out") == []


def test_acks_take_effect_at_commit(connect: Connect, version: str, queue: str) -> None:
    """Until COMMIT an acknowledged message is neither gone nor delivered again."""
    put(connect(version), queue, b"1", b"2", b"3")
    client = connect(version)
    subscribe(client, queue, ack="client-individual")
    messages = take(client, 3)
    accepted(client.ask("BEGIN", transaction="t"))
    accepted(ack(client, messages[0], transaction="t"))
    accepted(ack(client, messages[2], transaction="t"))
    expect_error(ack(client, messages[0]), "Unexpected ACK")
    assert client.silent()
    accepted(client.ask("COMMIT", transaction="t"))
    expect_error(ack(client, messages[2]), "Unexpected ACK")
    accepted(client.ask("UNSUBSCRIBE", id="s"))
    assert drain(connect(version), queue) == [b"2"]


@pytest.mark.parametrize("mode", ["client", "client-individual"])
def test_aborted_acks(connect: Connect, version: str, queue: str, mode: str) -> None:
    """After ABORT the client still holds the messages: nothing is redelivered, it may acknowledge again."""
    put(connect(version), queue, b"1", b"2")
    client = connect(version)
    subscribe(client, queue, ack=mode)
    messages = take(client, 2)
    for end in ("ABORT", "ABORT", "COMMIT"):
        accepted(client.ask("BEGIN", transaction="t"))
        for message in messages:
            accepted(ack(client, message, transaction="t"))
        accepted(client.ask(end, transaction="t"))
        assert client.silent()
    accepted(client.ask("UNSUBSCRIBE", id="s"))
    assert drain(connect(version), queue) == []


def test_aborted_acks_go_back_if_the_client_leaves(
    connect: Connect, version: str, queue: str
) -> None:
    """Acknowledged, aborted, disconnected: the messages go to somebody else."""
    put(connect(version), queue, b"1", b"2")
    client, other = connect(version), connect(version)
    subscribe(client, queue, ack="client")
    messages = take(client, 2)
    accepted(client.ask("BEGIN", transaction="t"))
    accepted(ack(client, messages[1], transaction="t"))
    accepted(client.ask("ABORT", transaction="t"))
    subscribe(other, queue)
    client.close()
    assert bodies(take(other, 2)) == [b"1", b"2"]


def test_acks_out_of_order(connect: Connect, version: str, queue: str) -> None:
    """In mode client, ACK of the second and then of the first must not fail: both are done at COMMIT."""
    put(connect(version), queue, b"1", b"2")
    client = connect(version)
    subscribe(client, queue, ack="client")
    first, second = take(client, 2)
    accepted(client.ask("BEGIN", transaction="t"))
    accepted(ack(client, second, transaction="t"))
    accepted(ack(client, first, transaction="t"))
    accepted(client.ask("COMMIT", transaction="t"))
    accepted(client.ask("UNSUBSCRIBE", id="s"))
    assert drain(connect(version), queue) == []


def test_open_transaction_widens_the_prefetch(connect: Connect, version: str, queue: str) -> None:
    """A transaction may be larger than the prefetch: acknowledging in it makes room for more."""
    put(connect(version), queue, *[b"%d" % n for n in range(10)])
    client = connect(version)
    subscribe(client, queue, ack="client", **{"activemq.prefetchSize": "2"})
    client.send("BEGIN", transaction="t")
    for number in range(10):
        message = client.expect("MESSAGE")
        assert message.body == b"%d" % number
        client.send("ACK", **acknowledgement(client, message), transaction="t")
    accepted(client.ask("COMMIT", transaction="t"))
    accepted(client.ask("UNSUBSCRIBE", id="s"))
    assert drain(connect(version), queue) == []


def test_abort_narrows_it_again(connect: Connect, version: str, queue: str) -> None:
    """After ABORT the client holds more than its prefetch; it gets no more until it is below it."""
    put(connect(version), queue, *[b"%d" % n for n in range(5)])
    client = connect(version)
    subscribe(client, queue, ack="client-individual", **{"activemq.prefetchSize": "2"})
    client.send("BEGIN", transaction="t")
    messages = take(client, 2)
    for message in messages:
        client.send("ACK", **acknowledgement(client, message), transaction="t")
    messages += take(client, 2)
    accepted(client.ask("ABORT", transaction="t"))
    for message in messages[:2]:
        accepted(ack(client, message))
    client.send("ACK", **acknowledgement(client, messages[2]))
    assert client.expect("MESSAGE").body == b"4"


def test_nack_in_a_transaction(connect: Connect, later_version: str, queue: str) -> None:
    """A NACK too waits for COMMIT, and is undone by ABORT."""
    body = f"poison {queue}".encode()
    put(connect(), queue, body)
    client = connect(later_version)
    subscribe(client, queue, ack="client")
    message = client.expect("MESSAGE")
    accepted(client.ask("BEGIN", transaction="t"))
    accepted(nack(client, message, transaction="t"))
    accepted(client.ask("ABORT", transaction="t"))
    assert body not in drain(connect(), "/queue/ActiveMQ.DLQ")
    accepted(client.ask("BEGIN", transaction="t"))
    accepted(nack(client, message, transaction="t"))
    accepted(client.ask("COMMIT", transaction="t"))
    assert body in drain(connect(), "/queue/ActiveMQ.DLQ")
    expect_error(ack(client, message), "Unexpected ACK")


def test_requeue_in_a_transaction(connect: Connect, later_version: str, queue: str) -> None:
    """A NACK with `requeue:true` gives the message back at COMMIT."""
    put(connect(), queue, b"x")
    client = connect(later_version)
    subscribe(client, queue, ack="client")
    message = client.expect("MESSAGE")
    accepted(client.ask("BEGIN", transaction="t"))
    accepted(nack(client, message, transaction="t", requeue="true"))
    assert client.silent()
    client.send("COMMIT", transaction="t")
    assert client.expect("MESSAGE", redelivered="true").body == b"x"


def test_consume_and_produce(connect: Connect, version: str, queue: str) -> None:
    """Take from one queue and put into another, as one step: the usual reason for transactions."""
    put(connect(version), f"{queue}.in", *[b"%d" % n for n in range(20)])
    worker = connect(version)
    subscribe(worker, f"{queue}.in", ack="client-individual")
    for number, message in enumerate(take(worker, 20)):
        accepted(worker.ask("BEGIN", transaction=f"t{number}"))
        accepted(ack(worker, message, transaction=f"t{number}"))
        put(worker, f"{queue}.out", b"done " + message.body, transaction=f"t{number}")
        accepted(worker.ask("ABORT" if number % 2 else "COMMIT", transaction=f"t{number}"))
    worker.close()
    even, odd = range(0, 20, 2), range(1, 20, 2)
    assert drain(connect(version), f"{queue}.out") == [b"done %d" % n for n in even]
    assert drain(connect(version), f"{queue}.in") == [b"%d" % n for n in odd]


def test_failed_frame_leaves_the_transaction_usable(
    connect: Connect, version: str, queue: str
) -> None:
    """An error inside a transaction is an error of that frame alone."""
    client = connect(version)
    accepted(client.ask("BEGIN", transaction="t"))
    put(client, queue, b"1", transaction="t")
    expect_error(client.ask("SEND", b"x", transaction="t"), "without a Destination")
    ack_id = {"message-id": "x", "subscription": "s", "id": "9-9"}
    expect_error(client.ask("ACK", transaction="t", **ack_id), "Unexpected ACK")
    put(client, queue, b"2", transaction="t")
    accepted(client.ask("COMMIT", transaction="t"))
    assert drain(connect(version), queue) == [b"1", b"2"]


def test_unsubscribe_while_acks_are_held(connect: Connect, version: str, queue: str) -> None:
    """What a transaction has acknowledged is decided by its end, the subscription may be gone by then."""
    put(connect(version), queue, b"1", b"2", b"3")
    client = connect(version)
    subscribe(client, queue, ack="client-individual")
    messages = take(client, 3)
    accepted(client.ask("BEGIN", transaction="commit"))
    accepted(client.ask("BEGIN", transaction="abort"))
    accepted(ack(client, messages[0], transaction="commit"))
    accepted(ack(client, messages[1], transaction="abort"))
    accepted(client.ask("UNSUBSCRIBE", id="s"))
    other = connect(version)
    subscribe(other, queue)
    assert other.expect("MESSAGE", redelivered="true").body == b"3"
    accepted(client.ask("COMMIT", transaction="commit"))
    assert other.silent()
    accepted(client.ask("ABORT", transaction="abort"))
    assert other.expect("MESSAGE", redelivered="true").body == b"2"
    assert other.silent()


def test_large_transaction(connect: Connect, version: str, queue: str) -> None:
    """Five thousand messages in one transaction arrive together and in order."""
    writer = connect(version)
    accepted(writer.ask("BEGIN", transaction="t"))
    writer.write(
        b"".join(
            b"SEND\ndestination:%b\ntransaction:t\n\n%d\0" % (queue.encode(), n)
            for n in range(5000)
        )
    )
    accepted(writer.ask("COMMIT", transaction="t"))
    reader = connect(version)
    subscribe(reader, queue)
    assert [int(message.body) for message in take(reader, 5000)] == list(range(5000))


def test_committed_transactions_survive_a_crash(
    start_broker: StartBroker, connect: Connect, queue: str
) -> None:
    """After COMMIT's RECEIPT all of it is on disk; of an open transaction nothing is."""
    broker = start_broker()
    put(connect(to=broker), f"{queue}.in", b"work", b"more work")
    client = connect(to=broker)
    subscribe(client, f"{queue}.in", ack="client-individual")
    work, more_work = take(client, 2)
    accepted(client.ask("BEGIN", transaction="done"))
    accepted(ack(client, work, transaction="done"))
    put(client, f"{queue}.out", b"1", b"2", transaction="done")
    accepted(client.ask("COMMIT", transaction="done"))
    accepted(client.ask("BEGIN", transaction="open"))
    accepted(ack(client, more_work, transaction="open"))
    put(client, f"{queue}.out", b"3", transaction="open")
    broker.kill()
    broker = start_broker()
    assert drain(connect(to=broker), f"{queue}.out") == [b"1", b"2"]
    assert drain(connect(to=broker), f"{queue}.in") == [b"more work"]


def test_transaction_larger_than_the_store(start_broker: StartBroker, connect: Connect) -> None:
    """COMMIT is refused as a whole; the transaction stays open, to be tried again or aborted."""
    broker = start_broker(map_size=4 * 1024 * 1024)
    client = connect(to=broker)
    accepted(client.ask("BEGIN", transaction="t"))
    for _ in range(100):
        accepted(client.ask("SEND", b"x" * 50_000, destination="/queue/a", transaction="t"))
    expect_error(client.ask("COMMIT", transaction="t"), "The store is full")
    accepted(client.ask("ABORT", transaction="t"))
    assert drain(connect(to=broker), "/queue/a") == []
