"""A stomp.py connection that keeps what comes in, in order; every wait has a deadline. It knows no stories."""

from __future__ import annotations

import queue as queues
import time
from collections.abc import Callable
from itertools import count
from typing import Any, Protocol

import stomp

from tests.harness import DEADLINE, BrokerProcess

CONNECTIONS: dict[str, Callable[..., Any]] = {
    "1.0": stomp.Connection10,
    "1.1": stomp.Connection11,
    "1.2": stomp.Connection12,
}
_numbers = count(1)


class Received(Protocol):
    """A frame as stomp.py hands it over."""

    cmd: str
    headers: dict[str, str]
    body: Any


class Inbox(stomp.ConnectionListener):  # type: ignore[misc]
    """A listener that keeps everything in order."""

    def __init__(self) -> None:
        self.events: queues.SimpleQueue[tuple[str, Any]] = queues.SimpleQueue()
        self.beats: queues.SimpleQueue[float] = queues.SimpleQueue()  # when each came

    def on_connected(self, frame: Received) -> None:
        self.events.put(("connected", frame))

    def on_message(self, frame: Received) -> None:
        self.events.put(("message", frame))

    def on_receipt(self, frame: Received) -> None:
        self.events.put(("receipt", frame))

    def on_error(self, frame: Received) -> None:
        self.events.put(("error", frame))

    def on_disconnected(self) -> None:
        self.events.put(("disconnected", None))

    def on_heartbeat(self) -> None:
        self.beats.put(time.monotonic())

    def on_heartbeat_timeout(self) -> None:
        self.events.put(("heartbeat timeout", None))


class Talker:
    """A stomp.py connection of some version, and what came in on it."""

    def __init__(self, version: str, broker: BrokerProcess, **options: Any) -> None:
        self.version = version
        self.inbox = Inbox()
        self.connection = CONNECTIONS[version](
            [("127.0.0.1", broker.port)], reconnect_attempts_max=1, **options
        )
        self.connection.set_listener("inbox", self.inbox)

    def connect(self, **headers: str) -> Received:
        """Log in and return CONNECTED. `_` in a header's name stands for `-`."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.connection.connect("user", "secret", wait=True, headers=named)
        return self.expect("connected")

    def expect(self, kind: str) -> Received:
        """Return the next event's frame; the event must be of this kind."""
        found, frame = self.inbox.events.get(timeout=DEADLINE)
        assert found == kind, (found, frame and (frame.headers, frame.body))
        return frame  # type: ignore[no-any-return]

    def confirm(self, verb: Callable[..., object], *arguments: Any, **headers: Any) -> None:
        """Call a verb with a receipt and wait for it; it must be the next event."""
        receipt = f"receipt:{next(_numbers)}"
        verb(*arguments, receipt=receipt, **headers)
        assert self.expect("receipt").headers["receipt-id"] == receipt

    def send(self, destination: str, *bodies: Any, **headers: Any) -> None:
        """Send messages, each confirmed."""
        for body in bodies:
            self.confirm(self.connection.send, destination, body, **headers)

    def subscribe(self, destination: str, id: str = "s", ack: str = "auto", **headers: Any) -> None:
        """Subscribe, confirmed."""
        self.confirm(self.connection.subscribe, destination, id, ack, **headers)

    def unsubscribe(self, id: str = "s", **headers: Any) -> None:
        """Unsubscribe, confirmed."""
        self.confirm(self.connection.unsubscribe, id=id, **headers)

    def named(self, message: Received) -> list[str]:
        """Return how this version names a message in ack and nack."""
        if self.version == "1.2":
            return [message.headers["ack"]]
        if self.version == "1.1":
            return [message.headers["message-id"], message.headers["subscription"]]
        return [message.headers["message-id"]]

    def ack(self, message: Received, **headers: Any) -> None:
        """Acknowledge, confirmed."""
        self.confirm(self.connection.ack, *self.named(message), **headers)

    def take(self, number: int) -> list[Received]:
        """Return the next messages."""
        return [self.expect("message") for _ in range(number)]

    def nothing(self) -> None:
        """Make sure that nothing is on its way."""
        self.confirm(self.connection.send, "/topic/nobody.listens", "x")

    def leave(self) -> None:
        """End the connection whatever state it is in, and its thread."""
        transport = self.connection.transport
        transport.disconnect_socket()
        if transport.io_thread is not None:
            transport.io_thread.join(DEADLINE)


def texts(messages: list[Received]) -> list[str]:
    """Return the bodies of messages."""
    return [message.body for message in messages]
