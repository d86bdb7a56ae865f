"""What selectors mean, a second time: slow, and simple enough to be seen to be right. Knows no broker.

A `Node` writes itself as a selector, with no more parentheses than it needs, and says what it is for a
message. Numbers are read by a regular expression, LIKE is asked character by character, and nothing is
prepared. The strategies make nodes that are valid selectors, and messages they may meet.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from hypothesis import strategies as st

Value = str | int | float | bool | None
Message = Mapping[str, Value]

OR, AND, EQUALITY, COMPARISON, SUM, PRODUCT, UNARY, PRIMARY = range(8)  # loosest first


class Node:
    """Part of a selector."""

    level = PRIMARY

    def text(self) -> str:
        raise NotImplementedError

    def of(self, message: Message) -> Value:
        raise NotImplementedError

    def within(self, level: int) -> str:
        """The text where something must bind at least so tightly."""
        return self.text() if self.level >= level else f"({self.text()})"


# --- reading values -------------------------------------------------------------------------------


def as_integer(text: str) -> int | None:
    if re.fullmatch(r"[+-]?[0-9]+", text) and -(2**63) <= int(text) < 2**63:
        return int(text)
    return None


def as_real(text: str) -> float | None:
    if re.fullmatch(r"\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\s*", text):
        real = float(text)
        return None if math.isinf(real) else real
    return None


def as_number(value: Value) -> int | float | None:
    if isinstance(value, str):
        return as_real(value) if as_integer(value) is None else as_integer(value)
    return None if isinstance(value, bool) else value


def is_true(text: str) -> bool:
    return text.upper() == "TRUE"


def order(left: Value, right: Value) -> int | None:
    """-1, 0 or 1, None if they cannot be compared. Neither is NULL."""
    if isinstance(left, str) and not isinstance(right, str):
        turned = order(right, left)
        return None if turned is None else -turned
    if isinstance(right, str) and not isinstance(left, str):
        if isinstance(left, bool):
            right = is_true(right)
        elif isinstance(left, int):
            right = as_integer(right)
        else:
            right = as_real(right)
        if right is None:
            return None
    if isinstance(left, bool) != isinstance(right, bool):
        return None
    assert left is not None
    assert right is not None
    return (left > right) - (left < right)  # type: ignore[operator]


def compare(sign: str, left: Value, right: Value) -> bool | None:
    if left is None or right is None:
        return None
    placed = order(left, right)
    if placed is None:
        return sign == "<>"
    return {
        "=": placed == 0,
        "<>": placed != 0,
        "<": placed < 0,
        "<=": placed <= 0,
        ">": placed > 0,
        ">=": placed >= 0,
    }[sign]


def both(one: Value, other: Value) -> bool | None:
    if one is False or other is False:
        return False
    return None if one is None or other is None else True


def opposite(one: Value) -> bool | None:
    return None if one is None else one is False


# --- values ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Text(Node):
    value: str

    def text(self) -> str:
        return "'" + self.value.replace("'", "''") + "'"

    def of(self, message: Message) -> Value:
        return self.value


@dataclass(frozen=True)
class Number(Node):
    value: int | float
    form: str  # how it is written: of integers, a format such as "0x%x"

    @property
    def level(self) -> int:  # type: ignore[override]
        return UNARY if self.value < 0 else PRIMARY

    def text(self) -> str:
        if isinstance(self.value, float):
            return repr(self.value)
        return ("-" if self.value < 0 else "") + self.form % abs(self.value)

    def of(self, message: Message) -> Value:
        return self.value


@dataclass(frozen=True)
class Word(Node):
    """TRUE, FALSE, NULL."""

    word: str

    def text(self) -> str:
        return self.word

    def of(self, message: Message) -> Value:
        return {"TRUE": True, "FALSE": False, "NULL": None}[self.word.upper()]


@dataclass(frozen=True)
class Property(Node):
    name: str

    def text(self) -> str:
        if re.fullmatch("[a-z]+", self.name):
            return self.name
        return '"' + self.name.replace('"', '""') + '"'

    def of(self, message: Message) -> Value:
        return message.get(self.name)


@dataclass(frozen=True)
class Minus(Node):
    operand: Node
    level = UNARY

    def text(self) -> str:
        return "- " + self.operand.within(UNARY)

    def of(self, message: Message) -> Value:
        return Reckon("-", Number(0, "%d"), self.operand).of(message)


@dataclass(frozen=True)
class Reckon(Node):
    sign: str
    left: Node
    right: Node

    @property
    def level(self) -> int:  # type: ignore[override]
        return SUM if self.sign in "+-" else PRODUCT

    def text(self) -> str:
        left, right = self.left.within(self.level), self.right.within(self.level + 1)
        return f"{left} {self.sign} {right}"

    def of(self, message: Message) -> Value:
        left, right = self.left.of(message), self.right.of(message)
        if left is None or right is None:
            return None
        if self.sign == "+" and isinstance(left, str):
            return left + (str(right).lower() if isinstance(right, bool) else str(right))
        one, other = as_number(left), as_number(right)
        if one is None or other is None:
            return None
        if self.sign in "/%" and other == 0:
            return None
        result: int | float
        if self.sign == "/":
            result = float(one) / float(other)
        elif self.sign == "%":
            result = math.fmod(float(one), float(other))
        else:
            result = {"+": one + other, "-": one - other, "*": one * other}[self.sign]
        if isinstance(result, float):
            return result if math.isfinite(result) else None
        return result if -(2**63) <= result < 2**63 else float(result)


# --- conditions -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Bare(Node):
    """A property as a condition."""

    operand: Node

    def text(self) -> str:
        return self.operand.text()

    def of(self, message: Message) -> Value:
        value = self.operand.of(message)
        if value is None or isinstance(value, bool):
            return value
        return isinstance(value, str) and is_true(value)


@dataclass(frozen=True)
class Not(Node):
    operand: Node
    level = UNARY

    def text(self) -> str:
        return "NOT " + self.operand.within(UNARY)

    def of(self, message: Message) -> Value:
        return opposite(self.operand.of(message))


@dataclass(frozen=True)
class All(Node):
    parts: tuple[Node, ...]
    level = AND

    def text(self) -> str:
        return " AND ".join(part.within(EQUALITY) for part in self.parts)

    def of(self, message: Message) -> Value:
        result: bool | None = True
        for part in self.parts:
            result = both(result, part.of(message))
        return result


@dataclass(frozen=True)
class Any(Node):
    parts: tuple[Node, ...]
    level = OR

    def text(self) -> str:
        return " or ".join(part.within(AND) for part in self.parts)

    def of(self, message: Message) -> Value:
        # De Morgan
        return opposite(All(tuple(Not(part) for part in self.parts)).of(message))


@dataclass(frozen=True)
class Compare(Node):
    sign: str
    left: Node
    right: Node

    @property
    def level(self) -> int:  # type: ignore[override]
        return EQUALITY if self.sign in ("=", "<>") else COMPARISON

    def text(self) -> str:
        left, right = self.left.within(self.level), self.right.within(self.level + 1)
        return f"{left} {self.sign} {right}"

    def of(self, message: Message) -> Value:
        return compare(self.sign, self.left.of(message), self.right.of(message))


@dataclass(frozen=True)
class Between(Node):
    operand: Node
    low: Node
    high: Node
    turned: bool
    level = COMPARISON

    def text(self) -> str:
        verb = "NOT BETWEEN" if self.turned else "BETWEEN"
        low, high = self.low.within(SUM), self.high.within(SUM)
        return f"{self.operand.within(SUM)} {verb} {low} AND {high}"

    def of(self, message: Message) -> Value:
        if self.turned:
            smaller = Compare("<", self.operand, self.low)
            return Any((smaller, Compare(">", self.operand, self.high))).of(message)
        larger = Compare(">=", self.operand, self.low)
        return All((larger, Compare("<=", self.operand, self.high))).of(message)


@dataclass(frozen=True)
class IsNull(Node):
    operand: Node
    turned: bool
    level = EQUALITY

    def text(self) -> str:
        return self.operand.within(EQUALITY) + (" IS NOT NULL" if self.turned else " IS NULL")

    def of(self, message: Message) -> Value:
        return (self.operand.of(message) is None) is not self.turned


@dataclass(frozen=True)
class In(Node):
    operand: Property
    choices: tuple[str, ...]
    turned: bool
    level = COMPARISON

    def text(self) -> str:
        choices = ", ".join(Text(choice).text() for choice in self.choices)
        return f"{self.operand.text()} {'NOT IN' if self.turned else 'IN'} ({choices})"

    def of(self, message: Message) -> Value:
        value = self.operand.of(message)
        if value is None:
            return None
        return (isinstance(value, str) and value in self.choices) is not self.turned


@dataclass(frozen=True)
class Like(Node):
    operand: Node
    pattern: str
    escape: str
    turned: bool
    level = COMPARISON

    def text(self) -> str:
        text = self.operand.within(COMPARISON) + (" NOT LIKE " if self.turned else " LIKE ")
        text += Text(self.pattern).text()
        return text + (" ESCAPE " + Text(self.escape).text() if self.escape else "")

    def of(self, message: Message) -> Value:
        value = self.operand.of(message)
        if value is None:
            return None
        matches = isinstance(value, str) and like(value, self.pattern, self.escape)
        return matches is not self.turned


def like(text: str, pattern: str, escape: str) -> bool:
    """Whether the whole text matches, by trying whatever % may stand for."""
    places = {0}  # up to which the text may be used up
    at = 0
    while at < len(pattern):
        character = pattern[at]
        following = pattern[at + 1 : at + 2]
        if escape and character == escape and following and following in "%_" + escape:
            places = {place + 1 for place in places if text[place : place + 1] == following}
            at += 1
        elif character == "%":
            places = {later for place in places for later in range(place, len(text) + 1)}
        elif character == "_":
            places = {place + 1 for place in places if place < len(text)}
        else:
            places = {place + 1 for place in places if text[place : place + 1] == character}
        at += 1
    return len(text) in places


# --- strategies -----------------------------------------------------------------------------------

NAMES = ("a", "b", "c", "missing", "x-y", 'a"b')

integers = st.one_of(
    st.integers(-3, 12), st.sampled_from((2**31, 2**53 + 1, 2**63 - 1, -(2**63), 10**12))
)
reals = st.one_of(
    st.sampled_from((0.5, 1.0, 1.5, -2.5, 7.0, 1e10, 2.5e-7, 1e300)),
    st.floats(allow_nan=False, allow_infinity=False, min_value=-1e6, max_value=1e6),
)
numeric_texts = st.one_of(
    st.one_of(integers, reals).map(str),
    st.sampled_from(("+5", "007", " 5", "5 ", "1_0", ".5", "5.", "1e3", "1E400", "9" * 30, "")),
    st.sampled_from(("nan", "inf", "Infinity", "-", "+", "--1", "1.5.", "0x10", "1e", "²")),
)
words = st.text("ab%_\\!'\n", max_size=6)
texts = st.one_of(words, numeric_texts, st.sampled_from(("true", "FALSE", "True", "banana")))
values = st.one_of(st.none(), texts, texts, integers, reals, st.booleans())
messages: st.SearchStrategy[dict[str, Value]] = st.fixed_dictionaries(
    {name: values for name in NAMES if name != "missing"}
)

properties = st.sampled_from(NAMES).map(Property)
truths = st.sampled_from(("TRUE", "FALSE", "true")).map(Word)
numbers = st.one_of(
    st.builds(Number, integers, st.sampled_from(("%d", "%d", "0x%x", "0X%X", "0%o", "%dL"))),
    st.builds(Number, reals, st.just("")),
)
strings = texts.map(Text)


def _expressions(inner: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    return st.one_of(
        st.builds(Minus, inner), st.builds(Reckon, st.sampled_from("+-*/%"), inner, inner)
    )


def _conditions(inner: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    several = st.lists(inner, min_size=2, max_size=4).map(tuple)
    # A condition as a value; a bare property is none, for there it stands for itself.
    said = inner.filter(lambda node: not isinstance(node, Bare))
    hidden = st.builds(Reckon, st.just("+"), strings, said)
    return st.one_of(
        st.builds(Not, inner),
        st.builds(All, several),
        st.builds(Any, several),
        st.builds(Compare, st.sampled_from(("=", "<>")), st.one_of(said, properties), said),
        st.builds(IsNull, said, st.booleans()),
        st.builds(Like, said, words, st.just(""), st.booleans()),
        st.builds(Compare, signs, hidden, operands),
        st.builds(Between, hidden, numbers, numbers, st.booleans()),
    )


signs = st.sampled_from(("=", "<>", "<", "<=", ">", ">="))
# What may stand beside any sign, and what only beside = and <>.
ordered = st.one_of(properties, numbers)
arithmetic = st.recursive(
    st.one_of(ordered, ordered, strings, truths),
    _expressions,
    max_leaves=4,
).filter(lambda node: not isinstance(node, Text | Word))
operands = st.one_of(ordered, arithmetic)

plain = st.one_of(
    st.builds(Bare, st.one_of(properties, truths, st.just(Word("NULL")))),
    st.builds(Compare, signs, properties, numbers),
    st.builds(Compare, signs, numbers, properties),
    st.builds(Compare, signs, operands, operands),
    st.builds(Compare, st.sampled_from(("=", "<>")), properties, st.one_of(strings, truths)),
    st.builds(Compare, st.sampled_from(("=", "<>")), st.one_of(strings, truths), properties),
    st.builds(Compare, st.sampled_from(("=", "<>")), strings, strings),
    st.builds(Between, properties, numbers, numbers, st.booleans()),
    st.builds(Between, operands, operands, operands, st.booleans()),
    st.builds(In, properties, st.lists(texts, min_size=1, max_size=6).map(tuple), st.booleans()),
    st.builds(
        Like,
        st.one_of(properties, properties, strings, arithmetic),
        words,
        st.sampled_from(("", "\\", "!", "%", "_", "a")),
        st.booleans(),
    ),
    st.builds(IsNull, st.one_of(operands, st.just(Word("NULL"))), st.booleans()),
)
conditions = st.recursive(plain, _conditions, max_leaves=8)
