"""Somebody who administers a broker: calls its methods in plain frames, with a temporary queue for the answers."""

from __future__ import annotations

import json
from itertools import count
from typing import Any

from broker.stomp import Frame
from tests.harness import Client
from tests.scenarios.steps import subscribe

LONGEST = 300.0  # seconds that a call may take
REPLIES = "/temp-queue/replies"
QUEUE, TOPIC = "/queue/rpc.broker", "/topic/rpc.broker"
INVALID_PARAMS, REFUSED, FORBIDDEN = -32602, -32004, -32003


class Fault(Exception):
    """The broker answered with an error."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(error["message"])
        self.code: int = error["code"]
        self.data = error.get("data")


class Administrator:
    """Calls one method after the other."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self._numbers = count(1)
        subscribe(client, REPLIES, id="replies")

    def call(self, method: str, *params: Any, **named: Any) -> Any:
        """Call a method and return its result. Raises `Fault`."""
        id = f"call-{next(self._numbers)}"
        request = {"jsonrpc": "2.0", "method": method, "params": named or params, "id": id}
        frame = self.ask(json.dumps(request).encode(), **{"correlation-id": id})
        assert frame.headers["correlation-id"] == id
        reply = json.loads(frame.body)
        assert reply["jsonrpc"] == "2.0"
        assert reply["id"] == id
        if "error" in reply:
            raise Fault(reply["error"])
        return reply["result"]

    def ask(self, body: bytes, destination: str = QUEUE, **headers: str) -> Frame:
        """Send a body and return the answer."""
        self.tell(body, destination, **{"reply-to": REPLIES, **headers})
        frame = self.client.frame(LONGEST)
        assert (frame.command, frame.headers.get("subscription")) == ("MESSAGE", "replies"), frame
        return frame

    def tell(self, body: bytes, destination: str = QUEUE, **headers: str) -> None:
        """Send a body."""
        named = {"destination": destination, "content-type": "application/json", **headers}
        self.client.write(Frame("SEND", named, body).encode(self.client.version))
