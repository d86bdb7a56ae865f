"""Methods that only look: what destinations, connections and subscriptions there are, and what the broker is.

Each returns objects of JSON. Moments are milliseconds since 1970, as in the headers of messages; sizes are bytes.
"""

from __future__ import annotations

from dataclasses import Field
from typing import Any

from broker import __version__
from broker.admin.asking import Asking
from broker.admin.errand import turn
from broker.admin.faults import wrong
from broker.admin.finding import all_queues, all_topics, find_queue, find_topic, meant
from broker.admin.outside import House
from broker.client import Client
from broker.consumer import Consumer
from broker.core.durable.queue import DurableQueue
from broker.core.names import QUEUE, TEMP_QUEUE, TEMP_TOPIC, TOPIC, split
from broker.core.pattern import compile_pattern
from broker.core.queue import Queue
from broker.core.temporary import TempQueue, TempTopic
from broker.core.topic import Topic, TopicQueue
from broker.options import FIELDS
from broker.watch.presence import Counts, in_flight
from broker.watch.statistics import counted

NOT_SHOWN = "(not shown)"

SERVICE, REPLIES = "rpc.", "rpc.reply."  # begin the names of queues

Object = dict[str, Any]


class Inspection:
    """Looks."""

    def __init__(self, house: House, asking: Asking) -> None:
        self._asking = asking
        self._house = house
        self._broker = house.broker

    # Destinations.

    async def queues(self, pattern: str = ">", temporary: bool = False) -> list[Object]:
        """List the queues whose names a pattern means, by name; or the temporary ones."""
        prefix, asker = TEMP_QUEUE if temporary else QUEUE, self._asking.asker
        found = []
        for queue in meant(pattern, prefix, all_queues(self._broker, temporary)):
            await turn()
            if asker.may_look(queue.destination):
                found.append(self._of_queue(queue))
        return found

    async def queue(self, name: str) -> Object:
        """Tell about one queue, its consumers included."""
        check = self._asking.asker.check_administer
        queue = find_queue(self._broker, name, check, "name")
        return self._of_queue(queue) | {
            "subscriptions": await self.subscriptions(queue.destination)
        }

    async def topics(self, pattern: str = ">", temporary: bool = False) -> list[Object]:
        """List the topics whose names a pattern means, by name; or the temporary ones."""
        prefix, asker = TEMP_TOPIC if temporary else TOPIC, self._asking.asker
        found = []
        for topic in meant(pattern, prefix, all_topics(self._broker, temporary)):
            await turn()
            if asker.may_look(topic.destination):
                found.append(self._of_topic(topic))
        return found

    async def topic(self, name: str) -> Object:
        """Tell about one topic, its subscribers and durable subscriptions included."""
        check = self._asking.asker.check_administer
        topic = find_topic(self._broker, name, check, "name")
        durables = [each for each in self._broker.durables.list() if each.name == topic.name]
        return self._of_topic(topic) | {
            "subscriptions": await self.subscriptions(topic.destination),
            "durable_subscriptions": [self._of_durable(each) for each in durables],
        }

    async def services(self) -> list[Object]:
        """List the remote-call services: those with workers, or with calls that wait for one."""
        found: list[Object] = [
            {"name": "broker", "workers": 1, "waiting": 0, "in_flight": 0, "enqueued": 0}
        ]
        for queue in meant(SERVICE + ">", QUEUE, all_queues(self._broker, temporary=False)):
            await turn()
            if queue.name.startswith(REPLIES):
                continue
            found.append(
                {
                    "name": queue.name.removeprefix(SERVICE),
                    "workers": len(queue.subscriptions),
                    "waiting": queue.waiting,
                    "in_flight": in_flight(queue),
                    "enqueued": queue.enqueued,
                }
            )
        return found

    def _of_queue(self, queue: Queue) -> Object:
        counts = counted(Counts.of([queue]))
        return {
            "name": queue.name,
            "destination": queue.destination,
            "temporary": isinstance(queue, TempQueue),
            "waiting": queue.waiting,
            "in_flight": counts["inflightCount"],
            "consumers": len(queue.subscriptions),
            "enqueued": queue.enqueued,
            "dequeued": counts["dequeueCount"],
            "expired": queue.expired,
            "dropped": queue.dropped,
            "memory": queue.charged,
            "dead_letters": self._broker.routes.policies.are_dead_letters(queue.name),
            "full": queue.full,
        }

    def _of_topic(self, topic: Topic) -> Object:
        durables = [each for each in self._broker.durables.list() if each.name == topic.name]
        return {
            "name": topic.name,
            "destination": topic.destination,
            "temporary": isinstance(topic, TempTopic),
            "consumers": self._house.presence.consumers_of(topic),
            "durable_subscriptions": len(durables),
            "enqueued": topic.enqueued,
        }

    # Who is there.

    async def connections(self) -> list[Object]:
        """List the connections, in the order they came."""
        counts: dict[Client, int] = {}
        for consumer in self._house.presence.consumers.values():
            counts[consumer.client] = counts.get(consumer.client, 0) + 1
        addresses = self._house.addresses()
        found = []
        for client in [*self._house.presence.clients]:
            await turn()
            found.append(self._of_client(client, addresses.get(client.session, ""), counts))
        return found

    async def connection(self, id: str) -> Object:
        """Tell about one connection, its subscriptions included."""
        client = self._client(id)
        own = [each for each in self._consumers() if each.client is client]
        address = self._house.addresses().get(id, "")
        return self._of_client(client, address, {client: len(own)}) | {
            "subscriptions": [self._of_consumer(each) for each in own],
            "temporary_destinations": [each.destination for each in client.temporaries.values()],
            "transactions": [*client.transactions],
        }

    async def subscriptions(self, destination: str | None = None) -> list[Object]:
        """List the subscriptions, or those that name a destination or have it among those of a pattern."""
        asker = self._asking.asker
        wanted = None if destination is None else destination_of(destination.strip())
        found = []
        for consumer in self._consumers():
            await turn()
            is_wanted = wanted is None or self._takes_from(consumer, wanted)
            if is_wanted and all(map(asker.may_administer, consumer.wish.elements)):
                found.append(self._of_consumer(consumer))
        return found

    async def durable_subscriptions(self) -> list[Object]:
        """List the durable subscriptions to topics, also of those who are away."""
        asker = self._asking.asker
        found = []
        for queue in self._broker.durables.list():
            await turn()
            if asker.may_administer(queue.destination):
                found.append(self._of_durable(queue))
        return found

    def _client(self, id: str) -> Client:
        found = next((each for each in self._house.presence.clients if each.session == id), None)
        if found is None:
            raise wrong("id", f"there is no connection {id!r}")
        return found

    def _consumers(self) -> list[Consumer]:
        return [*self._house.presence.consumers.values()]

    def _takes_from(self, consumer: Consumer, destination: str) -> bool:
        kind, name = split(destination)
        for element in consumer.wish.elements:
            prefix, pattern = split(element)
            if prefix == kind and (pattern == name or compile_pattern(pattern)(name)):
                return True
        return False

    def _of_client(self, client: Client, address: str, counts: dict[Client, int]) -> Object:
        return {
            "id": client.session,
            "address": address,
            "login": client.login,
            "client_id": client.client_id,
            "version": client.version,
            "subscriptions": counts.get(client, 0),
            "temporaries": len(client.temporaries),
            "open_transactions": len(client.transactions),
        }

    def _of_consumer(self, consumer: Consumer) -> Object:
        wish, subscription = consumer.wish, consumer.subscription
        queue = subscription.queue
        return {
            "connection": consumer.client.session,
            "id": consumer.id,
            "destinations": [*wish.elements],
            "ack": wish.mode,
            "prefetch": wish.prefetch or None,
            "in_flight": len(subscription.in_flight),
            "waiting": queue.waiting if isinstance(queue, TopicQueue) else None,
            "selector": wish.selector or None,
            "priority": wish.rank,
            "exclusive": wish.exclusive,
            "browser": wish.browse,
            "durable_name": wish.durable_name or None,
        }

    def _of_durable(self, queue: DurableQueue) -> Object:
        what = queue.what
        return {
            "client_id": what.client_id,
            "name": what.name,
            "topic": what.topic,
            "selector": what.selector or None,
            "shared": what.shared,
            "online": bool(queue.subscriptions),
            "consumers": len(queue.subscriptions),
            "waiting": queue.waiting,
            "in_flight": in_flight(queue),
            "created": what.created,
            "left": queue.left or None,
        }

    # The broker.

    async def info(self) -> Object:
        """Tell what this broker is, how full it is, and how much it has done since the start or the last reset."""
        house, broker = self._house, self._broker
        numbers = house.statistics.of_broker()
        return {
            "product": "hoofbeat",
            "version": __version__,
            "node": house.presence.name,
            "run": house.presence.id,
            "virtual_host": house.options.virtual_host or None,
            "url": house.presence.url,
            "started": house.started,
            "uptime": (broker.now - house.started) / 1000,
            "store": house.options.store_url,
            "store_used": numbers["storeUsage"],
            "store_limit": numbers["storeLimit"],
            "store_room": numbers["storeRoom"],
            "memory_used": numbers["memoryUsage"],
            "memory_limit": numbers["memoryLimit"],
            "connections": len(house.presence.clients),
            "subscriptions": len(house.presence.consumers),
            "durable_subscriptions": len(broker.durables.list()),
            "queues": len(broker.routes.queues),
            "topics": len(broker.routes.topics),
            "temporaries": len(broker.routes.temporaries()),
            "scheduled": broker.schedule.pending,
            "waiting": sum(queue.waiting for queue in broker.routes.queues.values()),
            "in_flight": numbers["inflightCount"],
            "enqueued": numbers["enqueueCount"],
            "dequeued": numbers["dequeueCount"],
            "expired": numbers["expiredCount"],
        }

    async def settings(self) -> Object:
        """Tell every setting: its value, its default, its unit and its reason."""
        options = self._house.options
        return {
            name: {
                "value": shown(getattr(options, name), field),
                "default": field.default,
                "unit": field.metadata["unit"],
                "reason": field.metadata["reason"],
            }
            for name, field in FIELDS.items()
        } | {
            "destination": [{"pattern": name, **changes} for name, changes in options.policies],
            "composite": [
                {
                    "destination": rule.destination,
                    "forward_to": [*rule.forward_to],
                    "forward_only": rule.forward_only,
                    "filters": {**rule.filters},
                }
                for rule in options.composites
            ],
            "listener": [
                {
                    "host": each.host,
                    "port": each.port,
                    "protocol": each.protocol,
                    "dialect": each.dialect,
                }
                for each in options.listeners
            ],
            "peer": [
                {"name": peer.name, "url": peer.url, "send": peer.send, "accept": peer.accept}
                for peer in options.peers
            ],
            "virtual_host": [
                {"name": name, "names": host.names, "people": host.people, "store": host.store_url}
                for name, host in options.hosts.items()
            ],
        }


def shown(value: Any, field: Field[Any]) -> Any:
    """Return the value of a setting, but no passcodes."""
    return NOT_SHOWN if field.metadata["secret"] and value != field.default else value


def destination_of(text: str) -> str:
    """Return a destination as everybody knows it; a bare name is that of a queue."""
    return text if text.startswith("/") else QUEUE + text
