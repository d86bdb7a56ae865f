"""What a selector says, as a tree of immutable nodes. Knows neither its text nor how it is evaluated.

A `Condition` is TRUE, FALSE or unknown; any other node may also be a text or a number.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

from broker.selector.values import Value


class Tree:
    """A node."""

    __slots__ = ()


class Condition(Tree):
    """A node that is TRUE, FALSE or unknown."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Literal(Tree):
    """A value that is written in the selector; None is NULL."""

    value: Value


@dataclass(frozen=True, slots=True)
class Property(Tree):
    """The value of a message's property."""

    name: str


@dataclass(frozen=True, slots=True)
class Negation(Tree):
    """`-of`."""

    of: Tree


@dataclass(frozen=True, slots=True)
class Step(Tree):
    """`… sign by`, with a sign of `values.ARITHMETIC`."""

    sign: str
    by: Tree


@dataclass(frozen=True, slots=True)
class Arithmetic(Tree):
    """`first`, then each step on what came out so far: a long sum is no deep tree."""

    first: Tree
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Replace(Tree):
    """REPLACE: every `old` in a text becomes `new`."""

    of: Tree
    old: str  # not empty
    new: str


@dataclass(frozen=True, slots=True)
class MakeList(Tree):
    """MAKELIST: only INLIST takes it."""

    items: tuple[Tree, ...]


@dataclass(frozen=True, slots=True)
class Split(Tree):
    """SPLIT: only INLIST takes it. `limit` as in Java: 0 all without empty ones at the end, -1 all."""

    of: Tree
    separator: str  # not empty
    limit: int


@dataclass(frozen=True, slots=True)
class Cast(Condition):
    """A bare property, or one of TRUE, FALSE and NULL, where a condition is wanted."""

    of: Tree


@dataclass(frozen=True, slots=True)
class Not(Condition):
    """NOT."""

    of: Condition


@dataclass(frozen=True, slots=True)
class And(Condition):
    """AND of two or more."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Or(Condition):
    """OR of two or more."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Comparison(Condition):
    """`left sign right`, with a sign of `values.COMPARISONS`."""

    sign: str
    left: Tree
    right: Tree


@dataclass(frozen=True, slots=True)
class Between(Condition):
    """`of BETWEEN low AND high`, or its opposite. One node, for `of` is to be evaluated once."""

    of: Tree
    low: Tree
    high: Tree
    opposite: (
        bool  # NOT BETWEEN: smaller or larger, which is not NOT (BETWEEN) for what is no number
    )


@dataclass(frozen=True, slots=True)
class IsNull(Condition):
    """IS NULL."""

    of: Tree


@dataclass(frozen=True, slots=True)
class Like(Condition):
    """LIKE."""

    of: Tree
    pattern: str
    escape: str  # one character or none


@dataclass(frozen=True, slots=True)
class In(Condition):
    """IN."""

    of: Property
    choices: frozenset[str]


@dataclass(frozen=True, slots=True)
class InList(Condition):
    """INLIST."""

    choices: MakeList | Split
    of: Tree


def walk(tree: Tree) -> Iterator[Tree]:
    """Yield the tree's nodes, itself first."""
    nodes = [tree]
    while nodes:
        node = nodes.pop()
        yield node
        for field in fields(node):  # type: ignore[arg-type]  # every node is a dataclass
            inner = getattr(node, field.name)
            if isinstance(inner, Tree):
                nodes.append(inner)
            elif isinstance(inner, tuple):
                nodes.extend(inner)


def texts_in(condition: Condition) -> dict[str, str]:
    """Return what is certain of a message for which a condition is TRUE: property → text, where it is a text."""
    if isinstance(condition, And):
        return {name: text for part in condition.parts for name, text in texts_in(part).items()}
    if isinstance(condition, Comparison) and condition.sign == "=":
        sides = (condition.left, condition.right), (condition.right, condition.left)
        for one, other in sides:
            if (
                isinstance(one, Property)
                and isinstance(other, Literal)
                and isinstance(other.value, str)
            ):
                return {one.name: other.value}
    return {}


def names_in(tree: Tree) -> frozenset[str]:
    """Return the names of the properties that a tree asks for."""
    return frozenset(node.name for node in walk(tree) if isinstance(node, Property))
