"""A core with a store in memory, and the broker's own service on it: requests are sent, the journal is read."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import count
from typing import Any

from broker.admin.desk import Desk
from broker.admin.outside import House as Surroundings
from broker.core.message import Message
from broker.core.queue import Queue
from broker.errors import StompError
from broker.options import Options
from broker.peering.peers import Peers
from broker.rights import Rights
from broker.tail import END, annotate, new_tail
from broker.watch.author import Author
from broker.watch.presence import Presence
from broker.watch.statistics import Statistics
from tests.core.house import House
from tests.outside import outside

REPLIES = "/queue/replies"


class Staffed(House):
    """The house of the core's tests, with real tails and somebody who answers."""

    def __init__(self, options: Options | None = None) -> None:
        super().__init__(memory_limit=64 << 20)
        self.broker.outside = outside()
        self.broker.annotate = annotate
        self.broker.now = 1_000_000
        self.dismissed: list[str] = []
        self._numbers = count(1)
        presence = Presence(self.broker, "node", "node-1")
        author = Author(self.broker, b"node-1-")
        statistics = Statistics(self.broker, presence, author, 64 << 20, 1 << 30, lambda: 0, "")

        def dismiss(session: str, error: StompError) -> None:
            self.dismissed.append(session)

        options = options or Options()
        peers = Peers(self.broker, options, "node", 1, lambda peer, trouble: None)
        self.timers: list[Callable[[], None]] = []  # whatever their moments
        surroundings = Surroundings(
            self.broker,
            presence,
            statistics,
            options,
            peers,
            Rights(options.rights, options.administrators, options.is_open),
            0,
            dict,
            dismiss,
            lambda seconds, call: self.timers.append(call),
        )
        Desk(surroundings, author)
        self._answers = self.consume(of=self.queue("replies"))

    def text(self, body: str, /, durable: bool = True, **headers: str) -> Message:
        """Return the next message, with a tail as clients write them."""
        seq = self.broker.next_seq
        self.broker.next_seq += 1
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return Message(seq, new_tail(b"m-%d" % seq, named, body.encode()), durable)

    def fill(self, queue: Queue, *bodies: str, durable: bool = True) -> None:
        """Put messages."""
        for body in bodies:
            queue.put(self.text(body, durable))

    def ask(self, method: str, *params: Any, **named: Any) -> None:
        """Send a request; nothing is done of it yet."""
        id = next(self._numbers)
        request = {"jsonrpc": "2.0", "method": method, "params": named or params, "id": id}
        headers = {"reply_to": REPLIES, "correlation_id": f"{id}"}
        route = self.broker.routes.find("/queue/rpc.broker")
        route.put(self.text(json.dumps(request), durable=False, **headers))

    def answers(self) -> list[Any]:
        """Return what was answered since the last look: results, and errors as their texts."""
        replies = [json.loads(body_of(body)) for body in self._answers.bodies()]
        return [reply["result"] if "result" in reply else reply["error"] for reply in replies]

    def call(self, method: str, *params: Any, **named: Any) -> Any:
        """Send a request, let everything come to its end, and return the answer."""
        self.ask(method, *params, **named)
        self.settle_all()
        [answer] = self.answers()
        return answer

    def settle_all(self) -> None:
        """Write and go on until there is nothing more to do, and nobody waits for the disk."""
        self.settle()
        while self.broker.starving:
            self.broker.nothing_to_write()
            self.settle()

    def shown(self, queue: Queue) -> list[dict[str, Any]]:
        """Return all that waits in a queue, as `browse` shows it, page by page."""
        found: list[dict[str, Any]] = []
        place: str | None = None
        while True:
            page = self.call("browse", queue=queue.destination, limit=1000, after=place)
            found += page["messages"]
            place = page["next"]
            if place is None:
                return found

    def waiting(self, queue: Queue) -> list[str]:
        """Return the bodies of what waits in a queue, in order."""
        return [message["body"] for message in self.shown(queue)]


def body_of(text: str) -> str:
    """Return what follows the headers of a tail."""
    return text.partition("\n\n")[2].removesuffix(END.decode())
