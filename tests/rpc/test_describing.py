"""What is told about functions is plain data that a person and a program can read."""

import json
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any

from msgspec import Meta

from rpc.codec import JSON, MSGPACK
from rpc.working.methods import Methods, describe


@dataclass
class Point:
    x: int
    y: int = 0


def move(point: Point, by: Annotated[int, Meta(ge=1)] = 1, *more: str, **rest: float) -> list[int]:
    """Move a point.

    A little.
    """
    raise NotImplementedError


def anything(a, b: Any = None):  # type: ignore[no-untyped-def]
    return a, b


def count(to: int) -> Iterator[int]:
    """Count."""
    yield from range(to)


async def ticks() -> AsyncIterator[str]:
    yield "tick"


def test_names_signatures_docs_and_types() -> None:
    methods = Methods()
    methods.add_own(print, "rpc.ping")
    methods.add(move, idempotent=True)
    methods.add(anything, name="any.thing")
    moves, things = describe(methods)
    assert moves["name"] == "move"
    assert moves["signature"].startswith("(point: ")
    assert moves["doc"] == "Move a point.\n\nA little."
    assert moves["params"]["by"] == {"type": "integer", "minimum": 1}
    assert moves["params"]["point"]["$defs"]["Point"]["required"] == ["x"]
    assert moves["params"]["*more"] == {"type": "string"}
    assert moves["params"]["**rest"] == {"type": "number"}
    assert moves["returns"] == {"type": "array", "items": {"type": "integer"}}
    assert (moves["streams"], moves["idempotent"]) == (False, True)
    assert things == {
        "name": "any.thing",
        "signature": "(a, b: Any = None)",
        "doc": "",
        "params": {"a": {}, "b": {}},
        "returns": {},
        "streams": False,
        "idempotent": False,
    }


def test_of_a_stream_an_item_is_described() -> None:
    methods = Methods()
    methods.add(count)
    methods.add(ticks)
    counts, tickings = describe(methods)
    assert counts["streams"]
    assert counts["returns"] == {"type": "integer"}
    assert tickings["returns"] == {"type": "string"}


def test_what_has_no_schema_spoils_nothing() -> None:
    def odd(it: Callable[[], int], other: "Nowhere") -> "Gone":  # type: ignore[name-defined]  # noqa: F821
        """Be odd."""

    methods = Methods()
    methods.add(odd, check=False)
    (told,) = describe(methods)
    assert told["params"] == {"it": {}, "other": {}}
    assert told["returns"] == {}
    assert JSON.decode(JSON.encode(told)) == json.loads(json.dumps(told))
    assert MSGPACK.decode(MSGPACK.encode(told)) == told
