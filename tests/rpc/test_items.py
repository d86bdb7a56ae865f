"""A streamed result: numbers, credit, the end."""

from __future__ import annotations

from typing import Any

import pytest

from rpc.calling.items import END, Items
from rpc.calling.options import OnLoss
from rpc.codec import JSON
from rpc.errors import MethodNotFound, RpcError, StreamBroken


def stream(credit: int = 3) -> Items:
    return Items("c-1", None, "rows", 5.0, OnLoss.FAIL, JSON, credit=credit)


def give(items: Items, result: Any, number: int | None, *, ends: bool = False) -> bool:
    headers = {} if number is None else {"stream-seq": str(number)}
    if ends:
        headers["stream-end"] = "true"
    return items.take(headers, JSON.result_body("c-1", result), None)


def taken(items: Items) -> list[Any]:
    """Return all that is there, and how it ended."""
    rows: list[Any] = []
    while True:
        try:
            rows.append(items.next())
        except RpcError as error:
            return [*rows, error]
        if rows[-1] is END:
            return rows


@pytest.mark.parametrize("number", [2, None])
def test_the_end_may_be_numbered_or_not(number: int | None) -> None:
    items = stream()
    assert not give(items, "a", 0)
    assert not give(items, "b", 1)
    assert give(items, None, number, ends=True)
    assert taken(items) == ["a", "b", END]
    assert items.renewal() == 0


def test_a_stream_without_items() -> None:
    items = stream()
    assert give(items, None, None, ends=True)
    assert taken(items) == [END]


def test_one_ordinary_reply() -> None:
    items = stream()
    assert give(items, "only", None)
    assert taken(items) == ["only", END]


def test_an_error_is_the_end() -> None:
    items = stream()
    give(items, "a", 0)
    body = JSON.error_body("c-1", MethodNotFound("gone"))
    assert items.take({"stream-seq": "1", "stream-end": "true"}, body, None)
    row, error = taken(items)
    assert row == "a"
    assert isinstance(error, MethodNotFound)


@pytest.mark.parametrize(
    ("numbers", "words"),
    [([0, 2], "item 1, and is 2"), ([1], "item 0, and is 1"), ([0, 0], "item 1, and is 0")],
)
def test_a_number_that_is_not_the_next(numbers: list[int], words: str) -> None:
    items = stream()
    for number in numbers[:-1]:
        assert not give(items, number, number)
    assert give(items, "x", numbers[-1])
    *rows, error = taken(items)
    assert rows == numbers[:-1]
    assert isinstance(error, StreamBroken)
    assert words in str(error)
    assert items.runs_on


def test_an_item_is_missing_at_the_end() -> None:
    items = stream()
    give(items, "a", 0)
    assert give(items, None, 2, ends=True)
    assert isinstance(taken(items)[-1], StreamBroken)


def test_more_than_there_was_credit_for() -> None:
    items = stream(credit=2)
    assert [give(items, number, number) for number in range(3)] == [False, False, True]
    *rows, error = taken(items)
    assert rows == [0, 1]
    assert isinstance(error, StreamBroken)


@pytest.mark.parametrize(("credit", "renewals"), [(1, [1, 1, 1, 1]), (4, [0, 2, 0, 2])])
def test_credit_comes_in_halves(credit: int, renewals: list[int]) -> None:
    items, granted, sent = stream(credit), credit, 0
    found = []
    for _ in renewals:
        while sent < granted:
            give(items, sent, sent)
            sent += 1
        items.next()
        found.append(items.renewal())
        granted += found[-1]
    assert found == renewals
