"""A consumer that looks for few messages among many: a selector over a durable backlog.

The backlog is written in rounds of `every` messages, of which the last is of the kind that is looked for.
A consumer with a selector must get these, all of them and in order, and nothing else; afterwards one
without a selector must find the others, in order too.
"""

from __future__ import annotations

from dataclasses import dataclass

from broker.bench.checks import Check, InOrder, MeasurementError, Stalled, Unsupported
from broker.bench.numbered import PLACE, Numbered
from broker.bench.order import Order, measure
from broker.bench.stream import Drain, Stream, Traffic, send_frame
from broker.bench.timing import Result
from broker.bench.wire import Address, Link, Loop, subscription, words

SELECTOR = {"selector": "kind = 'rare'"}
KINDS = ("many", "rare")  # equally long, as all messages must be
RARE = b"\nkind:rare\n"


@dataclass(frozen=True)
class Mixture(Traffic):
    """Messages of which one in `every` is rare."""

    every: int = 100

    def bodies(self) -> list[bytes]:
        """Return the patterns of a round's bodies, the rare one last."""
        return [self.body_pattern(b"%04d" % place) for place in range(self.every)]

    def frames(self) -> Numbered:
        """Return the SENDs, a whole round of them as one, with one receipt at its end."""
        *many, rare = self.bodies()
        frames = [send_frame(self.destination, True, body, f"kind:{KINDS[0]}\n") for body in many]
        lines = f"kind:{KINDS[1]}\nreceipt:{PLACE.decode()}\n"
        return Numbered(b"".join((*frames, send_frame(self.destination, True, rare, lines))))


class Sorted(Check):
    """Both kinds, each in order."""

    def __init__(self, traffic: Mixture) -> None:
        super().__init__("messages")
        *many, rare = traffic.bodies()
        self._size = -traffic.body
        self._many = InOrder("other messages", Numbered(*many))
        self._rare = InOrder("matching messages", Numbered(rare))

    def take(self, frames: list[bytes], selective: bool) -> None:
        """Check a batch, which may be selected messages. Raises `MeasurementError`."""
        size = self._size
        rare = [frame[size:] for frame in frames if RARE in frame]
        many = [frame[size:] for frame in frames if RARE not in frame]
        if selective and many:
            raise MeasurementError(f"a message came that the selector excludes: {many[0][:40]!r}")
        self._rare.take(rare)
        self._many.take(many)
        self.settled += len(frames)


class Searcher:
    """Takes what is there, with a selector or without."""

    def __init__(self, load: Drain, link: Link, check: Sorted, selective: bool) -> None:
        self.load = load
        self.link = link
        self.check = check
        self.selective = selective
        link.take = self.take

    def take(self, frames: list[bytes], whole: bytes) -> None:
        """Check a batch of messages."""
        self.check.take(frames, self.selective)
        self.load.came(len(frames))


def selector(order: Order, results: list[Result]) -> None:
    """Measure how fast the rare messages of a backlog are found, from SUBSCRIBE to the last one."""
    check_ability(order.address, order.destination("queue", ".asked"))
    traffic = Mixture(order.destination("queue"), receipts=True, consumers=0, **order.settings)
    rounds = max(1, order.backlog // traffic.every)
    measure(order, Result(""), lambda loop: Stream(loop, order.address, traffic, rounds))
    check = Sorted(traffic)

    def drain(result: Result, total: int, selective: bool) -> None:
        headers = subscription(traffic.destination) | (SELECTOR if selective else {})

        def build(loop: Loop) -> Drain:
            return Drain(
                loop,
                order.address,
                total,
                headers,
                lambda load, link: Searcher(load, link, check, selective),
            )

        measure(order, result, build)

    try:
        drain(results[0], rounds, selective=True)
    except Stalled as error:
        drain(Result(""), rounds * traffic.every, selective=False)  # nothing is lost, then
        raise Unsupported(f"a selector does not reach the end of a long queue: {error}") from error
    drain(Result(""), rounds * traffic.every, selective=False)
    speed = rounds * traffic.every / results[0].seconds
    results[0].note = f"{speed:,.0f}/s looked at"


def check_ability(address: Address, destination: str) -> None:
    """Ask with two messages whether the broker knows selectors. Raises `Unsupported` if not."""
    link = Link(address, "")
    for kind in KINDS:
        link.ask("SEND", {"destination": destination, "kind": kind, "persistent": "true"})
    link.say("SUBSCRIBE", subscription(destination) | SELECTOR)
    first = link.next_frames()[0]
    if first.headers.get("kind") != KINDS[1]:
        link.abandon()
        raise Unsupported(f"it does not know selectors: {words(first)} {first.headers}")
    link.ask("UNSUBSCRIBE", {"id": "1"})
    link.say("SUBSCRIBE", subscription(destination))
    link.next_frame()
    link.close()
