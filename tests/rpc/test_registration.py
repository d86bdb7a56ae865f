"""Which functions of a class or module are offered, and what may be said about them."""

import functools
import types
from typing import Any

import pytest

from rpc.working.methods import MethodOptions, Methods
from rpc.working.registration import find_functions, mark_of, method

prefixes = pytest.mark.parametrize("prefix", ["", "shop."])


@pytest.mark.parametrize(
    "options",
    [
        *({"timeout": 0}, {"timeout": -1}, {"timeout": float("nan")}, {"delivery": "maybe"}),
        *({"retries": -1}, {"retry_delay": -1}, {"concurrency": 0}, {"run_in": "fork"}),
        {"delivery": "at-most-once", "retries": 1},
    ],
)
def test_options_that_make_no_sense(options: Any) -> None:
    name = next(reversed(options))
    with pytest.raises(ValueError, match=name):
        MethodOptions(**options)
    with pytest.raises(ValueError, match=name):
        Methods().add(print, **options)
    with pytest.raises(ValueError, match=name):
        method(**options)(lambda: None)


def test_options_have_defaults_that_suit_most() -> None:
    options = MethodOptions()
    assert (options.timeout, options.retries, options.delivery) == (None, 0, "at-least-once")
    assert (options.idempotent, options.concurrency, options.run_in) == (False, None, None)
    assert options.check


class Shop:
    """A class to be offered."""

    rate = 1.5
    callback = print

    def __init__(self) -> None:
        self.sold = 0
        self.hook = print

    def sell(self, count: int) -> int:
        """Sell some."""
        self.sold += count
        return self.sold

    @classmethod
    def kind(cls) -> str:
        return cls.__name__

    @staticmethod
    def double(a: int) -> int:
        return 2 * a

    @property
    def danger(self) -> Any:
        raise AssertionError("nobody asked")

    @functools.cached_property
    def cached_danger(self) -> Any:
        raise AssertionError("nobody asked")

    def _private(self) -> None:
        """Be nobody's."""

    def __len__(self) -> int:
        return 3

    class Inner:
        """No function."""


def names(methods: Methods) -> list[str]:
    return sorted(each.name for each in methods)


@prefixes
def test_a_class_is_one_instance_of_it(prefix: str) -> None:
    methods = Methods()
    assert methods.register(Shop, prefix) is Shop
    assert names(methods) == [f"{prefix}{name}" for name in ("callback", "double", "kind", "sell")]
    body = b'{"jsonrpc":"2.0","method":"%bsell","params":[2],"id":1}' % prefix.encode()
    assert methods.read(body).run() == b'{"jsonrpc":"2.0","result":2,"id":1}'
    assert methods.read(body).run() == b'{"jsonrpc":"2.0","result":4,"id":1}'


def test_an_instance() -> None:
    shop = Shop()
    methods = Methods()
    assert methods.register(shop) is shop
    methods.read(b'{"jsonrpc":"2.0","method":"sell","params":[2]}').run()
    assert shop.sold == 2


def test_what_is_inherited_is_offered_too() -> None:
    class Branch(Shop):
        def open(self) -> None:
            """Open."""

    assert set(find_functions(Branch)) == {"callback", "double", "kind", "sell", "open"}


class Needy:
    """Needs something."""

    def __init__(self, it: int) -> None:
        """Take it."""

    def function(self) -> None:
        """Be there."""


class Failing:
    """Fails by itself."""

    def __init__(self) -> None:
        raise TypeError("inside")


def test_a_class_that_needs_arguments_is_to_be_made_by_its_owner() -> None:
    with pytest.raises(
        TypeError, match=r"Needy cannot be made without arguments.*register an instance"
    ):
        Methods().register(Needy)
    with pytest.raises(TypeError, match="inside"):
        Methods().register(Failing)
    methods = Methods()
    methods.register(Needy(1))
    assert names(methods) == ["function"]


def make_module(source: str) -> types.ModuleType:
    module = types.ModuleType("made")
    exec(source, module.__dict__)
    return module


MODULE = """
from os.path import join
from dataclasses import dataclass
RATE = 1
def one(): return 1
def two(): return 2
async def three(): return 3
def _four(): return 4
@dataclass
class Point: x: int = 0
"""


@prefixes
def test_a_module_offers_what_is_defined_in_it(prefix: str) -> None:
    methods = Methods()
    methods.register(make_module(MODULE), prefix)
    assert names(methods) == sorted(f"{prefix}{name}" for name in ("one", "two", "three"))


def test_a_module_that_says_what_is_its() -> None:
    module = make_module(MODULE + '__all__ = ["one", "join", "Point", "RATE", "_four"]')
    assert set(find_functions(module)) == {"one", "join"}


@pytest.mark.parametrize("thing", [make_module("X = 1"), object(), object, None])
def test_nothing_to_offer_is_a_mistake(thing: Any) -> None:
    with pytest.raises(ValueError, match="no public functions"):
        Methods().register(thing)


# Marks


class Marked:
    """Offers what is marked."""

    @method
    def plain(self) -> int:
        return 1

    @method(name="other", timeout=5, idempotent=True)
    def named(self) -> int:
        return 2

    @method(retries=2)
    @staticmethod
    def static() -> int:
        return 3

    @classmethod
    @method(name="of_the_class")
    def of_class(cls) -> int:
        return 4

    def unmarked(self) -> None:
        """Be nobody's."""


def test_where_some_are_marked_only_they_are_offered() -> None:
    methods = Methods()
    methods.register(Marked, "m.")
    by_name = {each.name: each for each in methods}
    assert set(by_name) == {"m.plain", "m.other", "m.static", "m.of_the_class"}
    assert by_name["m.other"].options == MethodOptions(timeout=5, idempotent=True)
    assert by_name["m.static"].options == MethodOptions(retries=2)
    assert [each.function() for each in methods if each.name == "m.other"] == [2]


def test_a_mark_holds_for_a_single_function_too_where_nothing_else_is_said() -> None:
    @method(name="marked", timeout=5, retries=1)
    def function() -> None:
        """Be marked."""

    methods = Methods()
    methods.add(function)
    methods.add(function, name="again", retries=3)
    assert [(each.name, each.options.timeout, each.options.retries) for each in methods] == [
        ("marked", 5, 1),
        ("again", 5, 3),
    ]


def test_a_mark_leaves_the_function_as_it_is() -> None:
    def function() -> int:
        return 1

    assert method(function) is function
    assert method(timeout=1)(function) is function
    assert mark_of(function) is not None
    with pytest.raises(TypeError, match="cannot be marked"):
        method(len)


def test_all_or_none_are_registered() -> None:
    methods = Methods()
    methods.add(print, name="sell")
    with pytest.raises(ValueError, match="already a remote function 'sell'"):
        methods.register(Shop)
    assert names(methods) == ["sell"]
