"""A link between two brokers, over a long way: what waits for a peer is carried to it.

Two fresh brokers, and between them a process that lets every byte take half of the round trip. The messages wait at the
one before the clock begins; it stops when the other has them all. Then they are drained there: each must have come
once, in order.
"""

from __future__ import annotations

import contextlib
import time
from functools import partial
from pathlib import Path
from typing import Any

import rpc
from broker.bench.checks import MeasurementError, Unsupported
from broker.bench.order import Order, measure
from broker.bench.process import memory
from broker.bench.stream import Consumer, Drain, Stream, Traffic
from broker.bench.targets import PORT, Fresh, Started, TargetError
from broker.bench.timing import PATIENCE, Result, Stopwatch
from broker.bench.wire import subscription
from rpc.errors import RpcError

LOOK_EVERY = 0.05  # seconds
ANSWERS_WITHIN = 3.0  # seconds: the broker that is measured says who it is
SECRET = "benchmark"  # noqa: S105  # of two brokers that live for seconds


class Linked(Fresh):
    """A broker with a name and one peer."""

    def __init__(self, name: str, peer: str, url: str = "") -> None:
        """`url`: where the peer is; empty: it dials us."""
        super().__init__(name)
        self._config = f'name = "{name}"\n[peer.{peer}]\nurl = "{url}"\npasscode = "{SECRET}"\nwindow = 10000\n'

    def arguments(self, directory: Path) -> list[str]:
        """Return the command line of `hoofbeat run`."""
        config = directory / "hoofbeat.toml"
        config.write_text(self._config)
        return [*super().arguments(directory), "--config", str(config)]


class LongWay(Started):
    """The process between them."""

    module = "broker.bench.far"
    says = PORT

    def __init__(self, port: int, seconds: float) -> None:
        """Each byte takes so many seconds to the port, and as many back."""
        super().__init__("the way")
        self._words = [str(port), str(seconds)]

    def arguments(self, directory: Path) -> list[str]:
        """Return where it leads and how long it takes."""
        return self._words


def carry(order: Order, result: Result) -> None:
    """Measure how fast a backlog crosses a link. Raises `MeasurementError`."""
    check_ability(order)
    try:
        with contextlib.ExitStack() as stack:
            far = stack.enter_context(Linked("far", "near"))
            way = LongWay(far.address.port, order.settings["round_trip"] / 2)
            stack.enter_context(way)
            near = stack.enter_context(Linked("near", "far", way.url))
            cross(order, near, far, result)
    except (TargetError, RpcError) as error:
        raise MeasurementError(str(error)) from error


def cross(order: Order, near: Linked, far: Linked, result: Result) -> None:
    """Let a backlog cross from the one to the other."""
    address = order.address
    with (
        rpc.Client(near.url, service="broker") as here,
        rpc.Client(far.url, service="broker") as there,
    ):
        await_link(there)
        here.call("pause_peer", "far")
        order.address = near.address
        waits = Traffic("/peer/far/queue/x", durable=True, receipts=True, consumers=0)
        total = order.backlog
        measure(order, Result(""), lambda loop: Stream(loop, near.address, waits, total))
        watch = Stopwatch([*near.address.pids, *far.address.pids])
        here.call("resume_peer", "far")
        await_all(there, total, order)
        result.operations = total
        watch.stop(result)
    sizes = [memory(pid)["anonymous"] / 1e6 for pid in (*near.address.pids, *far.address.pids)]
    result.note = f"{sizes[0]:.0f} + {sizes[1]:.0f} MB"
    order.address = far.address
    headers = subscription("/queue/x")
    taker = partial(Consumer, traffic=Traffic("/queue/x"))
    measure(order, Result(""), lambda loop: Drain(loop, far.address, total, headers, taker))
    order.address = address


def check_ability(order: Order) -> None:
    """Ask the broker who it is. Raises `Unsupported` unless it is a hoofbeat."""
    try:
        with rpc.Client(order.url, service="broker") as broker:
            broker.options(timeout=ANSWERS_WITHIN).call("info")
    except RpcError as error:
        raise Unsupported("only hoofbeat has peers") from error


def await_link(broker: rpc.Client) -> None:
    """Wait until the peer has dialled."""
    end = time.monotonic() + PATIENCE
    while not peer_of(broker)["linked"]:
        if time.monotonic() > end:
            raise MeasurementError("there is no link")
        time.sleep(LOOK_EVERY)


def await_all(broker: rpc.Client, total: int, order: Order) -> None:
    """Wait until so many messages have come."""
    before, end = 0, time.monotonic() + PATIENCE
    while (came := int(peer_of(broker)["came"])) < total:
        if came > before:
            before, end = came, time.monotonic() + PATIENCE
            order.tell(came)
        if time.monotonic() > end:
            raise MeasurementError(f"{total - came} messages did not come")
        time.sleep(LOOK_EVERY)


def peer_of(broker: rpc.Client) -> dict[str, Any]:
    """Return how the one peer fares."""
    [peer] = broker.call("peers")
    return dict(peer)
