"""The load generator: a process that makes one measurement and tells what it found.

It reads one JSON object, the order, from its standard input, writes JSON lines to its standard output
(`{"done": n}` while it works, then `{"results": […]}`), and ends when its input does. The garbage
collector is off: nothing in here makes cycles while the clock runs, and a collection would be measured
as the broker's latency.

    python -m broker.bench.generator
"""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from broker.bench.checks import MeasurementError, Unsupported
from broker.bench.durables import durable_topic
from broker.bench.held import hold
from broker.bench.linked import carry
from broker.bench.order import Order, measure
from broker.bench.queues import queues
from broker.bench.remote import call_remotely
from broker.bench.reqrep import RequestReply
from broker.bench.scheduling import schedule
from broker.bench.selecting import selector
from broker.bench.stream import Consumer, Drain, Stream, Traffic
from broker.bench.timing import Result
from broker.bench.wire import subscription


def reqrep(order: Order, results: list[Result]) -> None:
    """Measure request and reply."""
    measure(
        order,
        results[0],
        lambda loop: RequestReply(loop, order.address, order.prefix, **order.settings),
        order.warmup,
        order.seconds,
    )


def stream(order: Order, results: list[Result]) -> None:
    """Measure messages in one direction."""
    settings = dict(order.settings)
    destination = order.destination("topic" if settings.pop("topic", False) else "queue")
    traffic = Traffic(destination, **settings)
    measure(
        order,
        results[0],
        lambda loop: Stream(loop, order.address, traffic),
        order.warmup,
        order.seconds,
    )
    rate = results[0].rate * traffic.body / 1e6
    if traffic.body > 1000:
        results[0].note = f"{rate:,.0f} MB/s"


def fill(order: Order, results: list[Result], total: int | None = None) -> None:
    """Fill a queue, for some time or with `total` messages; then drain it."""
    traffic = Traffic(
        order.destination("queue"), durable=True, receipts=True, consumers=0, **order.settings
    )
    load = measure(
        order,
        results[0],
        lambda loop: Stream(loop, order.address, traffic, total),
        0.0 if total else order.warmup,
        None if total else order.seconds,
    )
    measure(
        order,
        results[1],
        lambda loop: Drain(
            loop,
            order.address,
            load.sent,
            subscription(traffic.destination, traffic.ack),
            partial(Consumer, traffic=traffic),
        ),
    )


def backlog(order: Order, results: list[Result]) -> None:
    """Fill a queue with a large backlog and drain it."""
    fill(order, results, order.backlog)


def held(order: Order, results: list[Result]) -> None:
    """Hold connections that do nothing."""
    count = order.settings["connections"]
    hold(order.address, count, results[0], order.tell, lambda: say({"open": count}))


def remote(order: Order, results: list[Result]) -> None:
    """Measure remote calls."""
    call_remotely(order, results[0])


def link(order: Order, results: list[Result]) -> None:
    """Measure a link between two brokers."""
    carry(order, results[0])


KINDS: dict[str, Callable[[Order, list[Result]], None]] = {
    "reqrep": reqrep,
    "stream": stream,
    "fill": fill,
    "backlog": backlog,
    "held": held,
    "rpc": remote,
    "selector": selector,
    "durable-topic": durable_topic,
    "schedule": schedule,
    "queues": queues,
    "link": link,
}


def say(message: dict[str, Any]) -> None:
    """Write one line to the parent."""
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Take an order, measure, tell."""
    order = Order(json.loads(sys.stdin.readline()), lambda done: say({"done": done}))
    results = [Result(name) for name in order.parts]
    gc.disable()
    try:
        KINDS[order.kind](order, results)
    except Unsupported as reason:
        for result in results:
            result.skipped = str(reason)
    except MeasurementError as failure:
        for result in results:
            if not result.operations:
                result.failure = str(failure)
        results[-1].failure = str(failure)
    say({"results": [result.as_json() for result in results]})


if __name__ == "__main__":
    main()
