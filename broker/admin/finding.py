"""What a name means that a caller gives: a queue, a topic, a filter. Raises the errors that its caller gets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from broker.admin.faults import in_words, wrong
from broker.core.broker import Broker
from broker.core.fanout import Route, Service
from broker.core.names import QUEUE, TOPIC, check_name, split
from broker.core.pattern import compile_pattern, is_pattern
from broker.core.queue import Queue
from broker.core.subscription import Wants
from broker.core.temporary import TempQueue, TempTopic
from broker.core.topic import Topic
from broker.errors import Refusal
from rpc.errors import InvalidParams

Made = TypeVar("Made", bound=Queue | Topic)


def all_queues(broker: Broker, temporary: bool) -> list[Queue]:
    """Return every queue, or every temporary one."""
    if temporary:
        return [each for each in broker.routes.temporaries() if isinstance(each, TempQueue)]
    return [*broker.routes.queues.values()]


def all_topics(broker: Broker, temporary: bool) -> list[Topic]:
    """Return every topic, or every temporary one."""
    if temporary:
        return [each for each in broker.routes.temporaries() if isinstance(each, TempTopic)]
    return [*broker.routes.topics.values()]


def meant(pattern: str, prefix: str, there: list[Made]) -> list[Made]:
    """Return those whose names a pattern means, in order of their names."""
    name = pattern.removeprefix(prefix)
    if is_pattern(name):
        matches = compile_pattern(name)
        return sorted((each for each in there if matches(each.name)), key=lambda each: each.name)
    return [each for each in there if each.name == name]


def find_queue(
    broker: Broker, text: str, check: Callable[[str], None], argument: str = "queue"
) -> Queue:
    """Return the queue of a name or destination; of a temporary one, the destination that others see.

    `/peer/NAME` is what waits for another broker. `check` raises `NotAuthorized` for a destination that is not for
    the caller to find, be it there or not.
    """
    others = [*all_queues(broker, True), *broker.routes.apart.values()]
    return _find(text, check, argument, QUEUE, broker.routes.queues, others, "queue")


def find_topic(
    broker: Broker, text: str, check: Callable[[str], None], argument: str = "topic"
) -> Topic:
    """Return the topic of a name or destination; of a temporary one, the destination that others see.

    For `check` see `find_queue`.
    """
    others = all_topics(broker, True)
    return _find(text, check, argument, TOPIC, broker.routes.topics, others, "topic")


def _find(
    text: str,
    check: Callable[[str], None],
    argument: str,
    prefix: str,
    named: Mapping[str, Made],
    temporary: list[Made],
    kind: str,
) -> Made:
    name = text.strip().removeprefix(prefix)
    found = named.get(name)
    if found is None:
        found = next((each for each in temporary if each.destination == name), None)
    check(prefix + name if found is None else found.destination)
    if found is None:
        raise wrong(argument, f"there is no {kind} {text!r}")
    return found


def find_target(broker: Broker, text: str, argument: str) -> Route:
    """Return the queue or topic to which messages are to go, made if it is not there; or one at a peer."""
    prefix, name = split(text.strip())
    destination = prefix + name
    try:
        if prefix in (QUEUE, TOPIC):
            check_name(name)
            if is_pattern(name) or "," in name:
                raise wrong(argument, f"one queue or topic, not {text!r}")
        for service, find in broker.routes.services.items():
            if destination.startswith(service) and (route := find(destination)) is not None:
                if not isinstance(route, Service):
                    return route
                text = f"{destination} answers what is sent there, and keeps nothing"
                raise wrong(argument, text)
        return broker.routes.source(destination)
    except Refusal as error:
        raise wrong(argument, in_words(error)) from None


def make_filter(broker: Broker, selector: str | None, destination: str) -> Wants | None:
    """Return what tells whether a message matches a selector; None if there is none."""
    if selector is None or not selector.strip():
        return None
    try:
        return broker.outside.make_filter(selector, destination)
    except Refusal as error:
        raise wrong("selector", in_words(error)) from None


def check_range(argument: str, value: int | None, least: int, most: int) -> None:
    """Raise `InvalidParams` unless a number lies between two."""
    if value is not None and not least <= value <= most:
        raise InvalidParams(
            f"{argument}: from {least} to {most}, not {value}", {"argument": argument}
        )
