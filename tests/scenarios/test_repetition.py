"""A client that repeats itself for a long time gets what a client gets that never does."""

from __future__ import annotations

import pytest

from broker.stomp import Frame
from tests.harness import BrokerProcess

ROUNDS = 100  # far more than it takes the broker to know a client's frames by heart


@pytest.mark.parametrize("version", ["1.0", "1.1", "1.2"])
@pytest.mark.parametrize("persistent", ["true", "false"])
def test_every_message_keeps_its_own_headers(
    broker: BrokerProcess, version: str, persistent: str
) -> None:
    """Headers that change and headers that stay come out as they went in, in order, with their receipts."""
    with broker.connect(version) as producer, broker.connect("1.2") as consumer:
        consumer.ask("SUBSCRIBE", destination="/queue/a", id="1", ack="client-individual")
        for number in range(ROUNDS):
            body = b"x" * (number % 4)
            headers = {
                "correlation-id": f"c-{number}",
                "destination": "/queue/a",
                "discount": "100%d",
                "receipt": f"r{number}",
                "persistent": persistent,
                "message-id": f"forged-{number}",
                "content-length": str(len(body)),
            }
            if number % 10 == 9:
                headers["correlation-id"] = "odd: é" if version == "1.0" else "odd: é\\ \n"
            producer.write(Frame("SEND", headers, body).encode(version))
            producer.expect("RECEIPT", receipt_id=f"r{number}")
            message = consumer.expect("MESSAGE")
            assert message.body == body
            users = list(message.headers.items())[5:]  # ours come first
            assert users == [
                ("correlation-id", headers["correlation-id"]),
                ("discount", "100%d"),
                ("persistent", persistent),
                ("content-length", str(len(body))),
            ]
            assert not message.headers["message-id"].startswith("forged")
            consumer.send("ACK", id_=message.headers["ack"])


def test_a_queue_that_changes_between_two_repetitions(broker: BrokerProcess) -> None:
    """One producer, the same frame but for its receipt and its queue: each message goes where it says."""
    with broker.connect() as producer, broker.connect() as consumer:
        for name in "ab":
            consumer.ask("SUBSCRIBE", destination=f"/queue/{name}", id=name)
        for number in range(ROUNDS):
            name = "ab"[number % 2]
            producer.send("SEND", b"", destination=f"/queue/{name}", receipt=str(number))
            producer.expect("RECEIPT", receipt_id=str(number))
            consumer.expect("MESSAGE", subscription=name)


def test_each_message_goes_where_its_own_destination_says(broker: BrokerProcess) -> None:
    """A producer whose frames differ in the destination only, over queues that come and go, mixes nothing up."""
    with broker.connect("1.2") as producer, broker.connect("1.2") as consumer:
        names = [f"/queue/many.{n}" for n in range(5)] + ["/topic/many", "/queue/one,/queue/two"]
        for number, name in enumerate(names[:6]):
            consumer.ask("SUBSCRIBE", destination=name, id=str(number))
        consumer.ask("SUBSCRIBE", destination="/queue/one", id="one")
        consumer.ask("SUBSCRIBE", destination="/queue/two", id="two")
        for number in range(ROUNDS):
            name = names[number * 3 % 7]
            body = f"{name} {number}".encode()
            producer.write(
                Frame(
                    "SEND",
                    {
                        "destination": name,
                        "content-length": str(len(body)),
                        "receipt": f"r{number}",
                    },
                    body,
                ).encode("1.2")
            )
            producer.expect("RECEIPT", receipt_id=f"r{number}")
            for _ in name.split(","):
                message = consumer.expect("MESSAGE")
                assert message.body == body
                assert message.headers["destination"] in name.split(",")
