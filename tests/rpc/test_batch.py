"""Calls cut into batches, and what their replies say."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest

from rpc.calling.batch import Batch, Batches, Pipeline
from rpc.calling.options import OnLoss
from rpc.codec import JSON, MSGPACK, Codec
from rpc.errors import ErrorReply, InvalidRequest, Overloaded, Timeout


def answered(codec: Codec, number: int, body: bytes) -> list[Any]:
    batch = Batch("c-1", None, "echo", 5.0, OnLoss.FAIL, codec, count=number)
    batch.reply, batch.done = body, True
    return batch.result()


@pytest.mark.parametrize("codec", [JSON, MSGPACK])
def test_batches_are_arrays_of_requests(codec: Codec) -> None:
    batches = Batches(codec, "add", [[1, 2, 3], [10, 20, 30, 40]], 2)
    first = batches.next()
    assert first is not None
    assert first[1] == 2
    assert codec.decode(first[0]) == [
        {"jsonrpc": "2.0", "method": "add", "params": [1, 10], "id": "0"},
        {"jsonrpc": "2.0", "method": "add", "params": [2, 20], "id": "1"},
    ]
    second = batches.next()
    assert second is not None
    assert codec.decode(second[0])[0]["params"] == [3, 30]
    assert batches.next() is None


def test_results_are_put_in_order() -> None:
    replies = [JSON.result_body(str(number), number * 10) for number in (2, 0, 1)]
    assert answered(JSON, 3, JSON.batch(replies)) == [0, 10, 20]


def test_an_error_in_its_place_and_one_that_is_missing() -> None:
    replies = [JSON.result_body("0", "a"), JSON.error_body("1", Overloaded("busy"))]
    first, second, third = answered(JSON, 3, JSON.batch(replies))
    assert (first, type(second), type(third)) == ("a", Overloaded, ErrorReply)
    assert "says nothing" in str(third)


def test_a_request_that_could_not_be_read_has_no_id() -> None:
    replies = [JSON.result_body("0", "a"), JSON.error_body(None, InvalidRequest("what?"))]
    assert [type(each) for each in answered(JSON, 2, JSON.batch(replies))] == [str, InvalidRequest]


def test_what_the_whole_batch_failed_with_each_of_it_did() -> None:
    refused = answered(JSON, 2, JSON.error_body(None, Overloaded("busy")))
    assert [type(each) for each in refused] == [Overloaded] * 2
    batch = Batch("c-1", None, "echo", 5.0, OnLoss.FAIL, JSON, count=2)
    batch.error = batch.overdue()
    assert [type(each) for each in batch.result()] == [Timeout] * 2


def test_what_an_iterable_raises_comes_behind_the_batch_before() -> None:
    def numbers() -> Any:
        yield from (1, 2, 3)
        raise OSError("the file ends here")

    pipeline = Pipeline(
        Batches(JSON, "echo", [numbers()], 2), lambda body, number: (body, number), 4
    )
    batches = [pipeline.next(), pipeline.next()]
    assert [None if each is None else each[1] for each in batches] == [2, 1]
    with pytest.raises(OSError, match="ends here"):
        pipeline.next()
    assert pipeline.next() is None


def test_no_more_batches_are_under_way_than_asked_for() -> None:
    numbers = count()
    pipeline = Pipeline(Batches(JSON, "echo", [numbers], 10), lambda body, number: number, 3)
    pipeline.fill()
    assert (len(pipeline.pending), next(numbers)) == (3, 30)
    assert pipeline.next() == 10
    assert len(pipeline.pending) == 2
    pipeline.fill()
    assert len(pipeline.pending) == 3
