"""Selectors as users write them: what is selected, what is refused in which words, and what is bounded."""

import inspect
import re
import sys
import time

import pytest

from broker.errors import Refusal
from broker.selector import LONGEST, InvalidSelector, Selector, Value, compile_selector
from tests.selector.cases import INVALID, ROWS, Properties


def test_rows_are_told_apart() -> None:
    assert len({(selector, str(properties)) for _, selector, properties, _ in ROWS}) == len(ROWS)


@pytest.mark.parametrize(
    ("selector", "properties", "selected"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS]
)
def test_a_message_is_selected(selector: str, properties: Properties, selected: bool) -> None:
    # `is`: the type says bool, and unknown is not selected either
    assert compile_selector(selector).matches(properties.get) is selected


@pytest.mark.parametrize(("selector", "text", "hint"), INVALID)
def test_an_invalid_selector_is_refused_in_words(selector: str, text: str, hint: str) -> None:
    """The client is told what is wrong, where, and what would be right; its connection goes on."""
    with pytest.raises(InvalidSelector) as refused:
        compile_selector(selector)
    assert refused.value.text.startswith("Invalid selector: ")
    assert text in refused.value.text
    assert hint in refused.value.hint
    assert isinstance(refused.value, Refusal)
    assert not refused.value.fatal


def test_what_an_error_says_fits_into_a_header() -> None:
    """Whatever the client wrote, the text is short, printable and one line."""
    for selector, _, _ in INVALID:
        with pytest.raises(InvalidSelector) as refused:
            compile_selector(selector)
        for said in (refused.value.text, refused.value.hint):
            assert said.isprintable()
            assert len(said) < 200


def test_a_selector_tells_what_it_asks_for() -> None:
    """So that only those headers need to be read."""
    selector = compile_selector("a = 1 AND (\"b-c\" LIKE 'x%' OR NOT d) AND a + e IS NULL")
    assert selector.names == {"a", "b-c", "d", "e"}


def test_a_selector_asks_for_nothing_else() -> None:
    asked: list[str] = []

    def lookup(name: str) -> Value:
        asked.append(name)
        return None

    for row in ROWS:
        selector = compile_selector(row[1])
        asked.clear()
        selector.matches(lookup)
        assert set(asked) <= selector.names


def test_a_selector_is_a_value() -> None:
    selector = compile_selector("a = 1")
    assert isinstance(selector, Selector)
    assert selector.text == "a = 1"
    with pytest.raises(AttributeError):
        selector.text = "a = 2"  # type: ignore[misc]


def test_a_selector_is_compiled_once() -> None:
    """A thousand consumers of a service bring the same one."""
    assert compile_selector("once = 1") is compile_selector("once = 1")
    assert compile_selector("once = 1", 100) is compile_selector("once = 1")


def test_constants_are_computed_once() -> None:
    """`60 * 60 * 24` costs nothing per message, which shows in that nothing is left to look up."""
    selector = compile_selector("REPLACE('a' + 'b', 'b', 'c') = 'ac' AND -(2 * 3) = 1 - 7")
    properties: Properties = {}
    assert selector.names == set()
    assert selector.matches(properties.__getitem__)


# --- bounds ---------------------------------------------------------------------------------------


def test_the_length_is_bounded() -> None:
    nothing: Properties = {}
    longest = "a = '" + "x" * (LONGEST - 6) + "'"
    assert not compile_selector(longest).matches(nothing.get)
    with pytest.raises(InvalidSelector, match="it has 1025 characters, 1024 are allowed"):
        compile_selector(longest + " ")


def test_an_operator_may_allow_longer_ones_and_shorter_ones() -> None:
    selector = "a IN (" + ", ".join(f"'{n}'" for n in range(2000)) + ")"
    assert compile_selector(selector, 20_000).matches({"a": "1999"}.get)
    with pytest.raises(InvalidSelector):
        compile_selector(selector)
    with pytest.raises(InvalidSelector, match="it has 5 characters, 4 are allowed"):
        compile_selector("a = 1", 4)


DEEPEST = [
    "(" * 20 + "a = 1" + ")" * 20,
    "NOT " * 20 + "a",
    "a = " + "- " * 20 + "b",
    "NOT (" * 10 + "a" + ")" * 10,
    "a" + " = a" * 20,
    "a" + " LIKE 'x'" * 20,
    "(a = 1 AND (b = 2 OR " * 10 + "c" + "))" * 10,
    "-(1 + (2 * " * 6 + "a" + "))" * 6 + " = 1",
    "REPLACE(" * 20 + "a" + ", 'x', 'y')" * 20 + " = 'x'",
    "INLIST(MAKELIST(" * 10 + "a" + "), b)" * 10,
    "('x' + (" * 9 + "a" + " BETWEEN 1 AND 2))" * 9 + " IS NULL",
    "NOT (a OR (b AND " * 6 + "c" + "))" * 6 + " = a" * 14,
]


@pytest.mark.parametrize("text", DEEPEST)
def test_the_stack_is_bounded(text: str) -> None:
    """The deepest selectors that are allowed need about 260 of Python's usual 1000 frames."""
    properties: Properties = {"a": "1", "b": "true", "c": "x"}
    used = len(inspect.stack(0))
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(used + 350)
    try:
        selector = compile_selector(text)
        assert selector.matches(properties.get) in (True, False)
    finally:
        sys.setrecursionlimit(limit)


@pytest.mark.parametrize(
    "text",
    [
        *DEEPEST,
        "a BETWEEN a AND a AND a NOT BETWEEN -a AND 1 + a",
        "a = 1 OR NOT (a = 1) OR a + a + a > 0 OR a IN ('x') OR a LIKE 'x' OR INLIST(MAKELIST(a), a)",
    ],
)
@pytest.mark.parametrize("found", [None, "x", "1", 1, True])
def test_nothing_is_evaluated_twice(text: str, found: Value) -> None:
    """So the cost grows with the length of a selector, never with the power of its depth."""
    asked: list[str] = []

    def lookup(name: str) -> Value:
        asked.append(name)
        return found

    compile_selector(text).matches(lookup)
    for name in ("a", "b", "c"):
        assert asked.count(name) <= len(re.findall(rf"\b{name}\b", text))


def filled(unit: str, joint: str = "", before: str = "", after: str = "") -> str:
    """Return as many units as a selector can hold."""
    many = (LONGEST - len(before) - len(after)) // len(unit + joint)
    return before + joint.join([unit] * many) + after


HOSTILE = [
    filled("%a", before="a LIKE '", after="b'"),
    filled("%a_a", before="a LIKE '", after="b'"),
    filled("a_", before="a LIKE '%", after="b%'"),
    filled("_", before="a LIKE '%", after="b%'"),
    filled("a", before="a LIKE '%", after="b%'"),
    filled("a LIKE '%_a_b%'", " OR "),
    filled("a", "+", after="='x'"),
    filled("a", "*", after="=1"),
    filled("a=1", " OR "),
    filled("a=1.", " OR "),
    filled("REPLACE(a,'a','aa')='x'", " OR "),
    filled("INLIST(SPLIT(a,','),'x')", " OR "),
    filled("INLIST(SPLIT(a,','),1)", " OR "),
    "REPLACE(" * 20 + "a" + ",'a','aaaaaaaaaa')" * 20 + " = 'x'",
]
LONG_HEADERS = ["a" * 8192, "9" * 8192, "," * 8192, "1" * 4096 + "." + "1" * 4095, "ab" * 4096]


@pytest.mark.parametrize("text", HOSTILE)
def test_the_cost_is_bounded(text: str) -> None:
    """The worst that fits into a selector, over the longest header: milliseconds, here a generous second."""
    selector = compile_selector(text)
    for header in LONG_HEADERS:
        properties: Properties = {"a": header}
        before = time.process_time()
        assert selector.matches(properties.get) in (True, False)
        assert time.process_time() - before < 1
