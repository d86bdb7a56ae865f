"""A worker that is not ours: it knows docs/rpc-protocol.md and STOMP frames, and nothing of `rpc`."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from itertools import count
from queue import Queue
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import msgspec

from broker.stomp import Frame
from tests.harness import Client, Closed
from tests.processes import PATIENCE

WRITERS: dict[str, tuple[Callable[[Any], bytes], Callable[[bytes], Any]]] = {
    "application/json": (lambda value: json.dumps(value).encode(), json.loads),
    "application/msgpack": (msgspec.msgpack.encode, msgspec.msgpack.decode),
}


class Stream:
    """A result on its way, item by item."""

    def __init__(self, request: Frame, call_id: Any, items: Iterator[Any], credit: float) -> None:
        self.request = request
        self.call_id = call_id
        self.items = items
        self.credit = credit
        self.sent = 0


class ForeignWorker:
    """Serves a few functions in a thread; `told` has what callers sent to the topic, `asked` their requests."""

    def __init__(self, url: str, service: str, name: str = "foreign") -> None:
        self.told: Queue[tuple[str, dict[str, Any]]] = Queue()
        self.asked: Queue[Frame] = Queue()
        self.name = name
        self._streams: dict[str, Stream] = {}
        self._link = Client(urlsplit(url).port or 0)
        for number, kind in enumerate(("queue", "topic")):
            self._link.send(
                "SUBSCRIBE", id_=str(number), destination=f"/{kind}/rpc.{service}", ack="auto"
            )
        assert self._link.silent()
        self._thread = threading.Thread(target=self._serve)

    def _serve(self) -> None:
        try:
            while True:
                frame = self._link.frame(deadline=PATIENCE * 10)
                if frame.command == "MESSAGE":
                    self._take(frame)
        except (Closed, OSError):
            return

    def _take(self, frame: Frame) -> None:
        _, read = WRITERS[frame.headers["content-type"]]
        body = read(frame.body)
        if isinstance(body, list):
            self.asked.put(frame)
            replies = [reply for request in body if (reply := self._run(request)) is not None]
            if replies:
                self._reply(frame, replies[::-1])  # in any order, says JSON-RPC
        elif "id" not in body:
            self._hear(body["method"], body["params"])
        elif items := self._items(body):
            self.asked.put(frame)
            credit = int(frame.headers["stream-credit"])
            stream = Stream(frame, body["id"], items, credit)
            self._streams[frame.headers["correlation-id"]] = stream
            self._pump(stream)
        else:
            self.asked.put(frame)
            reply = self._run(body, frame)
            if reply is not None:
                self._reply(frame, reply)

    def _hear(self, method: str, params: dict[str, Any]) -> None:
        stream = self._streams.get(params["id"])
        if method == "rpc.credit" and stream is not None:
            stream.credit += params["credit"]
            self._pump(stream)
        elif method == "rpc.cancel":
            self._streams.pop(params["id"], None)
        self.told.put((method, params))

    def _run(self, request: dict[str, Any], frame: Frame | None = None) -> dict[str, Any] | None:
        method, params = request["method"], request["params"]
        reply: dict[str, Any] = {"jsonrpc": "2.0", "id": request["id"]}
        if method == "hang" or params == ["hang"]:
            return None
        if method == "echo":
            reply["result"] = params[0]
        elif method == "add":
            reply["result"] = sum(params)
        elif method == "headers":
            reply["result"] = {} if frame is None else frame.headers
        elif method == "fails" or params[0] == "fails":
            reply["error"] = {"code": -32000, "message": "LookupError: gone"}
        else:
            reply["result"] = params[0]
        return reply

    @staticmethod
    def _items(request: dict[str, Any]) -> Iterator[Any] | None:
        if request["method"] == "count":
            return iter(range(request["params"][0]))
        return count() if request["method"] in ("endless", "greedy", "gappy", "breaks") else None

    def _pump(self, stream: Stream) -> None:
        method = WRITERS[stream.request.headers["content-type"]][1](stream.request.body)["method"]
        while stream.credit > 0 or (method == "greedy" and stream.sent < 1000):
            answer: dict[str, Any] = {"jsonrpc": "2.0", "id": stream.call_id}
            number = str(stream.sent + (method == "gappy" and stream.sent > 1))
            stream.sent += 1
            stream.credit -= 1
            try:
                if method == "breaks" and stream.sent == 3:
                    answer["error"] = {"code": -32000, "message": "LookupError: gone"}
                    raise StopIteration
                answer["result"] = next(stream.items)
            except StopIteration:
                if "error" not in answer:
                    answer["result"] = None
                self._streams.pop(stream.request.headers["correlation-id"], None)
                self._reply(stream.request, answer, **{"stream-seq": number, "stream-end": "true"})
                return
            self._reply(stream.request, answer, **{"stream-seq": number})

    def _reply(self, request: Frame, reply: Any, **more: str) -> None:
        headers = {
            "destination": request.headers["reply-to"],
            "content-type": request.headers["content-type"],
            "correlation-id": request.headers["correlation-id"],
            "persistent": request.headers["persistent"],
        }
        if request.headers["subscription"] == "1":
            headers["worker"] = self.name
        write, _ = WRITERS[request.headers["content-type"]]
        self._link.write(Frame("SEND", headers | more, write(reply)).encode("1.2"))

    def hear(self, method: str) -> dict[str, Any]:
        """Wait for a word of that name on the topic, and return what it says."""
        while True:
            heard, params = self.told.get(timeout=PATIENCE)
            if heard == method:
                return params

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with contextlib.suppress(OSError):  # the broker was faster
            self._link.socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(PATIENCE)
        self._link.close()
