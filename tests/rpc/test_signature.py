"""What may be passed to a function, and what arrives there: both codecs, every kind of parameter."""

import datetime
import enum
import functools
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, Literal, TypedDict

import msgspec
import pytest
from msgspec import Meta

from rpc.codec import CODECS, Codec
from rpc.errors import InvalidParams
from rpc.working.signature import Signature, unwrap

both = pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)


@dataclass
class Point:
    x: int
    y: int = 0

    def __post_init__(self) -> None:
        if self.x == 13:
            raise ValueError("13 is bad luck")
        if self.x == 14:
            raise RuntimeError("of its own")


class Tree(msgspec.Struct):
    name: str
    branches: "list[Tree]" = []


class Colour(enum.Enum):
    RED = "red"


class Movie(TypedDict):
    title: str
    year: int


Positive = Annotated[int, Meta(ge=1)]
Hinted = Annotated[str, {"somebody": "else's"}]  # not hashable


def takes(annotation: Any) -> Signature:
    """Return the signature of a function with one parameter of this type."""

    def function(it):  # type: ignore[no-untyped-def]
        """Take it."""

    function.__annotations__["it"] = annotation
    return Signature(function, "function")


@both
@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        *((int, 3), (int, 2**63), (float, 1.5), (str, "x"), (bool, True), (bytes, b"ab")),
        *((None, None), (int | None, None), (int | None, 4), (int | str, "x"), (Any, [1])),
        *((object, {"a": 1}), (list[int], [1, 2]), (dict[str, int], {"a": 1}), (list, [1, "a"])),
        *((tuple[int, str], (1, "a")), (set[int], {1, 2}), (dict[int, str], {1: "a"})),
        *(
            (Sequence[int], [1]),
            (Literal["a", "b"], "b"),
            (Positive, 1),
            (Hinted, "x"),
            (Colour, Colour.RED),
        ),
        *((Point, Point(1, 2)), (list[Point], [Point(1)]), (Tree, Tree("a", [Tree("b")]))),
        *((Movie, {"title": "t", "year": 1}), (uuid.UUID, uuid.UUID(int=7))),
        *((Decimal, Decimal("1.50")), (datetime.date, datetime.date(2026, 1, 2))),
        (datetime.datetime, datetime.datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=datetime.UTC)),
        (datetime.datetime, datetime.datetime(2026, 1, 2, 3, 4)),
        (datetime.timedelta, datetime.timedelta(seconds=90)),
    ],
)
def test_an_argument_arrives_as_its_type(codec: Codec, annotation: Any, value: Any) -> None:
    signature = takes(annotation)
    params = codec.decode(codec.encode([value]))
    (by_position,) = signature.accept(params)
    assert by_position == value
    assert type(by_position) is type(value)
    assert signature.accept(codec.decode(codec.encode({"it": value}))) == {"it": value}


@both
@pytest.mark.parametrize(
    ("annotation", "value", "text"),
    [
        (int, "1", "Expected `int`, got `str`"),
        (int, True, "Expected `int`, got `bool`"),
        (int, 1.5, "Expected `int`, got `float`"),
        (int, None, "Expected `int`, got `null`"),
        (str, 1, "Expected `str`, got `int`"),
        (bool, 1, "Expected `bool`, got `int`"),
        (float, "1.5", "Expected `float`, got `str`"),
        (list, {}, "Expected `array`, got `object`"),
        (dict, [], "Expected `object`, got `array`"),
        (int | None, "x", "Expected `int | null`, got `str`"),
        (list[int], [1, "a"], "Expected `int`, got `str` - at `it[1]`"),
        (tuple[int, str], [1], "length 2"),
        (dict[str, int], {"a": "b"}, "Expected `int`, got `str` - at `it[...]`"),
        (Literal["a", "b"], "c", "Invalid enum value 'c'"),
        (Positive, 0, "Expected `int` >= 1"),
        (Colour, "green", "Invalid enum value 'green'"),
        (Point, {}, "missing required field `x`"),
        (Point, {"x": 1, "y": "2"}, "Expected `int`, got `str` - at `it.y`"),
        (Point, {"x": 13}, "13 is bad luck"),
        (Point, {"x": 14}, "of its own"),
        (Tree, {"name": "a", "branches": [{"name": 1}]}, "at `it.branches[0].name`"),
        (Movie, {"title": "t"}, "missing required field `year`"),
        (uuid.UUID, "x", "Invalid UUID"),
        (datetime.date, "yesterday", "Invalid RFC3339"),
    ],
)
def test_a_wrong_argument_is_named(codec: Codec, annotation: Any, value: Any, text: str) -> None:
    signature = takes(annotation)
    for params in ([value], {"it": value}):
        with pytest.raises(InvalidParams) as raised:
            signature.accept(codec.decode(codec.encode(params)))
        message = str(raised.value)
        assert message.startswith("function(it")
        assert "argument 'it'" in message
        assert text in message
        assert "$" not in message
        assert raised.value.data["argument"] == "it"
        assert raised.value.data["expected"]


def test_what_was_expected_reads_like_the_source() -> None:
    def move(point: Point, by: int = 1, *more: float, fast: bool = False, **rest: str) -> None:
        """Take all kinds."""

    signature = Signature(move, "move")
    assert str(signature) == (
        f"(point: {__name__}.Point, by: int = 1, *more: float, fast: bool = False, **rest: str) -> None"
    )
    for params, argument, expected in (
        ([{"x": 1}, "a"], "by", "int"),
        ([{"x": 1}, 1, 2.0, "a"], "more", "float"),
        ({"point": 1}, "point", f"{__name__}.Point"),
        ({"point": {"x": 1}, "fast": 1}, "fast", "bool"),
        ({"point": {"x": 1}, "other": 1}, "other", "str"),
    ):
        with pytest.raises(InvalidParams) as raised:
            signature.accept(params)
        assert raised.value.data == {"argument": argument, "expected": expected}
    assert signature.accept([{"x": 1}, 2, 3]) == [Point(1), 2, 3.0]
    assert signature.accept({"point": {"x": 1}, "a": "b"}) == {"point": Point(1), "a": "b"}


def test_a_default_is_nobodys_to_check() -> None:
    def function(it: int = "none") -> None:  # type: ignore[assignment]
        """Have a default that is none of its type."""

    signature = Signature(function, "function")
    assert signature.accept([]) == []
    with pytest.raises(InvalidParams, match="Expected `int`, got `null`"):
        signature.accept([None])


def test_what_is_not_annotated_comes_as_it_is() -> None:
    def function(a, b: Any, c: object = 1, *more, **rest):  # type: ignore[no-untyped-def]
        """Take anything."""

    signature = Signature(function, "function")
    params = [object(), object(), object(), object()]
    assert signature.accept(params) is params


def test_the_request_is_left_as_it_was() -> None:
    """Who logs it sees what came."""
    params = [{"x": 1}]
    assert takes(Point).accept(params) == [Point(1)]
    assert params == [{"x": 1}]


def test_unchecked() -> None:
    def function(it: "Nowhere", other: socketlike) -> None:  # type: ignore[name-defined]  # noqa: F821
        """Be annotated with what nobody sends."""

    signature = Signature(function, "function", check=False)
    assert signature.accept(["x", 1]) == ["x", 1]
    with pytest.raises(InvalidParams, match="missing a required argument"):
        signature.accept(["x"])


class Custom:
    """No data."""


socketlike = Custom


@pytest.mark.parametrize(
    "annotation",
    [
        *("Nowhere", "1 +", Custom, list[Custom], dict[str, Custom], Custom | None, Callable),
        *(Iterable[int], complex, type, list[int] | tuple[int, ...], Literal[1.5], "Custom.gone"),
    ],
)
def test_an_annotation_without_a_meaning_is_told_at_once(annotation: Any) -> None:
    with pytest.raises(TypeError, match=r"function: .*'it'.*check=False"):
        takes(annotation)


def test_texts_are_understood_where_the_function_is_defined() -> None:
    assert takes("Point").accept([{"x": 1}]) == [Point(1)]
    assert takes("list[Tree] | None").accept([[{"name": "a"}]]) == [[Tree("a")]]


class Service:
    """Functions of many kinds."""

    def plain(self, it: int) -> int:
        return it

    @classmethod
    def of_class(cls, it: int) -> int:
        return it

    @staticmethod
    def static(it: int) -> int:
        return it

    def __call__(self, it: int) -> int:
        return it


class Made:
    """Itself called."""

    def __init__(self, it: int) -> None:
        self.it = it


def two(a: str, it: int) -> int:
    return it


@functools.wraps(two)
def wrapped(*args: Any, **kwargs: Any) -> Any:
    return two(*args, **kwargs)


@pytest.mark.parametrize(
    "function",
    [
        *(Service().plain, Service.of_class, Service.static, Service().of_class, Service(), Made),
        *(functools.partial(two, "a"), functools.partial(wrapped, "a")),
        functools.partial(functools.partial(two), "a"),
        functools.lru_cache(Service.static),
    ],
)
def test_whatever_can_be_called(function: Callable[..., Any]) -> None:
    signature = Signature(function, "function")
    assert signature.accept([1]) == [1]
    with pytest.raises(InvalidParams, match=r"argument 'it': Expected `int`, got `str`"):
        signature.accept(["1"])
    with pytest.raises(InvalidParams, match="too many positional"):
        signature.accept([1, 2])


def test_what_tells_nothing_about_its_parameters_is_refused() -> None:
    with pytest.raises(TypeError, match=r"max: .* does not tell"):
        Signature(max, "max")


def test_the_code_is_found() -> None:
    assert unwrap(functools.partial(wrapped, "a")) is two
    assert unwrap(Service().plain) is Service.plain
    assert unwrap(Service()) is Service.__call__
    assert unwrap(two) is two
    assert unwrap(abs) is abs
