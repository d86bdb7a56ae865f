"""A broker that loses, repeats, reorders and changes: what the benchmark must not let pass.

It knows queues with one consumer each and nothing of storage; it runs in a thread of the test.
"""

from __future__ import annotations

import selectors
import socket
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self

from broker.stomp import Frame, Parser
from tests.harness import DEADLINE

SPOILED = 10  # the message that goes wrong: one of the first that leave, and not the last

#: Gets two messages that follow each other; returns what arrives instead.
Fault = Callable[[Frame, Frame], list[Frame]]


def changed(frame: Frame, following: Frame) -> list[Frame]:
    body = frame.body[:-1] + b"?"
    return [Frame(frame.command, frame.headers, body), following]


FAULTS: dict[str, Fault] = {
    "lost": lambda frame, following: [following],
    "repeated": lambda frame, following: [frame, frame, following],
    "reordered": lambda frame, following: [following, frame],
    "changed": changed,
    "mixed up": lambda frame, following: [
        Frame("MESSAGE", frame.headers, following.body),
        following,
    ],
}


class ErringBroker:
    """Spoils one message, and with it perhaps the one after it.

    Only messages to destinations whose name contains `where` count. Without a fault all goes well.
    """

    def __init__(self, fault: Fault | None, where: str) -> None:
        self.fault = fault
        self.where = where
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=20)
        self.port: int = self._listener.getsockname()[1]
        self._stop, self._stopped = socket.socketpair()
        self._parsers: dict[socket.socket, Parser] = {}
        self._consumers: dict[str, socket.socket] = {}
        self._count = 0
        self._held: Frame | None = None
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.close()
        self._thread.join(DEADLINE)
        assert not self._thread.is_alive()
        for each in (self._listener, self._stopped, *self._parsers):
            each.close()

    def _serve(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            selector.register(self._stopped, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    if key.fileobj is self._stopped:
                        return
                    if key.fileobj is self._listener:
                        link, _ = self._listener.accept()
                        self._parsers[link] = Parser()
                        selector.register(link, selectors.EVENT_READ)
                    elif isinstance(key.fileobj, socket.socket) and not self._read(key.fileobj):
                        selector.unregister(key.fileobj)

    def _read(self, link: socket.socket) -> bool:
        """Read once and answer; False if there is nobody any more."""
        out: dict[socket.socket, list[bytes]] = {}
        try:
            data = link.recv(1 << 16)
            for frame in self._parsers[link].feed(data):
                for to, answer in self._answers(link, frame):
                    out.setdefault(to, []).append(answer.encode("1.2"))
            for to, answers in out.items():
                to.sendall(b"".join(answers))
        except OSError:
            return False
        return bool(data)

    def _answers(self, link: socket.socket, frame: Frame) -> Iterator[tuple[socket.socket, Frame]]:
        if frame.command == "CONNECT":
            yield link, Frame("CONNECTED", {"version": "1.2"})
            self._parsers[link].version = "1.2"
        elif frame.command == "SUBSCRIBE":
            self._consumers[frame.headers["destination"]] = link
        elif frame.command == "SEND":
            for message in self._messages(frame):
                yield self._consumers[frame.headers["destination"]], message
        if "receipt" in frame.headers:
            yield link, Frame("RECEIPT", {"receipt-id": frame.headers["receipt"]})

    def _messages(self, frame: Frame) -> list[Frame]:
        headers = {"subscription": "1", "message-id": str(self._count)} | frame.headers
        message = Frame("MESSAGE", headers, frame.body)
        if self.fault is None or self.where not in frame.headers["destination"]:
            return [message]
        self._count += 1
        if self._held is not None:
            held, self._held = self._held, None
            return self.fault(held, message)
        if self._count == SPOILED:
            self._held = message
            return []
        return [message]
