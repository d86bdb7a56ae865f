"""Request and reply through two kinds of queue: what a remote call costs a broker.

Each client connection sends requests to one shared queue and gets its replies on a queue of its own;
worker connections compete for the requests and answer each with its correlation id. A request counts
when its reply has come back; a new one leaves for each that came, so `window` are always under way.
"""

from __future__ import annotations

import re

from broker.bench.checks import AnyOrder, InOrder, MeasurementError, bodies_match
from broker.bench.numbered import DIGITS, PLACE, Numbered, filler, number
from broker.bench.timing import Latencies
from broker.bench.wire import Address, Link, Loop

CORRELATION = re.compile(rb"\ncorrelation-id:([0-9]{10})\n")
ACK = re.compile(rb"\nack:([^\n]+)\n")
CLIENT_SPAN = 10 ** (DIGITS - 1)  # the first digit of a number tells the client it belongs to
SAMPLE_EVERY = 8  # the latency of one request in so many is measured


class RequestReply:
    """The load of one measurement: `pairs` clients and as many workers."""

    def __init__(
        self,
        loop: Loop,
        address: Address,
        prefix: str,
        pairs: int,
        window: int,
        durable: bool,
        ack: str,
        body: int,
    ) -> None:
        """`prefix`: names no other run uses; `window`: requests under way for each client."""
        self.latencies = Latencies(1 if window == 1 else SAMPLE_EVERY)
        self.done = 0
        self.clients: list[Client] = []
        rest = filler(body - DIGITS)
        requests = f"/queue/{prefix}.requests"
        replies = [f"/queue/{prefix}.replies.{index}" for index in range(pairs)]
        for index in range(pairs):
            worker = Link(address, f"worker{index}", (f"client{index}",))
            # A broker hands any request to any worker, the ceiling only those of its own client.
            Worker(worker, [message(to, durable, rest) for to in replies], rest, ack)
            worker.subscribe(requests, ack)
            loop.add(worker)
        for index in range(pairs):
            link = Link(address, f"client{index}", (f"worker{index}",))
            request = message(requests, durable, rest, reply_to=replies[index])
            client = Client(self, link, Numbered(request), rest, index * CLIENT_SPAN, window)
            client.ack = ack
            client.ordered = pairs == 1
            link.subscribe(replies[index], ack)
            loop.add(link)
            self.clients.append(client)

    def turn(self, sending: bool) -> bool:
        """Keep every client's window full."""
        if sending:
            for client in self.clients:
                client.send()
        return False

    def missing(self) -> str:
        """Say which replies are still due."""
        return "; ".join(filter(None, (client.missing() for client in self.clients)))


class Client:
    """One client connection: sends requests, takes replies."""

    ack = "auto"
    ordered = True  # one worker answers, so replies come in the order of the requests

    def __init__(
        self, load: RequestReply, link: Link, frames: Numbered, rest: bytes, first: int, window: int
    ) -> None:
        self.load = load
        self.link = link
        self.frames = frames
        self.rest = rest
        self.first = self.next = first  # numbers of the first and of the next request
        self.window = window
        self.in_order = InOrder("replies", Numbered(PLACE), first)
        self.any_order = AnyOrder("replies")
        link.take = self.take

    def send(self) -> None:
        """Send as many requests as the window allows."""
        check = self.in_order if self.ordered else self.any_order
        start = self.next
        stop = self.first + check.settled + self.window
        if stop > start:
            self.next = stop
            if not self.ordered:
                self.any_order.expect([number(value) for value in range(start, stop)])
            self.link.send(self.frames.slice(start, stop))
            self.load.latencies.sent(start, stop)

    def take(self, frames: list[bytes], whole: bytes) -> None:
        """Check a batch of replies."""
        numbers = read_messages(frames, whole, self.rest)
        if self.ordered:
            self.in_order.take(numbers)
        else:
            self.any_order.take(numbers)
        if self.ack != "auto":
            acknowledge(self.link, whole, len(frames))
        self.load.done += len(numbers)
        self.load.latencies.came(numbers)

    def missing(self) -> str:
        """Say which replies are still due."""
        check = self.in_order if self.ordered else self.any_order
        return check.missing(self.next - self.first)


class Worker:
    """One worker connection: answers each request to the client that its number tells."""

    def __init__(self, link: Link, replies: list[bytes], rest: bytes, ack: str) -> None:
        self.link = link
        self.rest = rest
        self.ack = ack
        self.runs = Numbered(PLACE)
        self.replies = [Numbered(pattern) for pattern in replies]
        self.pieces = [pattern.split(PLACE) for pattern in replies]
        link.take = self.take

    def take(self, frames: list[bytes], whole: bytes) -> None:
        """Answer a batch of requests: replies first, then their acknowledgements."""
        numbers = read_messages(frames, whole, self.rest)
        first, last = int(numbers[0]), int(numbers[-1])
        if last - first + 1 == len(numbers) and b"".join(numbers) == self.runs.slice(
            first, last + 1
        ):
            self.link.send(self.replies[first // CLIENT_SPAN].slice(first, last + 1))
        else:
            pieces = self.pieces
            answers = []
            for item in numbers:
                before, between, after = pieces[item[0] - ord("0")]
                answers.append(before + item + between + item + after)
            self.link.send(b"".join(answers))
        if self.ack != "auto":
            acknowledge(self.link, whole, len(frames))


def message(destination: str, durable: bool, rest: bytes, reply_to: str = "") -> bytes:
    """Return the pattern of a SEND whose number is its correlation id and begins its body."""
    headers = {"destination": destination}
    if reply_to:
        headers["reply-to"] = reply_to
    headers |= {
        "correlation-id": PLACE.decode(),
        "persistent": "true" if durable else "false",
        "content-length": str(DIGITS + len(rest)),
    }
    lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
    return b"SEND\n%b\n%b%b\0" % (lines.encode(), PLACE, rest)


def read_messages(frames: list[bytes], whole: bytes, rest: bytes) -> list[bytes]:
    """Return the correlation ids of a batch. Raises `MeasurementError` if a body is not its id and `rest`."""
    numbers: list[bytes] = CORRELATION.findall(whole)
    size = -(DIGITS + len(rest))
    if not bodies_match(numbers, [frame[size:] for frame in frames], rest):
        raise MeasurementError(
            f"a message came with a wrong body or correlation id: {wrong(frames, rest)!r}"
        )
    return numbers


def wrong(frames: list[bytes], rest: bytes) -> bytes:
    """Return the first frame whose body is not its correlation id and `rest`."""
    for frame in frames:
        numbers = CORRELATION.findall(frame)
        if len(numbers) != 1 or not frame.endswith(b"\n\n" + numbers[0] + rest):
            return frame
    return b""


def acknowledge(link: Link, whole: bytes, count: int) -> None:
    """Acknowledge each message of a batch. Raises `MeasurementError` for one without an `ack` header.

    The value goes back as it came: both directions of a link escape alike.
    """
    if link.address.copies:
        return
    values = ACK.findall(whole)
    if len(values) != count:
        raise MeasurementError(f"{count - len(values)} messages came without an ack header")
    link.send(b"ACK\nid:" + b"\n\n\0ACK\nid:".join(values) + b"\n\n\0")
