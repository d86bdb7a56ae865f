"""What destinations are called."""

from __future__ import annotations

import pytest

from broker.core.names import (
    ELEMENTS,
    elements_of,
    is_virtual,
    means_others,
    split,
    virtual_topic_of,
)
from broker.errors import Refusal


@pytest.mark.parametrize(
    ("destination", "prefix", "name"),
    [
        ("/queue/a", "/queue/", "a"),
        ("/topic/a/b", "/topic/", "a/b"),
        ("/temp-queue/a", "/temp-queue/", "a"),
        ("/remote-temp-topic/a-1", "/remote-temp-topic/", "a-1"),
        ("a", "/queue/", "a"),
        ("/a", "/queue/", "/a"),
        ("/Queue/a", "/queue/", "/Queue/a"),
        ("queue/a", "/queue/", "queue/a"),
        ("/queue//queue/a", "/queue/", "/queue/a"),
        ("/queue/", "/queue/", ""),
    ],
)
def test_prefix_and_name(destination: str, prefix: str, name: str) -> None:
    assert split(destination) == (prefix, name)


@pytest.mark.parametrize(
    ("destination", "elements"),
    [
        ("/queue/a", ["/queue/a"]),
        (" a ", ["/queue/a"]),
        ("/queue/a,b, /topic/c ", ["/queue/a", "/queue/b", "/topic/c"]),
        ("a,/queue/a,,a,", ["/queue/a"]),
        ("/queue/a b,/queue/ a", ["/queue/a b", "/queue/ a"]),
        (",".join(map(str, range(ELEMENTS))), [f"/queue/{n}" for n in range(ELEMENTS)]),
    ],
)
def test_what_stands_between_commas(destination: str, elements: list[str]) -> None:
    assert elements_of(destination) == elements


@pytest.mark.parametrize("destination", ["", " ", ",", " , ,", "," * ELEMENTS])
def test_nothing_is_no_destination_and_too_much_neither(destination: str) -> None:
    with pytest.raises(Refusal):
        elements_of(destination)


@pytest.mark.parametrize(
    ("destination", "others"),
    [
        ("/queue/a.*", True),
        ("/topic/>", True),
        ("a.>", True),
        ("/queue/a*", False),
        ("/queue/Consumer.a.VirtualTopic.>", False),
        ("/topic/Consumer.a.VirtualTopic.>", True),
        ("/queue/Consumer.*.VirtualTopic.a", True),
        ("/queue/Consumer.>", True),
        ("/queue/VirtualTopic.>", True),
        ("/remote-temp-queue/*", False),
    ],
)
def test_who_means_others(destination: str, others: bool) -> None:
    assert means_others(destination) is others


@pytest.mark.parametrize(
    ("queue", "topic"),
    [
        ("Consumer.a.VirtualTopic.x", "VirtualTopic.x"),
        ("Consumer.a.VirtualTopic.x.y.z", "VirtualTopic.x.y.z"),
        ("Consumer.a.VirtualTopic.>", "VirtualTopic.>"),
        ("Consumer.a.VirtualTopic", "VirtualTopic"),
        ("Consumer.a.VirtualTopics.x", ""),
        ("Consumer.a.b.VirtualTopic.x", ""),
        ("Consumer..VirtualTopic.x", ""),
        ("Consumer.VirtualTopic.x", ""),
        ("Consumer.*.VirtualTopic.x", ""),
        ("Consumer", ""),
        ("a.Consumer.a.VirtualTopic.x", ""),
    ],
)
def test_whose_queue_takes_from_which_virtual_topic(queue: str, topic: str) -> None:
    assert virtual_topic_of(queue) == topic


@pytest.mark.parametrize(
    ("topic", "virtual"),
    [("VirtualTopic.x", True), ("VirtualTopic", True), ("VirtualTopics.x", False), ("x", False)],
)
def test_which_topics_are_virtual(topic: str, virtual: bool) -> None:
    """As ActiveMQ's `VirtualTopic.>`, which means the parent too."""
    assert is_virtual(topic) is virtual
