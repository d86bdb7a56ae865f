"""SUBSCRIBE and UNSUBSCRIBE: what a client is subscribed to, from its first word to its last.

What it may ask for is in `broker.wish`, how that is granted in `broker.granting`. What is granted begins when
its RECEIPT has been said: no MESSAGE comes before it.
"""

from __future__ import annotations

from functools import partial

from broker.client import Client, check_id
from broker.consumer import Consumer
from broker.core.event import Event
from broker.core.later import Later
from broker.core.subscription import AUTO
from broker.errors import Full, Refusal
from broker.granting import Grant, Granting
from broker.stomp.frame import Frame
from broker.wish import Wish, read_durable, read_wish

#: Subscriptions of a connection that memory is never too short for: whoever comes back to consume makes room.
ENOUGH = 1000


class Subscriptions:
    """What one client is subscribed to."""

    def __init__(self, client: Client) -> None:
        self.consumers: dict[str, Consumer] = {}  # by number, hence in the order of SUBSCRIBE
        self._by_id: dict[str, Consumer] = {}
        self._unsaid: set[Consumer] = set()  # those whose RECEIPT waits for the disk
        self._client = client
        self._paused = False  # the client reads too slowly to be handed more
        self._granting = Granting(client)

    # What the client says.

    def subscribe(self, frame: Frame) -> None:
        """Do a SUBSCRIBE. Raises `Refusal`, having changed nothing."""
        headers, client = frame.headers, self._client
        id = headers.get("id")
        if id is None and client.version != "1.0":
            raise Refusal(
                "SUBSCRIBE received without a subscription id!",
                f"STOMP {client.version} needs a header id, unique on the connection.",
            )
        if id in self._by_id:
            raise Refusal(
                f"Duplicated subscription identifier: {id}",
                "Every subscription of a connection needs an id of its own.",
            )
        check_id(id or "", "id")
        most = client.options.max_subscriptions
        if len(self.consumers) >= most:
            raise Refusal(
                f"Too many subscriptions: a connection has {most} at most",
                "UNSUBSCRIBE one, take a wildcard for many destinations, or use another connection.",
            )
        if client.broker.memory_is_short and len(self.consumers) >= ENOUGH:
            raise Full(
                "The broker's memory is full",
                f"Until there is more a connection may have {ENOUGH} subscriptions, to consume what there is.",
            )
        grant = self._granting.grant(id, read_wish(headers, client))
        if grant.is_stored and "receipt" in headers:
            self._unsaid.add(grant.consumer)
            self._start(grant)
            client.promise_receipt(headers)
            Later(client.broker, partial(self._said, grant.consumer))
        else:
            client.say_receipt(headers)  # before the first MESSAGE
            self._start(grant)

    def subscribe_to_replies(self, name: str) -> None:
        """Subscribe the client to a temporary queue that it expects replies in, as RabbitMQ does."""
        if name not in self._by_id:
            queue = self._client.temporary(name)
            wish = Wish(destination=name, elements=[queue.destination], mode=AUTO)
            self._start(self._granting.grant(name, wish))

    def unsubscribe(self, frame: Frame) -> None:
        """Do an UNSUBSCRIBE. Raises `Refusal`."""
        headers, client = frame.headers, self._client
        id, destination = headers.get("id"), headers.get("destination")
        if self._end_durable(frame):
            return
        if id is None and client.version != "1.0":
            raise Refusal(
                "UNSUBSCRIBE received without a subscription id!",
                f"STOMP {client.version} needs the header id of the SUBSCRIBE.",
            )
        if id is None and destination is None:
            raise Refusal(
                "Must specify the subscriptionId or the destination you are unsubscribing from",
                "Repeat the header id or destination of the SUBSCRIBE.",
            )
        consumer = self._taking_from(destination) if id is None else self._by_id.get(id)
        if consumer is None:
            raise Refusal(
                "No subscription matched.",
                f"This connection has no subscription {id or destination}.",
            )
        self._end(consumer)
        client.say_receipt(headers)

    def _end_durable(self, frame: Frame) -> bool:
        """End a durable subscription if that is what an UNSUBSCRIBE names. Raises `Refusal`."""
        headers, client = frame.headers, self._client
        consumer = self._by_id.get(headers.get("id", ""))
        is_plain = consumer is not None and not consumer.wish.durable_name
        name, shared = read_durable(headers, topics=not is_plain)
        if not name:
            return False
        if shared and consumer is not None:  # RabbitMQ: one frame ends the consumer as well
            self._end(consumer)
        client_id = "" if shared else client.client_id or name
        queue = client.broker.durables.get(client_id, name)
        if queue is not None:  # whoever may read the topic could as well take all there is
            client.clearance.check_durable(queue.destination)
        client.broker.durables.unsubscribe(client_id, name)
        client.promise_receipt(headers)
        return True

    def _taking_from(self, destination: str | None) -> Consumer | None:
        """Return the first consumer of a destination: 1.0 need not have ids."""
        found = (c for c in self.consumers.values() if c.wish.destination == destination)
        return next(found, None)

    # What becomes of the link.

    def pause(self, paused: bool) -> None:
        """Hand over no more messages, or go on."""
        self._paused = paused
        for consumer in [*self.consumers.values()]:
            if paused:
                consumer.subscription.pause()
            elif consumer not in self._unsaid:
                consumer.subscription.resume()

    def stop(self) -> list[Consumer]:
        """Take no more messages; return who must be closed."""
        consumers = [*self.consumers.values()]
        self.consumers.clear()
        self._by_id.clear()
        for consumer in consumers:
            self._client.broker.routes.settle_down(consumer.subscription)
            consumer.subscription.stop()
            self._tell(consumer, gone=True)
        return consumers

    def _start(self, grant: Grant) -> None:
        consumer = grant.consumer
        self.consumers[consumer.number] = consumer
        if consumer.id is not None:
            self._by_id[consumer.id] = consumer
        consumer.subscription.paused = self._paused or consumer in self._unsaid
        grant.begin()
        self._tell(consumer)

    def _said(self, consumer: Consumer) -> None:
        """The RECEIPT is on its way: messages may follow."""
        self._unsaid.discard(consumer)
        if not self._paused:
            consumer.subscription.resume()

    def _end(self, consumer: Consumer) -> None:
        del self.consumers[consumer.number]
        if consumer.id is not None:
            del self._by_id[consumer.id]
        self._client.broker.routes.settle_down(consumer.subscription)
        consumer.subscription.close()
        self._tell(consumer, gone=True)

    def _tell(self, consumer: Consumer, gone: bool = False) -> None:
        self._client.broker.tell(Event("Consumer", consumer, gone=gone))
