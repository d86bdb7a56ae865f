"""What is measured: one table, in the order in which it is shown.

A row says which load it is and with what; `generator` knows how each kind is run. Bodies have 100 bytes
where nothing else is said.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Row:
    """One kind of measurement."""

    name: str
    title: str
    kind: str  # see `generator.KINDS`
    unit: str = "messages"  # what is counted, per second
    settings: dict[str, Any] = field(default_factory=dict)
    ceiling: bool = True  # whether merely copying the same bytes can be measured beside it
    parts: tuple[
        tuple[str, str], ...
    ] = ()  # the (name, title) of each result, if there are several

    def results(self) -> tuple[tuple[str, str], ...]:
        """Return name and title of each result this row has."""
        return self.parts or ((self.name, self.title),)


def request_reply(pairs: int = 1, window: int = 64, **settings: Any) -> dict[str, Any]:
    """Return the settings of a request/reply row."""
    return {
        "pairs": pairs,
        "window": window,
        "durable": False,
        "ack": "auto",
        "body": 100,
    } | settings


def remote(name: str, title: str, way: str, unit: str = "calls", flight: int = 64) -> Row:
    """Return a row of remote calls; `way`: see `callers.WAYS`."""
    settings = {"way": way, "flight": flight}
    return Row(name, f"remote call, {title}", "rpc", unit, settings, ceiling=False)


RECEIPT_AND_ACK = {"durable": True, "receipts": True, "ack": "client-individual"}

ROWS = (
    Row(
        "reqrep",
        "request/reply, 64 in flight",
        "reqrep",
        "pairs",
        request_reply(),
    ),
    Row(
        "reqrep-4x4",
        "request/reply, 4 + 4 connections",
        "reqrep",
        "pairs",
        request_reply(pairs=4),
    ),
    Row(
        "reqrep-durable",
        "request/reply, durable, acknowledged",
        "reqrep",
        "pairs",
        request_reply(durable=True, ack="client-individual"),
    ),
    Row(
        "one",
        "request/reply, one at a time",
        "reqrep",
        "pairs",
        request_reply(window=1),
    ),
    Row(
        "durable",
        "durable, RECEIPT and ACK, 256 in flight",
        "stream",
        settings={"window": 256, **RECEIPT_AND_ACK},
        ceiling=False,
    ),
    Row("plain", "plain messages", "stream"),
    Row(
        "topic",
        "topic, 1 to 4",
        "stream",
        "deliveries",
        {"topic": True, "consumers": 4},
    ),
    Row(
        "fill",
        "fill a durable queue, then drain it",
        "fill",
        settings={"window": 1000},
        ceiling=False,
        parts=(
            ("fill", "fill a durable queue, RECEIPT each, 1000 in flight"),
            ("drain", "drain it"),
        ),
    ),
    Row(
        "backlog",
        "a large backlog of 200 bytes each: fill, drain",
        "backlog",
        settings={"window": 1000, "body": 200},
        ceiling=False,
        parts=(
            ("backlog-fill", "large backlog, 200 bytes each: fill"),
            ("backlog-drain", "large backlog: drain"),
        ),
    ),
    Row("plain-10k", "plain, 10 kB", "stream", settings={"body": 10_000, "window": 1000}),
    Row("plain-1m", "plain, 1 MB", "stream", settings={"body": 1_000_000, "window": 16}),
    Row(
        "durable-10k",
        "durable, RECEIPT and ACK, 10 kB",
        "stream",
        settings={"body": 10_000, "window": 256, **RECEIPT_AND_ACK},
        ceiling=False,
    ),
    Row(
        "durable-1m",
        "durable, RECEIPT and ACK, 1 MB",
        "stream",
        settings={"body": 1_000_000, "window": 8, **RECEIPT_AND_ACK},
        ceiling=False,
    ),
    Row(
        "selector",
        "selector, 1 % of a durable backlog",
        "selector",
        settings={"every": 100, "window": 10},
        ceiling=False,
    ),
    Row(
        "durable-topic",
        "durable topic, 1 to 100",
        "durable-topic",
        "deliveries",
        {"consumers": 100, "window": 200, "ack": "client-individual"},
    ),
    Row(
        "schedule",
        "scheduled, all due at once",
        "schedule",
        "deliveries",
        {"window": 256, "ack": "client-individual"},
        ceiling=False,
    ),
    Row("queues", "10,000 queues in use", "queues", settings={"queues": 10_000}),
    Row("held", "connections held", "held", "connections", ceiling=False),
    Row(
        "link",
        "link to a peer, 50 ms round trip",
        "link",
        settings={"round_trip": 0.05},
        ceiling=False,
    ),
    remote("rpc-one", "one at a time", "threads", flight=1),
    remote("rpc", "64 threads", "threads"),
    remote("rpc-submit", "submit, 64 in flight", "submit"),
    remote("rpc-map", "map, in batches", "map"),
    remote("rpc-aio", "asyncio, 64 in flight", "aio"),
    remote("rpc-tx", "Twisted, 64 in flight", "tx"),
    remote("rpc-stream", "items of a stream", "stream", "items"),
)

#: A few seconds that show what matters: the demonstration.
QUICK = ("reqrep", "one", "durable", "plain")


def select(names: list[str]) -> list[Row]:
    """Return the rows of these names, in the order of the table.

    Raises `KeyError` with the first name that no row has.
    """
    known = {row.name for row in ROWS}
    for name in names:
        if name not in known:
            raise KeyError(name)
    return [row for row in ROWS if row.name in names]
