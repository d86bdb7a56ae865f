"""Telling of every message that a queue gets, and of every one that is consumed.

Only where a policy asks for it (`advise_delivered`, `advise_consumed`): such a queue gets methods of its own
when it is made, so that others pay nothing, not even a question. As in ActiveMQ a message is *delivered* when
its destination has it, and *consumed* when it is gone for good: acknowledged, sent with `ack:auto`, refused or
expired. Each costs an `Event`, and a message if somebody watches.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.core.event import Event
from broker.core.message import Message

if TYPE_CHECKING:
    from collections.abc import Callable

    from broker.core.queue import Queue
    from broker.core.subscription import Subscription

DELIVERED, CONSUMED = "MessageDelivered", "MessageConsumed"


def advise(queue: Queue) -> None:
    """Let a queue tell of its messages, as its policy asks."""
    if queue.policy.advise_consumed:
        _tell_of_consumed(queue)
    # What is sent to a topic is told once, by the topic.
    if queue.policy.advise_delivered and not queue.destination.startswith("/topic/"):
        ways = {"put": queue.put, "put_when_stored": queue.put_when_stored}
        vars(queue).update({name: _telling(queue, put) for name, put in ways.items()})


def _telling(queue: Queue, put_silently: Callable[[Message], None]) -> Callable[[Message], None]:
    def put(message: Message) -> None:
        queue.broker.tell(Event(DELIVERED, queue, message))
        put_silently(message)

    return put


def _tell_of_consumed(queue: Queue) -> None:
    done_silently, postpone_silently, join_silently = queue.done, queue.postpone, queue.join
    told: Message | None = None  # that it is done: `deliver` follows, or nothing
    silent = False

    def done(message: Message) -> None:
        nonlocal told
        done_silently(message)
        if not silent:
            told = message
            queue.broker.tell(Event(CONSUMED, queue, message))

    def postpone(message: Message, due: int) -> None:
        nonlocal silent
        silent = True  # it comes again
        try:
            postpone_silently(message, due)
        finally:
            silent = False

    def join(subscription: Subscription) -> None:
        if subscription.auto:
            deliver_silently = subscription.deliver

            def deliver(message: Message) -> str:
                key = deliver_silently(message)
                if message is not told:
                    queue.broker.tell(Event(CONSUMED, queue, message))
                return key

            subscription.deliver = deliver
        join_silently(subscription)

    vars(queue).update(done=done, postpone=postpone, join=join)
