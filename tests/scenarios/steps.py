"""Steps that many stories take: subscribe, put messages, read and acknowledge them.

Each waits for what it expects, with the harness's deadline; none sleeps.
"""

from __future__ import annotations

import json
import time

from broker.stomp import Frame
from tests.harness import DEADLINE, BrokerProcess, Client, Closed

MESSAGE_ENDS = b"\0\n"


def subscribe(client: Client, destination: str, id: str = "s", **headers: str) -> Frame:
    """Subscribe and wait for the RECEIPT, so that what is sent after it must arrive."""
    return accepted(client.ask("SUBSCRIBE", destination=destination, id=id, **headers))


def accepted(answer: Frame) -> Frame:
    """Check that an answer is a RECEIPT."""
    assert answer.command == "RECEIPT", (answer, answer.body)
    return answer


def put(client: Client, destination: str, *bodies: bytes, **headers: str) -> None:
    """Send messages and wait until the broker has confirmed each."""
    for number, body in enumerate(bodies):
        client.send("SEND", body, destination=destination, receipt=f"put {number}", **headers)
    for number in range(len(bodies)):
        client.expect("RECEIPT", receipt_id=f"put {number}")


def take(client: Client, count: int) -> list[Frame]:
    """Return the next MESSAGE frames."""
    return [client.expect("MESSAGE") for _ in range(count)]


def bodies(frames: list[Frame]) -> list[bytes]:
    """Return what messages say."""
    return [frame.body for frame in frames]


def acknowledgement(client: Client, message: Frame) -> dict[str, str]:
    """Return the headers with which a client of this version names a message in ACK and NACK."""
    if client.version == "1.2":
        return {"id": message.headers["ack"]}
    named = {"message-id": message.headers["message-id"]}
    if client.version == "1.1":
        named["subscription"] = message.headers["subscription"]
    return named


def ack(client: Client, message: Frame, **headers: str) -> Frame:
    """Acknowledge a message and return the answer, RECEIPT or ERROR."""
    return client.ask("ACK", **acknowledgement(client, message), **headers)


def nack(client: Client, message: Frame, **headers: str) -> Frame:
    """Refuse a message and return the answer, RECEIPT or ERROR."""
    return client.ask("NACK", **acknowledgement(client, message), **headers)


def drain(client: Client, destination: str) -> list[bytes]:
    """Consume what waits in a queue and return it; the last message is one that this function puts."""
    end = b"the end of " + destination.encode()
    subscribe(client, destination, id="drain")
    client.send("SEND", end, destination=destination, priority="0")
    found = []
    while (body := client.expect("MESSAGE").body) != end:
        found.append(body)
    accepted(client.ask("UNSUBSCRIBE", id="drain"))
    return found


def expect_error(answer: Frame, text: str) -> Frame:
    """Check that an answer is an ERROR whose `message` holds `text`, as its body does."""
    assert answer.command == "ERROR", answer
    assert text in answer.headers["message"], answer
    assert text in answer.body.decode(), answer.body
    return answer


def is_served(client: Client) -> bool:
    """True if the connection still works, and nothing else was on its way to it."""
    return client.ask("SEND", destination="/topic/nobody.listens").command == "RECEIPT"


def await_waiting(client: Client, name: str, most: int) -> None:
    """Wait until no more than so many messages wait in a queue, as the broker's statistics say."""
    end = time.monotonic() + DEADLINE
    subscribe(client, "/temp-queue/replies", id="replies")
    waiting = most + 1
    while waiting > most:
        assert time.monotonic() < end, f"{waiting} wait in {name}"
        destination = f"/queue/ActiveMQ.Statistics.Destination.{name}"
        client.send("SEND", destination=destination, reply_to="/temp-queue/replies")
        waiting = json.loads(client.expect("MESSAGE").body)["size"]
    accepted(client.ask("UNSUBSCRIBE", id="replies"))


def let_pass(broker: BrokerProcess, seconds: float) -> None:
    """Let time pass: the heart-beats of a connection of our own are the clock."""
    end = time.monotonic() + seconds
    with Client(broker.port, "1.2", **{"heart-beat": "0,100"}) as clock:
        while time.monotonic() < end:
            read_octets(clock)


def read_octets(client: Client) -> bytes:
    """Return the next octets as they come, heart-beats included. Raises `Closed`."""
    data = client.socket.recv(1 << 16)
    if not data:
        raise Closed
    return data
