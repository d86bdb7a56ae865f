"""What destinations at other brokers are called, and which of them may be used."""

from __future__ import annotations

from collections.abc import Callable

from broker.core.names import (
    PEER,
    QUEUE,
    TEMP_QUEUE,
    TEMP_TOPIC,
    TOPIC,
    check_name,
    elements_of,
    split,
)
from broker.core.pattern import compile_pattern, is_pattern
from broker.errors import Refusal
from broker.reporting import REPORT_ID, REPORT_TO, REPORTS

#: Headers between brokers; no client can write them.
TARGET = "peer-to"  # where a message goes at the next broker
VIA = "peer-via"  # the brokers it came through, oldest first, by name
LINK_HEADERS = frozenset((TARGET, VIA, REPORT_TO, REPORT_ID))

SERVICE = "rpc.broker"  # the broker's own methods: for a peer only if they are named
MOST_HOPS = 16  # brokers that a message may come through

KINDS = (QUEUE, TOPIC, TEMP_QUEUE, TEMP_TOPIC, PEER)


def read_address(destination: str) -> tuple[str, str]:
    """Return the peer's name and the destination there of `/peer/NAME/DESTINATION`. Raises `Refusal`."""
    name, slash, rest = destination.removeprefix(PEER).partition("/")
    target = slash + rest
    kind, there = split(target)
    if not name or kind not in KINDS or not target.startswith(kind):
        raise Refusal(
            f"Illegal destination name: [{destination}]",
            "A destination at another broker reads /peer/NAME/queue/NAME or /peer/NAME/topic/NAME.",
        )
    check_name(there)
    if is_pattern(there):
        raise Refusal(
            f"Illegal destination name: [{destination}]",
            "Wildcards are for SUBSCRIBE; a SEND names its destination, or several with commas.",
        )
    return name, target


def is_report(target: str) -> bool:
    """Tell whether a message is a report on its way home: it may always pass."""
    return target == REPORTS or (target.startswith(PEER) and target.endswith(REPORTS))


def way_back(reply_to: str, name: str) -> str:
    """Return a reply-to that came from a peer as it reads here: the same destinations, at the peer."""
    if not reply_to.strip():
        return reply_to
    return ",".join(f"{PEER}{name}{element}" for element in elements_of(reply_to))


def make_test(patterns: str) -> Callable[[str], bool]:
    """Return what tells whether a destination is among those of a list of patterns, with commas between them.

    A pattern may begin with `/queue/`, `/topic/` or `/peer/`, and then means only these.
    """
    tests = []
    for text in filter(None, (each.strip() for each in patterns.split(","))):
        kind = next((each for each in (QUEUE, TOPIC, PEER) if text.startswith(each)), "")
        tests.append((kind, text.removeprefix(kind), compile_pattern(text.removeprefix(kind))))

    def matches(destination: str) -> bool:
        kind, name = split(destination)
        return any(
            of in ("", kind) and means(name) and (name != SERVICE or pattern == SERVICE)
            for of, pattern, means in tests
        )

    return matches
