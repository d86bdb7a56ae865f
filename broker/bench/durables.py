"""Durable subscriptions: one topic, many subscribers that must each get all, also what came while they were away.

Each is a connection with a client-id of its own and ActiveMQ's header for its name. Before anything is
measured one of them shows that it is durable; in the end all are removed, for a broker keeps messages for
a durable subscription as long as it exists.
"""

from __future__ import annotations

import contextlib

from broker.bench.checks import MeasurementError, Unsupported
from broker.bench.order import Order, measure
from broker.bench.stream import Consumer, Stream, Traffic
from broker.bench.timing import Result
from broker.bench.wire import Address, Link, subscription, words

NAME = {"activemq.subscriptionName": "bench"}
PATIENCE = 5.0  # seconds for a message that was sent while its subscriber was away


def durable_topic(order: Order, results: list[Result]) -> None:
    """Measure deliveries to durable subscriptions that are live, and acknowledge."""
    traffic = Traffic(order.destination("topic"), durable=True, **order.settings)
    if not order.address.copies:
        check_ability(order.address, order.destination("topic", ".asked"))

    def connect(load: Stream, address: Address, name: str, traffic: Traffic) -> Consumer:
        link = Link(address, name, client_id=f"{order.prefix}.{name}")
        link.ask("SUBSCRIBE", subscription(traffic.destination, traffic.ack) | NAME)
        return Consumer(load, link, traffic)

    try:
        measure(
            order,
            results[0],
            lambda loop: Stream(loop, order.address, traffic, connect=connect),
            order.warmup,
            order.seconds,
        )
    except MeasurementError:
        with contextlib.suppress(MeasurementError):  # the first one tells more
            remove(order, traffic.consumers)
        raise
    remove(order, traffic.consumers)


def remove(order: Order, subscriptions: int) -> None:
    """Remove the subscriptions, nobody being connected to them. Raises `MeasurementError`."""
    if not order.address.copies:
        for index in range(subscriptions):
            forget(order.address, f"{order.prefix}.consumer{index}")


def forget(address: Address, client_id: str) -> None:
    """Remove the subscription of one client. Raises `MeasurementError`."""
    link = Link(address, "", client_id=client_id)
    link.ask("UNSUBSCRIBE", {"id": "1"} | NAME)
    link.close()


def check_ability(address: Address, destination: str) -> None:
    """Ask with one message whether the broker keeps durable subscriptions. Raises `Unsupported` if not."""
    client_id = destination.rpartition("/")[2]
    headers = subscription(destination) | NAME
    link = Link(address, "", client_id=client_id)
    link.ask("SUBSCRIBE", headers)
    link.close()
    sender = Link(address, "")
    sender.ask("SEND", {"destination": destination, "persistent": "true"})
    sender.close()
    link = Link(address, "", client_id=client_id)
    link.say("SUBSCRIBE", headers)
    link.socket.settimeout(PATIENCE)
    try:
        answer = link.next_frame()
    except MeasurementError as error:
        link.abandon()
        raise Unsupported(
            f"a subscription is not durable: what was sent meanwhile did not come: {error}"
        ) from error
    if answer.command != "MESSAGE":
        link.abandon()
        raise Unsupported(f"a durable subscription was answered with {words(answer)}")
    link.close()
    forget(address, client_id)
