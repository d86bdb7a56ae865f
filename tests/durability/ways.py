"""What several of these tests need: stores by name, seeds, and the quick ways to fill and drain a queue."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from broker.stomp import Frame
from tests.harness import BrokerProcess, Client

MB = 1_000_000
STORES = {"lmdb": "lmdb:{}/data", "sqlite": "sqlite:{}/hoof.db"}


def choose_seed() -> int:
    """Return a seed, and print it: another one every time, or the one of a failure (HOOFBEAT_SEED)."""
    seed = int(os.environ.get("HOOFBEAT_SEED", "0")) or random.randrange(1, 2**32)
    print(f"HOOFBEAT_SEED={seed}")
    return seed


def drain(client: Client, destination: str, priority: int = 0) -> Iterator[Frame]:
    """Yield every message of a queue that nobody else uses; acknowledge them all.

    The end is a message of lower priority than all others, sent now: what comes after it, if anything,
    was never going to come.
    """
    client.ask("SEND", b"end", destination=destination, end="1", priority=str(priority))
    client.send("SUBSCRIBE", destination=destination, id_=destination, ack="client-individual")
    while True:
        message = client.expect("MESSAGE")
        client.send("ACK", id_=message.headers["ack"])
        if "end" in message.headers:
            break
        yield message
    assert client.ask("UNSUBSCRIBE", id_=destination).command == "RECEIPT"


def fill(client: Client, destination: str, count: int, size: int = 200) -> None:
    """Send numbered messages of `size` bytes to a queue; return when all are on disk.

    Every so often one asks for a receipt, so that little more than a megabyte is on the way.
    """
    chunk = 200_000 // size
    ahead = 5 * chunk
    plain = f"SEND\ndestination:{destination}\ncontent-length:{size}\n\n".encode()
    for start in range(0, count + ahead, chunk):
        if start >= ahead:
            client.expect("RECEIPT", receipt_id=str(start - ahead))
        if start < count:
            *most, last = range(start, min(count, start + chunk))
            data = b"".join([b"%b%0*d\0" % (plain, size, number) for number in most])
            client.write(data)
            client.send("SEND", b"%0*d" % (size, last), destination=destination, receipt=str(start))


def take(client: Client, incoming: Iterator[Frame], numbers: range, ack_every: int = 500) -> None:
    """Read numbered messages of a subscription from `frames(client)`: each once and in order.

    In mode `client` they are acknowledged, many at a time and the last ones with a receipt; `ack_every` 0
    means mode `auto`.
    """
    key = ""
    for number, message in zip(numbers, incoming, strict=False):
        assert message.command == "MESSAGE", message
        assert int(message.body) == number
        if ack_every:
            key = message.headers["ack"]
            if number % ack_every == ack_every - 1:
                client.send("ACK", id_=key)
                key = ""
    if key:
        client.send("ACK", id_=key)


def frames(client: Client) -> Iterator[Frame]:
    """Yield the frames of a client, quickly and without keeping a copy."""
    while data := client.socket.recv(1 << 20):
        yield from client.parser.feed(data)


@contextmanager
def pings(broker: BrokerProcess) -> Iterator[list[float]]:
    """Send and receive a small message all the time; the list gets the seconds that each took, at least once."""
    took: list[float] = []
    begun, over = threading.Event(), threading.Event()

    def ping() -> None:
        with broker.connect() as client:
            client.send("SUBSCRIBE", destination="/queue/ping", id_="1")
            while not over.is_set():
                began = time.perf_counter()
                client.send("SEND", b"ping", destination="/queue/ping", persistent="false")
                client.expect("MESSAGE")
                took.append(time.perf_counter() - began)
                begun.set()

    thread = threading.Thread(target=ping)
    thread.start()
    begun.wait(30)  # seconds; the first round trip is soon over
    try:
        yield took
    finally:
        over.set()
        thread.join()


def tell(what: str, took: list[float], broker: BrokerProcess) -> None:
    """Print how others fared."""
    ordered = sorted(took)
    print(
        f"{what}: {len(took)} round trips of others, median {ordered[len(took) // 2] * 1000:.1f} ms,"
        f" worst {ordered[-1] * 1000:.0f} ms; RssAnon {broker.memory() / MB:.0f} MB"
    )
