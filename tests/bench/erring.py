"""A broker that loses, repeats, reorders and changes: what the benchmark must not let pass.

It knows just as much as the rows need: queues, topics, one selector, delays and durable subscriptions, each
of which it can also be ignorant of. It stores nothing and runs in a thread of the test.
"""

from __future__ import annotations

import heapq
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from broker.stomp import Frame, Parser
from tests.harness import DEADLINE

SPOILED = 10  # the message that goes wrong: one of the first that leave, and not the last

#: Gets two messages that follow each other; returns what arrives instead.
Fault = Callable[[Frame, Frame], list[Frame]]
Answers = Iterator[tuple[socket.socket, Frame]]


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


@dataclass(eq=False)
class Subscription:
    """Who gets what is sent to a destination."""

    destination: str
    id: str
    selector: str = ""  # `kind = '…'`, the only one that is understood
    link: socket.socket | None = None  # None: away, and durable
    waiting: list[Frame] = field(default_factory=list)

    def wants(self, frame: Frame) -> bool:
        return not self.selector or self.selector == f"kind = '{frame.headers['kind']}'"


class ErringBroker:
    """Spoils one message, and with it perhaps the one after it.

    Only messages to destinations whose name contains `where` count, and of several subscriptions there only
    the first. Without a fault all goes well.
    """

    def __init__(
        self,
        fault: Fault | None = None,
        where: str = "",
        spoiled: int = SPOILED,
        ignores: frozenset[str] = frozenset(),
        reach: int = 1_000_000,
        hurry: float = 0.0,
    ) -> None:
        """Err in this way, and in others.

        `ignores`: headers that it does not know; `reach`: messages of a backlog that a selector
        sees; `hurry`: seconds that a delayed message comes too early.
        """
        self.fault = fault
        self.where = where
        self.spoiled = spoiled
        self.ignores = ignores
        self.reach = reach
        self.hurry = hurry
        self.durable: dict[str, Subscription] = {}  # by client-id
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=20)
        self.port: int = self._listener.getsockname()[1]
        self._stop, self._stopped = socket.socketpair()
        self._parsers: dict[socket.socket, Parser] = {}
        self._clients: dict[socket.socket, str] = {}
        self._subscriptions: list[Subscription] = []
        self._backlog: dict[str, list[Frame]] = {}  # of queues that nobody consumes
        self._delayed: list[tuple[float, int, Frame]] = []
        self._count = 0
        self._victim: Subscription | None = None
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
                timeout = self._delayed[0][0] - time.monotonic() if self._delayed else None
                for key, _ in selector.select(timeout):
                    if key.fileobj is self._stopped:
                        return
                    if key.fileobj is self._listener:
                        link, _ = self._listener.accept()
                        self._parsers[link] = Parser()
                        selector.register(link, selectors.EVENT_READ)
                    elif isinstance(key.fileobj, socket.socket) and not self._read(key.fileobj):
                        selector.unregister(key.fileobj)
                        self._leave(key.fileobj)
                self._say(self._due())

    def _read(self, link: socket.socket) -> bool:
        """Read once and answer; False if there is nobody any more."""
        try:
            data = link.recv(1 << 16)
        except OSError:
            return False
        self._say(
            answer for frame in self._parsers[link].feed(data) for answer in self._do(link, frame)
        )
        return bool(data)

    def _say(self, answers: Answers) -> None:
        out: dict[socket.socket, list[bytes]] = {}
        for to, answer in answers:
            out.setdefault(to, []).append(answer.encode("1.2"))
        for to, frames in out.items():
            try:
                to.sendall(b"".join(frames))
            except OSError:  # gone, which we shall read in a moment
                continue

    def _leave(self, link: socket.socket) -> None:
        for subscription in [each for each in self._subscriptions if each.link is link]:
            subscription.link = None
            if subscription not in self.durable.values():
                self._subscriptions.remove(subscription)

    def _due(self) -> Answers:
        while self._delayed and self._delayed[0][0] <= time.monotonic():
            yield from self._arrive(heapq.heappop(self._delayed)[2])

    # Commands.

    def _do(self, link: socket.socket, frame: Frame) -> Answers:
        known = {name: frame.headers[name] for name in frame.headers if name not in self.ignores}
        frame = Frame(frame.command, known, frame.body)
        yield from COMMANDS.get(frame.command, ErringBroker._nothing)(self, link, frame)
        if "receipt" in frame.headers:
            yield link, Frame("RECEIPT", {"receipt-id": frame.headers["receipt"]})

    def _connect(self, link: socket.socket, frame: Frame) -> Answers:
        self._parsers[link].version = "1.2"
        self._clients[link] = frame.headers.get("client-id", "")
        yield link, Frame("CONNECTED", {"version": "1.2"})

    def _subscribe(self, link: socket.socket, frame: Frame) -> Answers:
        headers, client = frame.headers, self._clients[link]
        subscription = Subscription(
            headers["destination"], headers["id"], headers.get("selector", "")
        )
        if "activemq.subscriptionName" in headers:
            subscription = self.durable.setdefault(client, subscription)
        subscription.link = link
        if subscription not in self._subscriptions:
            self._subscriptions.append(subscription)
        backlog = subscription.waiting + self._backlog.pop(subscription.destination, [])
        subscription.waiting = []
        for place, message in enumerate(backlog):
            if subscription.wants(message) and (place < self.reach or not subscription.selector):
                yield from self._messages(message, subscription)
            else:
                self._backlog.setdefault(subscription.destination, []).append(message)

    def _unsubscribe(self, link: socket.socket, frame: Frame) -> Answers:
        if "activemq.subscriptionName" in frame.headers:
            self._subscriptions.remove(self.durable.pop(self._clients[link]))
        else:
            self._leave(link)
        yield from ()

    def _send(self, link: socket.socket, frame: Frame) -> Answers:
        delay = int(frame.headers.get("AMQ_SCHEDULED_DELAY", 0)) / 1000
        if delay:
            moment = time.monotonic() + delay - self.hurry
            heapq.heappush(self._delayed, (moment, len(self._delayed), frame))
        else:
            yield from self._arrive(frame)

    def _nothing(self, link: socket.socket, frame: Frame) -> Answers:
        yield from ()

    # Messages.

    def _arrive(self, frame: Frame) -> Answers:
        destination = frame.headers["destination"]
        there = [each for each in self._subscriptions if each.destination == destination]
        if destination.startswith("/queue/"):
            there = there[-1:]
            if not there:
                self._backlog.setdefault(destination, []).append(frame)
        for subscription in there:
            yield from self._messages(frame, subscription)

    def _messages(self, frame: Frame, subscription: Subscription) -> Answers:
        if subscription.link is None:
            subscription.waiting.append(frame)
            return
        number = str(self._count)
        headers = {"subscription": subscription.id, "message-id": number, "ack": number}
        message = Frame("MESSAGE", headers | frame.headers, frame.body)
        for each in self._spoiled(message, subscription):
            yield subscription.link, each

    def _spoiled(self, message: Frame, subscription: Subscription) -> list[Frame]:
        if self.fault is None or self.where not in subscription.destination:
            return [message]
        self._count += 1
        if self._held is not None and self._victim is subscription:
            held, self._held = self._held, None
            return self.fault(held, message)
        if self._count == self.spoiled:
            self._held = message
            self._victim = subscription
            return []
        return [message]


#: What each command does.
COMMANDS: dict[str, Callable[[ErringBroker, socket.socket, Frame], Answers]] = {
    "CONNECT": ErringBroker._connect,
    "SUBSCRIBE": ErringBroker._subscribe,
    "UNSUBSCRIBE": ErringBroker._unsubscribe,
    "SEND": ErringBroker._send,
}
