"""Trees to nested Python functions: made once per selector, called once per message.

Nothing is evaluated as source code. A node becomes a closure over those of its operands:

`value`  what an expression is, None for NULL
`truth`  whether a condition is TRUE or FALSE, None for unknown: SQL's three-valued logic
`holds`  whether a condition is TRUE, which is all that a message is selected by; it need not tell FALSE
         from unknown, and has short ways for what users write most: a property and a constant

What names no property is evaluated here and never again (`60 * 60 * 24`).

The cost of one evaluation is bounded: every node is evaluated at most once, takes time linear in the texts
it reads (LIKE: times its pattern, see `like`), and makes no text longer than `LONGEST_TEXT`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import singledispatch
from typing import Any, Generic, TypeVar

from broker.selector import tree
from broker.selector.like import compile_like
from broker.selector.tree import Condition, Property, Tree
from broker.selector.values import (
    ARITHMETIC,
    COMPARISONS,
    FLIPPED,
    LONGEST_TEXT,
    Lookup,
    Value,
    between,
    compare,
    negate,
    to_float,
    to_integer,
    to_text,
    to_truth,
)

Evaluate = Callable[[Lookup], Value]
Truth = Callable[[Lookup], bool | None]
Holds = Callable[[Lookup], bool]

Result = TypeVar("Result", covariant=True)


class Constant(Generic[Result]):
    """A compiled node that asks for no property."""

    __slots__ = ("result",)

    def __init__(self, result: Result) -> None:
        self.result = result

    def __call__(self, lookup: Lookup) -> Result:
        """Return the same for every message."""
        return self.result


def _folded(
    function: Callable[[Lookup], Result], *operands: Callable[[Lookup], object]
) -> Callable[[Lookup], Result]:
    """Return `function`, or what it returns for ever if all its operands are constant."""
    if all(isinstance(operand, Constant) for operand in operands):
        return Constant(function(_nothing))
    return function


def _nothing(name: str) -> None:
    """Look up a property of no message."""


# --- values ---------------------------------------------------------------------------------------


@singledispatch
def value(node: Tree) -> Evaluate:
    """Compile what an expression is, None for NULL."""
    raise TypeError(f"{type(node).__name__} is no value")


@value.register
def _literal(node: tree.Literal) -> Evaluate:
    return Constant(node.value)


@value.register
def _property(node: tree.Property) -> Evaluate:
    name = node.name
    return lambda lookup: lookup(name)


@value.register
def _negation(node: tree.Negation) -> Evaluate:
    of = value(node.of)
    return _folded(lambda lookup: negate(of(lookup)), of)


@value.register
def _arithmetic(node: tree.Arithmetic) -> Evaluate:
    first = value(node.first)
    steps = [(ARITHMETIC[step.sign], value(step.by)) for step in node.steps]

    def reckon(lookup: Lookup) -> Value:
        result = first(lookup)
        for function, by in steps:
            if result is None:
                return None
            result = function(result, by(lookup))
        return result

    return _folded(reckon, first, *(by for _, by in steps))


@value.register
def _replace(node: tree.Replace) -> Evaluate:
    of, old, new = value(node.of), node.old, node.new
    growth = len(new) - len(old)

    def replace(lookup: Lookup) -> Value:
        text = of(lookup)
        if not isinstance(text, str) or len(text) + growth * text.count(old) > LONGEST_TEXT:
            return None
        return text.replace(old, new)

    return _folded(replace, of)


# --- conditions, three-valued ---------------------------------------------------------------------


@value.register(Condition)
@singledispatch
def truth(node: Condition) -> Truth:
    """Compile whether a condition is TRUE or FALSE, None for unknown."""
    raise TypeError(f"{type(node).__name__} is no condition")


@truth.register
def _cast(node: tree.Cast) -> Truth:
    of = value(node.of)
    return _folded(lambda lookup: to_truth(of(lookup)), of)


@truth.register
def _not(node: tree.Not) -> Truth:
    of = truth(node.of)

    def opposite(lookup: Lookup) -> bool | None:
        result = of(lookup)
        return None if result is None else not result

    return _folded(opposite, of)


@truth.register
def _and(node: tree.And) -> Truth:
    return _joined([truth(part) for part in node.parts], decisive=False)


@truth.register
def _or(node: tree.Or) -> Truth:
    return _joined([truth(part) for part in node.parts], decisive=True)


def _joined(parts: list[Truth], decisive: bool) -> Truth:
    """One `decisive` part decides; otherwise one unknown makes all unknown."""

    def joined(lookup: Lookup) -> bool | None:
        result: bool | None = not decisive
        for part in parts:
            one = part(lookup)
            if one is decisive:
                return decisive
            if one is None:
                result = None
        return result

    return _folded(joined, *parts)


@truth.register
def _comparison(node: tree.Comparison) -> Truth:
    sign, left, right = node.sign, value(node.left), value(node.right)
    return _folded(lambda lookup: compare(sign, left(lookup), right(lookup)), left, right)


@truth.register
def _between(node: tree.Between) -> Truth:
    of, low, high, opposite = value(node.of), value(node.low), value(node.high), node.opposite
    return _folded(
        lambda lookup: between(of(lookup), low(lookup), high(lookup), opposite), of, low, high
    )


@truth.register
def _is_null(node: tree.IsNull) -> Truth:
    of = value(node.of)
    return _folded(lambda lookup: of(lookup) is None, of)


@truth.register
def _like(node: tree.Like) -> Truth:
    of, matches = value(node.of), compile_like(node.pattern, node.escape)

    def like(lookup: Lookup) -> bool | None:
        result = of(lookup)
        if isinstance(result, str):
            return matches(result)
        return None if result is None else False

    return _folded(like, of)


@truth.register
def _in(node: tree.In) -> Truth:
    name, choices = node.of.name, node.choices

    def in_choices(lookup: Lookup) -> bool | None:
        result = lookup(name)
        return None if result is None else result in choices

    return in_choices


@truth.register
def _in_list(node: tree.InList) -> Truth:
    of = value(node.of)
    if isinstance(node.choices, tree.Split):
        return _in_split(node.choices, of)
    items = [value(item) for item in node.choices.items]

    def in_list(lookup: Lookup) -> bool:
        result = of(lookup)
        return any(compare("=", result, item(lookup)) is True for item in items)

    return _folded(in_list, of, *items)


def _in_split(node: tree.Split, of: Evaluate) -> Truth:
    whole, separator, limit = value(node.of), node.separator, node.limit

    def in_split(lookup: Lookup) -> bool | None:
        text, result = whole(lookup), of(lookup)
        if not isinstance(text, str):
            return None
        return result is not None and to_text(result) in split(text, separator, limit)

    return _folded(in_split, whole, of)


def split(text: str, separator: str, limit: int) -> list[str]:
    """Split a text as Java's String.split does with this limit."""
    if separator not in text:
        return [text]
    if limit > 0:
        return text.split(separator, limit - 1)
    parts = text.split(separator)
    while limit == 0 and parts and not parts[-1]:
        parts.pop()
    return parts


# --- conditions, TRUE or not ----------------------------------------------------------------------


@singledispatch
def holds(node: Condition) -> Holds:
    """Compile whether a condition is TRUE."""
    of = truth(node)
    return lambda lookup: of(lookup) is True


@holds.register
def _both_hold(node: tree.And) -> Holds:
    first, second, *others = [holds(part) for part in node.parts]
    if not others:
        return lambda lookup: first(lookup) and second(lookup)
    parts = (first, second, *others)

    def all_hold(lookup: Lookup) -> bool:
        for part in parts:  # noqa: SIM110 -- all() would cost a generator a message
            if not part(lookup):
                return False
        return True

    return all_hold


@holds.register
def _either_holds(node: tree.Or) -> Holds:
    first, second, *others = [holds(part) for part in node.parts]
    if not others:
        return lambda lookup: first(lookup) or second(lookup)
    parts = (first, second, *others)

    def any_holds(lookup: Lookup) -> bool:
        for part in parts:  # noqa: SIM110 -- as above
            if part(lookup):
                return True
        return False

    return any_holds


@holds.register
def _comparison_holds(node: tree.Comparison) -> Holds:
    sign, left, right = node.sign, value(node.left), value(node.right)
    if isinstance(node.left, Property) and isinstance(right, Constant):
        return _compared(node.left.name, sign, right.result)
    if isinstance(node.right, Property) and isinstance(left, Constant):
        return _compared(node.right.name, FLIPPED[sign], left.result)
    return lambda lookup: compare(sign, left(lookup), right(lookup)) is True


def _compared(name: str, sign: str, constant: Value) -> Holds:
    """A property and a constant."""
    test, otherwise = COMPARISONS[sign]
    if isinstance(constant, str):

        def like_text(lookup: Lookup) -> bool:
            result = lookup(name)
            if isinstance(result, str):
                return test(result, constant)
            return compare(sign, result, constant) is True

        return like_text
    read = _reader(constant)
    if read is None:
        return lambda lookup: compare(sign, lookup(name), constant) is True

    def like_number(lookup: Lookup) -> bool:
        result = lookup(name)
        if isinstance(result, str):
            number = read(result)
            return otherwise if number is None else test(number, constant)
        return compare(sign, result, constant) is True

    return like_number


@holds.register
def _between_holds(node: tree.Between) -> Holds:
    of, low, high, opposite = value(node.of), value(node.low), value(node.high), node.opposite
    if not isinstance(low, Constant) or not isinstance(high, Constant):
        return lambda lookup: between(of(lookup), low(lookup), high(lookup), opposite) is True
    lowest, highest = low.result, high.result
    read = _reader(lowest)
    if read is None or read is not _reader(highest):
        return lambda lookup: between(of(lookup), lowest, highest, opposite) is True
    inside = not opposite

    def between_numbers(lookup: Lookup) -> bool:
        result = of(lookup)
        if isinstance(result, str):
            number = read(result)
            return number is not None and (lowest <= number <= highest) is inside
        return between(result, lowest, highest, opposite) is True

    return between_numbers


def _reader(constant: Value) -> Callable[[str], Any] | None:
    """Return what reads a text as a number of the constant's type."""
    if isinstance(constant, bool):
        return None
    return (
        to_integer
        if isinstance(constant, int)
        else to_float
        if isinstance(constant, float)
        else None
    )


@holds.register
def _like_holds(node: tree.Like) -> Holds:
    of, matches = value(node.of), compile_like(node.pattern, node.escape)

    def like(lookup: Lookup) -> bool:
        result = of(lookup)
        return isinstance(result, str) and matches(result)

    return like


@holds.register
def _in_holds(node: tree.In) -> Holds:
    name, choices = node.of.name, node.choices
    return lambda lookup: lookup(name) in choices
