"""What a topic keeps for those who come later: counted, bounded, given back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from broker.core import past as past_module
from broker.core.message import FORGET, RETAIN
from broker.core.past import Past
from broker.core.policy import Policies
from tests.core.house import House

ROOM = 1000  # bytes; half of it is left to others


def past(changes: Mapping[str, Any] | None = None) -> tuple[House, Past]:
    """Return a house, and the past of a topic with this policy."""
    house = House(memory_limit=ROOM, policies=Policies([("a", changes or {})]))
    return house, house.topic("a").past


def recalled(past: Past, recent: bool = True) -> list[str]:
    return [message.tail.decode() for message in past.recall(recent)]


def test_at_first_there_is_nothing() -> None:
    _, kept = past()
    assert not kept
    assert recalled(kept) == []


def test_the_last_retained_message() -> None:
    house, kept = past()
    for body in ("1", "22"):
        kept.retain(house.message(body, durable=False), RETAIN)
    assert kept
    assert recalled(kept) == recalled(kept, recent=False) == ["22"]
    assert house.in_memory() == 2
    kept.retain(house.message("", durable=False), FORGET)
    assert not kept
    assert house.in_memory() == 0


def test_copies_are_marked_and_the_message_is_not() -> None:
    house, kept = past()
    message = house.message("x", durable=False)
    kept.retain(message, RETAIN)
    [copy] = kept.recall(False)
    assert copy is not message
    assert copy.extra is not None
    assert copy.extra.retained
    assert message.extra is None


def test_what_has_expired_is_not_recalled() -> None:
    house, kept = past({"recover_messages": 9})
    for expires in (0, 5, 9):
        kept.collect(house.message(f"{expires}", durable=False, expires=expires))
    kept.retain(house.message("retained", durable=False, expires=5), RETAIN)
    assert recalled(kept) == ["retained", "0", "5", "9"]
    house.broker.now = 5
    assert recalled(kept) == ["0", "9"]


@pytest.mark.parametrize(
    ("changes", "left"),
    [
        ({"recover_messages": 3}, "789"),
        ({"recover_seconds": 2.0}, "789"),
        ({"recover_messages": 2, "recover_seconds": 2.0}, "89"),
        ({"recover_messages": 5, "recover_seconds": 1.0}, "89"),
    ],
)
def test_so_many_and_for_so_long(changes: Mapping[str, Any], left: str) -> None:
    house, kept = past(changes)
    for second in range(10):
        house.broker.now = second * 1000
        kept.collect(house.message(f"{second}", durable=False))
    assert recalled(kept) == list(left)
    assert recalled(kept, recent=False) == []
    assert house.in_memory() == len(left)


def test_time_alone_empties_it() -> None:
    house, kept = past({"recover_seconds": 2.0})
    kept.collect(house.message("x", durable=False))
    house.broker.now = 2000
    assert kept
    house.broker.now = 2001
    assert not kept
    assert house.in_memory() == 0


def test_no_more_bytes_than_a_topic_may_have(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(past_module, "RECENT_BYTES", 100)
    house, kept = past({"recover_messages": 1000})
    for letter in "abcd":
        kept.collect(house.message(letter * 40, durable=False))
    assert recalled(kept) == ["c" * 40, "d" * 40]
    kept.collect(house.message("e" * 101, durable=False))
    assert recalled(kept) == []


def test_half_of_the_memory_is_for_others() -> None:
    """Recent messages make room; one to be retained that is too large is not."""
    house, kept = past({"recover_messages": 1000})
    for number in range(10):
        kept.collect(house.message(f"{number}" * 100, durable=False))
    assert recalled(kept) == [f"{number}" * 100 for number in range(5, 10)]
    kept.retain(house.message("x", durable=False), RETAIN)
    assert recalled(kept, recent=False) == []
    house.broker.memory.room -= 300  # somebody else needs it
    assert recalled(kept) == [f"{number}" * 100 for number in (8, 9)]


def test_one_that_is_both_comes_once_in_its_place() -> None:
    house, kept = past({"recover_messages": 9})
    messages = [house.message(body, durable=False) for body in "123"]
    for message in messages:
        kept.collect(message)
    kept.retain(messages[1], RETAIN)
    assert [bool(m.extra and m.extra.retained) for m in kept.recall(True)] == [False, True, False]


def test_a_policy_may_retain_nothing() -> None:
    house, kept = past({"retain": False})
    kept.retain(house.message("x", durable=False), RETAIN)
    assert not kept


def test_a_topic_that_ends_gives_everything_back() -> None:
    house, kept = past({"recover_messages": 9})
    kept.collect(house.message("1", durable=False))
    kept.retain(house.message("2", durable=False), RETAIN)
    house.topic("a").end()
    assert house.in_memory() == 0
