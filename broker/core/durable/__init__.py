"""Durable topic subscriptions by client-id and name: made, found, ended, and kept across restarts.

What one is, is in `broker.core.durable.queue`; where its messages lie, in `broker.core.durable.log`; what is stored of it
beside them, in `broker.core.durable.progress`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from broker.core.durable.log import STORED_AS, Log
from broker.core.durable.progress import COUNT, Progress, What, log_key, number_of, progress_key
from broker.core.durable.queue import DurableQueue
from broker.core.names import TOPIC, check_name
from broker.core.subscription import Wants
from broker.errors import Refusal

if TYPE_CHECKING:
    from broker.core.broker import Broker
    from broker.core.policy import Policies

NAME_BYTES = 1000  # of a client-id or a subscription's name, in UTF-8


class Durables:
    """All durable subscriptions."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.changed: dict[Log, None] = {}  # somebody may have come further in these
        self._logs: dict[str, Log] = {}  # by topic or pattern
        self._queues: dict[tuple[str, str], DurableQueue] = {}  # by client-id and name
        self._next_number = 1

    def __len__(self) -> int:
        return len(self._queues)

    def load(self, marks: Mapping[bytes, bytes], hidden: Mapping[str, Mapping[int, int]]) -> None:
        """Take over what the store holds; `hidden` queues have names, and records of each priority.

        Raises `UnknownFormat`.
        """
        for stored_as, lanes in hidden.items():
            if stored_as.startswith(STORED_AS):
                number = self.broker.routes.hidden(stored_as)
                deleted = COUNT.unpack(marks.get(log_key(number), bytes(COUNT.size)))[0]
                name = stored_as.removeprefix(STORED_AS)
                self._logs[name] = Log(self, name, sum(lanes.values()), deleted)
        for key, mark in marks.items():
            own = number_of(key)
            if own is not None:
                what = What.decode(mark)
                progress = Progress.decode(marks[progress_key(own)])
                wants = self._filter(what.selector, what.topic)
                self._add(self._log(what.topic), own, what, progress, wants)
        for log in self._logs.values():
            log.settle()

    def subscribe(
        self,
        client_id: str,
        name: str,
        topic_name: str,
        selector: str,
        no_local: bool,
        shared: bool,
    ) -> DurableQueue:
        """Return the queue of a durable subscription, that was there or is made, for a consumer to join.

        `topic_name` may be a pattern. As in JMS, one that is there for another topic or selector is replaced,
        and what it held is lost; with a consumer it is not to be had, unless it is `shared`. Raises `Refusal`.
        """
        for text in (client_id, name):
            if len(text.encode()) > NAME_BYTES:
                raise Refusal(
                    "The name of a durable subscription is too long",
                    f"client-id and name have at most {NAME_BYTES} bytes each.",
                )
        check_name(topic_name)
        selector = selector.strip()
        queue = self._queues.get((client_id, name))
        if queue is not None:
            there = queue.what
            same = there[2:5] == (topic_name, selector, no_local)
            if queue.subscriptions and not (same and shared and there.shared):
                raise Refusal(
                    f"Durable consumer is in use for client: {client_id} and subscriptionName: {name}",
                    "One consumer at a time: end the other, or use another name.",
                )
            if same:
                if there.shared != shared:
                    queue.describe(there._replace(shared=shared))
                return queue
        wants = self._filter(selector, topic_name)
        if queue is not None:
            self.remove(queue)
        else:
            self.broker.routes.check_room()
        log, now = self._log(topic_name), self.broker.now
        what = What(client_id, name, topic_name, selector, no_local, shared, now)
        progress = Progress(log.last, log.count, now, {})
        queue = self._add(log, self._next_number, what, progress, wants)
        queue.describe(what)
        return queue

    def get(self, client_id: str, name: str) -> DurableQueue | None:
        """Return the queue of a durable subscription, None if there is none."""
        return self._queues.get((client_id, name))

    def unsubscribe(self, client_id: str, name: str) -> None:
        """End a durable subscription, and forget what it held. Raises `Refusal`."""
        queue = self._queues.get((client_id, name))
        if queue is None:
            raise Refusal(
                f"No durable subscription exists for clientID: {client_id} and subscriptionName: {name}",
                "The client-id of CONNECT and the name must be those of the SUBSCRIBE.",
            )
        if queue.subscriptions:
            raise Refusal(
                "Durable consumer is in use",
                "First end the consumer, with an UNSUBSCRIBE that names only its id.",
            )
        self.remove(queue)

    def remove(self, queue: DurableQueue) -> None:
        """End a durable subscription that has no consumer."""
        del self._queues[queue.what.client_id, queue.what.name]
        queue.remove()
        if not queue.log.used:
            queue.log.close()

    def follow(self, policies: Policies) -> None:
        """Other policies hold from now on."""
        for name, log in self._logs.items():
            log.follow(policies.for_topic(name))

    def list(self) -> Sequence[DurableQueue]:
        """Return all of them."""
        return [*self._queues.values()]

    def consumers_of(self, topic_name: str) -> int:
        """Return how many consumers the durable subscriptions of a topic, or to this pattern, have."""
        log = self._logs.get(topic_name)
        return 0 if log is None else sum(len(queue.subscriptions) for queue in log.awake)

    def before_write(self) -> None:
        """Find out what nobody needs any more: once a batch, before the journal is taken."""
        changed, self.changed = self.changed, {}
        for log in changed:
            log.settle()

    def sweep(self, now: int) -> None:
        """Give up what has expired, and who has been away for too long. `now` in ms since 1970."""
        for queue in self.list():
            queue.expire()
            if queue.is_forgotten(now):
                self.remove(queue)

    def forget(self, log: Log) -> None:
        """A log is no more."""
        del self._logs[log.name]

    def _filter(self, selector: str, topic_name: str) -> Wants | None:
        if not selector:
            return None
        return self.broker.outside.make_filter(selector, TOPIC + topic_name)

    def _log(self, name: str) -> Log:
        log = self._logs.get(name)
        if log is None:
            log = self._logs[name] = Log(self, name)
        return log

    def _add(
        self, log: Log, number: int, what: What, progress: Progress, wants: Wants | None
    ) -> DurableQueue:
        if not log.used:
            log.open()
        self._next_number = max(self._next_number, number + 1)
        queue = DurableQueue(log, number, what, progress, wants)
        self._queues[what.client_id, what.name] = queue
        return queue
