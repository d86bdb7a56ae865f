"""What several of these tests need: stores by name, seeds, and the quick ways to fill and drain a queue."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator

from broker.stomp import Frame
from tests.harness import Client

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
