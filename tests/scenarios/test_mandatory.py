"""`mandatory:true`: a message that nobody is there to take comes back at once, as AMQP has it."""

from __future__ import annotations

import pytest

from broker.stomp import Frame
from tests.harness import Client
from tests.scenarios.conftest import Connect
from tests.scenarios.steps import accepted, drain, expect_error, is_served, put, subscribe, take


def ask(client: Client, destination: str, body: bytes = b"who?", **headers: str) -> None:
    """Send a request that wants to be taken or to come back."""
    client.send("SEND", body, destination=destination, mandatory="true", **headers)


def test_a_request_without_a_worker_comes_back(connect: Connect, version: str, queue: str) -> None:
    """Whoever waits for the reply gets the request instead, and need not wait for the deadline."""
    client = connect(version)
    subscribe(client, f"{queue}.replies")
    ask(client, queue, reply_to=f"{queue}.replies", correlation_id="7", receipt="sent")
    back = client.expect("MESSAGE", returned="no-consumer")
    assert back.body == b"who?"
    assert back.headers["correlation-id"] == "7"
    assert back.headers["original-destination"] == queue
    client.expect("RECEIPT", receipt_id="sent")
    assert drain(client, queue) == []  # and nobody gets it later


def test_back_to_a_temporary_queue(connect: Connect, queue: str) -> None:
    """The reply queue may be one of the client's own."""
    client = connect()
    subscribe(client, "/temp-queue/replies")
    ask(client, queue, reply_to="/temp-queue/replies", expires="99999999999999")
    back = client.expect("MESSAGE", returned="no-consumer")
    assert back.headers["reply-to"] == "/temp-queue/replies"
    assert back.headers["expires"] == "99999999999999"


def test_a_request_with_a_worker_goes_there(connect: Connect, queue: str) -> None:
    """Also one that is busy: a consumer is there, so the message waits for it."""
    worker, client = connect(), connect()
    prefetch = {"activemq.prefetchSize": "1"}
    accepted(
        worker.ask("SUBSCRIBE", destination=queue, id="w", ack="client-individual", **prefetch)
    )
    for body in (b"1", b"2"):
        ask(client, queue, body, reply_to=f"{queue}.replies", receipt="sent")
        client.expect("RECEIPT", receipt_id="sent")
    first = worker.expect("MESSAGE")
    worker.send("ACK", id=first.headers["ack"])
    assert worker.expect("MESSAGE").body == b"2"


def test_without_a_reply_to_it_is_an_error(connect: Connect, queue: str) -> None:
    """There is nowhere to send it back to; the connection lives on."""
    client = connect()
    answer = client.ask("SEND", destination=queue, mandatory="true")
    expect_error(answer, f"There is no consumer of {queue}")
    assert is_served(client)


def test_a_topic_nobody_listens_to(connect: Connect, topic: str) -> None:
    """For a topic a listener counts."""
    client, listener = connect(), connect()
    expect_error(client.ask("SEND", destination=topic, mandatory="true"), "There is no consumer")
    subscribe(listener, topic)
    accepted(client.ask("SEND", destination=topic, mandatory="true"))
    listener.expect("MESSAGE")


def test_one_of_several_is_enough(connect: Connect, queue: str) -> None:
    """A list of destinations comes back if nobody is at any of them."""
    client, worker = connect(), connect()
    several = f"{queue}.a,{queue}.b"
    expect_error(client.ask("SEND", destination=several, mandatory="true"), "There is no consumer")
    subscribe(worker, f"{queue}.b")
    accepted(client.ask("SEND", destination=several, mandatory="true"))
    worker.expect("MESSAGE")


def test_a_browser_takes_nothing(connect: Connect, queue: str) -> None:
    """Whoever only looks is no consumer."""
    client, browser = connect(), connect()
    put(client, queue, b"old")
    subscribe(browser, queue, browser="true")
    take(browser, 2)  # the message, and the end
    expect_error(client.ask("SEND", destination=queue, mandatory="true"), "There is no consumer")


def test_asked_again_at_commit(connect: Connect, queue: str) -> None:
    """In a transaction it counts who is there when it is committed."""
    client, worker = connect(), connect()
    subscribe(client, f"{queue}.replies")
    accepted(client.ask("BEGIN", transaction="t"))
    ask(client, queue, reply_to=f"{queue}.replies", transaction="t")
    subscribe(worker, queue)
    accepted(client.ask("COMMIT", transaction="t"))
    assert worker.expect("MESSAGE").body == b"who?"


@pytest.mark.parametrize("word", ["yes", ""])
def test_a_misspelt_wish_is_refused(connect: Connect, queue: str, word: str) -> None:
    """What is neither true nor false is no wish."""
    client = connect()
    client.write(
        Frame("SEND", {"destination": queue, "mandatory": word, "receipt": "r"}).encode("1.2")
    )
    assert client.frame().command == "ERROR"
