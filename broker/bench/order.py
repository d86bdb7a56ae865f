"""What a load generator is to measure, and one load from connecting to disconnecting."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

from broker.bench.checks import MeasurementError
from broker.bench.timing import Load, Result, Tell, drive
from broker.bench.wire import Address, Loop


class Order:
    """What is to be measured, as it came from the parent."""

    def __init__(self, fields: dict[str, Any], tell: Tell) -> None:
        self.address = Address(**fields["address"])
        self.url: str = fields["url"]
        self.kind: str = fields["kind"]
        self.parts: list[str] = fields["parts"]  # names of the results
        self.settings: dict[str, Any] = fields["settings"]
        self.prefix: str = fields["prefix"]  # for names of queues that no other measurement uses
        self.warmup: float = fields["warmup"]  # seconds
        self.seconds: float = fields["seconds"]
        self.backlog: int = fields["backlog"]  # messages
        self.tell = tell

    def destination(self, kind: str, name: str = "") -> str:
        """Return a destination of our own."""
        return f"/{kind}/{self.prefix}{name}"


AnyLoad = TypeVar("AnyLoad", bound=Load)


def measure(
    order: Order,
    result: Result,
    build: Callable[[Loop], AnyLoad],
    warmup: float = 0.0,
    seconds: float | None = None,
    begin_at: float = 0.0,
) -> AnyLoad:
    """Run one load from connecting to disconnecting. Raises `MeasurementError`.

    The clock runs after `warmup` seconds, and not before `begin_at` (`time.perf_counter`), for `seconds`;
    None: until nothing is missing.
    """
    loop = Loop()
    try:
        load = build(loop)
        warmup = max(warmup, begin_at - time.perf_counter())
        drive(loop, load, result, order.address.pids, order.tell, warmup, seconds)
        loop.close()
    except MeasurementError:
        loop.abandon()
        raise
    return load
