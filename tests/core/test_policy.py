"""What an operator's sections make of a destination, and what a policy says of a message."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from broker.core.policy import DEFAULT, YEAR, Policies, Policy
from broker.setting import settings_of

SECTIONS: list[tuple[str, dict[str, Any]]] = [
    (">", {"prefetch": 10, "max_messages": 1000}),
    ("orders.>", {"prefetch": 20, "exclusive": True}),
    ("/queue/orders.urgent", {"prefetch": 1}),
    ("/topic/orders.*", {"prefetch": 5, "retain": False}),
    ("/topic/>", {"keep_idle": True}),
    ("orders.urgent", {"max_messages": 7}),
]

#: Kind, name, and what differs from the defaults.
FOUND: list[tuple[str, str, dict[str, Any]]] = [
    ("queue", "a", {"prefetch": 10, "max_messages": 1000}),
    ("queue", "orders", {"prefetch": 20, "max_messages": 1000, "exclusive": True}),
    ("queue", "orders.new", {"prefetch": 20, "max_messages": 1000, "exclusive": True}),
    ("queue", "orders.urgent", {"prefetch": 1, "max_messages": 7, "exclusive": True}),
    ("topic", "a", {"prefetch": 10, "max_messages": 1000, "keep_idle": True}),
    (
        "topic",
        "orders.urgent",
        {"prefetch": 5, "max_messages": 7, "exclusive": True, "retain": False, "keep_idle": True},
    ),
    (
        "topic",
        "orders",
        {"prefetch": 20, "max_messages": 1000, "exclusive": True, "keep_idle": True},
    ),
]


def policy_of(policies: Policies, kind: str, name: str) -> Policy:
    return policies.for_queue(name) if kind == "queue" else policies.for_topic(name)


@pytest.mark.parametrize(("kind", "name", "changes"), FOUND)
def test_all_sections_that_match_apply_and_the_later_wins(
    kind: str, name: str, changes: dict[str, Any]
) -> None:
    policies = Policies(SECTIONS)
    assert policy_of(policies, kind, name) == dataclasses.replace(DEFAULT, **changes)


def test_the_order_of_the_sections_decides_not_how_much_they_say() -> None:
    """As in a file that is read from top to bottom: the general ones stand first."""
    policies = Policies([("orders.urgent", {"prefetch": 1}), (">", {"prefetch": 10})])
    assert policies.for_queue("orders.urgent").prefetch == 10


def test_destinations_that_the_same_sections_match_share_a_policy() -> None:
    """There may be a million of them."""
    policies = Policies(SECTIONS)
    assert policies.for_queue("orders.1") is policies.for_queue("orders.2")
    assert Policies().for_queue("a") is Policies().for_topic("b") is DEFAULT


@pytest.mark.parametrize("name", sorted(settings_of(Policy)))
def test_every_field_says_its_unit_and_its_reason(name: str) -> None:
    each = settings_of(Policy)[name]
    assert each.metadata["reason"]
    if type(each.default) in (int, float):
        assert each.metadata["unit"], "a number without a unit says nothing"
    if each.metadata["choices"]:
        assert each.default in each.metadata["choices"]
    assert list(settings_of(Policy)) == [f.name for f in dataclasses.fields(Policy)]


def test_a_policy_cannot_be_changed_in_place() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        DEFAULT.prefetch = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("policy", "delays"),
    [
        (Policy(), [0, 0, 0]),
        (Policy(redelivery_delay=2), [2, 2, 2]),
        (Policy(redelivery_delay=1, redelivery_backoff=2), [1, 2, 4, 8]),
        (Policy(redelivery_delay=1, redelivery_backoff=5, redelivery_delay_max=20), [1, 5, 20, 20]),
        (Policy(redelivery_delay=60, redelivery_delay_max=5), [5, 5]),
        (Policy(redelivery_delay=0, redelivery_backoff=5), [0, 0]),
    ],
)
def test_how_long_a_message_waits_that_was_given_back(policy: Policy, delays: list[float]) -> None:
    assert [policy.delay(n) for n in range(1, len(delays) + 1)] == delays


@pytest.mark.parametrize("ceiling", [0, 3600])
def test_a_message_that_was_given_back_for_ever_still_comes(ceiling: float) -> None:
    """No number of redeliveries is too large for a delay, with or without a ceiling."""
    policy = Policy(redelivery_delay=1, redelivery_backoff=100, redelivery_delay_max=ceiling)
    for times in (10, 1000, 10**6):
        assert policy.delay(times) == (ceiling or YEAR)


NOW = 1_700_000_000_000


@pytest.mark.parametrize(
    ("policy", "asked", "expires"),
    [
        (Policy(), 0, 0),
        (Policy(), NOW + 5000, NOW + 5000),
        (Policy(), NOW - 5000, NOW - 5000),
        (Policy(ttl_default=1000), 0, NOW + 1000),
        (Policy(ttl_default=1000), NOW + 5000, NOW + 5000),
        (Policy(ttl_max=1000), NOW + 5000, NOW + 1000),
        (Policy(ttl_max=1000), NOW + 500, NOW + 500),
        (Policy(ttl_max=1000), 0, 0),
        (Policy(ttl_max=1000), NOW - 1, NOW - 1),
        (Policy(ttl_max=1000, ttl_default=5000), 0, NOW + 1000),
    ],
)
def test_when_a_message_expires(policy: Policy, asked: int, expires: int) -> None:
    assert policy.expiry(asked, NOW) == expires


@pytest.mark.parametrize(
    ("setting", "name", "letters"),
    [
        ("ActiveMQ.DLQ", "a", "ActiveMQ.DLQ"),
        ("DLQ.{name}", "orders.new", "DLQ.orders.new"),
        ("{name}.dead", "{name}", "{name}.dead"),
        ("", "a", ""),
        ("DLQ.{name}", "ü" * 125, "DLQ." + "ü" * 125),
        ("DLQ.{name}", "ü" * 126, "ActiveMQ.DLQ"),  # nobody could name such a queue
    ],
)
def test_where_dead_letters_go(setting: str, name: str, letters: str) -> None:
    assert Policy(dead_letter_queue=setting).dead_letters_of(name) == letters
