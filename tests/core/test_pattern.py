"""Which names a wildcard means, as a table; and that a pattern from a client costs next to nothing."""

from __future__ import annotations

import itertools
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.pattern import compile_pattern, is_pattern, is_within, overlap

#: A pattern, names it means, names it does not mean.
TABLE: list[tuple[str, list[str], list[str]]] = [
    ("a", ["a"], ["A", "b", "a.b", "", "aa", " a"]),
    ("a.b", ["a.b"], ["a", "a.b.c", "axb", "a/b"]),
    ("*", ["a", "", "a/b", "ü 1"], ["a.b", "."]),
    ("*.*", ["a.b", ".", "a."], ["a", "a.b.c"]),
    ("a.*", ["a.b", "a.", "a.*", "a.b c"], ["a", "a.b.c", "ab", "x.b"]),
    ("*.b", ["a.b", ".b"], ["b", "a.c", "a.b.b"]),
    ("a.*.c", ["a.b.c", "a..c"], ["a.c", "a.b.b.c", "a.b.d"]),
    ("a.*.*.d", ["a.b.c.d"], ["a.b.d", "a.b.c.d.e"]),
    (">", ["a", "a.b", "a.b.c", "", ".", "line\nbreak"], []),
    ("a.>", ["a", "a.b", "a.b.c", "a.", "a..b", "a.b\nc"], ["ab", "ab.c", "b.a", ""]),
    ("a.b.>", ["a.b", "a.b.c", "a.b.c.d"], ["a", "a.bc", "a.c"]),
    ("*.>", ["a", "a.b", "a.b.c", ""], []),
    ("a.*.>", ["a.b", "a.b.c", "a.b.c.d"], ["a", "b.c"]),
    ("*.b.>", ["a.b", "a.b.c"], ["a", "a.c.b"]),
    # Repeated at the end it says nothing more.
    ("a.>.>", ["a", "a.b", "a.b.c"], ["b"]),
    (">.>", ["a", "a.b"], []),
    # Anywhere else it is an element like any other.
    (">.a", [">.a"], ["b.a", "a"]),
    ("a.>.b", ["a.>.b"], ["a.x.b", "a.b", "a"]),
    ("a.>.*", ["a.>.b"], ["a.x.b", "a.>"]),
    # A part of an element is no wildcard, and nothing else is special.
    ("a*", ["a*"], ["ab", "a"]),
    ("a>", ["a>"], ["ab", "a"]),
    ("a.**", ["a.**"], ["a.b", "a.b.c"]),
    ("a.>>", ["a.>>"], ["a.b"]),
    ("a.[bc].?", ["a.[bc].?"], ["a.b.x"]),
    ("a.#", ["a.#"], ["a.b"]),
    ("shop/orders.*", ["shop/orders.new"], ["shop/orders", "shop.orders.new"]),
    ("größe.*", ["größe.M", "größe.\U0001f600"], ["grösse.M"]),
]
PATTERNS = {"*", "*.*", "a.*", "*.b", "a.*.c", "a.*.*.d", ">", "a.>", "a.b.>", "*.>", "a.*.>"} | {
    *("*.b.>", "a.>.>", ">.>", "a.>.*", "shop/orders.*", "größe.*")
}


@pytest.mark.parametrize(("pattern", "means", "not_meant"), TABLE, ids=[row[0] for row in TABLE])
def test_which_names_a_pattern_means(pattern: str, means: list[str], not_meant: list[str]) -> None:
    matches = compile_pattern(pattern)
    assert [name for name in means if not matches(name)] == []
    assert [name for name in not_meant if matches(name)] == []
    assert is_pattern(pattern) == (pattern in PATTERNS)


def slowly(pattern: list[str], name: list[str]) -> bool:
    """Say the same element by element."""
    if not pattern:
        return not name
    if set(pattern) == {">"}:
        return True
    if not name:
        return False
    return pattern[0] in ("*", name[0]) and slowly(pattern[1:], name[1:])


elements = st.lists(st.sampled_from(["a", "b", "*", ">", "", "a*"]), min_size=1, max_size=5)


@given(pattern=elements, name=elements)
def test_any_pattern_against_any_name(pattern: list[str], name: list[str]) -> None:
    found = compile_pattern(".".join(pattern))(".".join(name))
    assert found == slowly(pattern, name)


@given(name=elements)
def test_what_is_no_pattern_means_itself_alone(name: list[str]) -> None:
    text = ".".join(name)
    assert compile_pattern(text)(text)
    if not is_pattern(text):
        assert not compile_pattern(text)(text + ".x")
        assert not compile_pattern(text)("x" + text)


def test_a_pattern_from_a_client_costs_next_to_nothing() -> None:
    """However it is made: no pattern of the length a name may have makes matching search."""
    worst = 0.0
    for pattern in ("*." * 127 + "x", "*." * 127 + ">", "a.*." * 63 + "b", ">." * 127 + "*"):
        matches = compile_pattern(pattern)
        for name in ("a." * 127 + "y", "." * 255, "a" * 255, "a.b." * 63 + "c"):
            began = time.perf_counter()
            matches(name)
            worst = max(worst, time.perf_counter() - began)
    assert worst < 0.01


PARTS = st.lists(st.sampled_from(["a", "b", "*"]), max_size=3)
ENDED = st.tuples(PARTS, st.booleans()).map(lambda each: ".".join(each[0] + [">"] * each[1]))
NAMES = [".".join(name) for size in range(1, 6) for name in itertools.product("abc", repeat=size)]


@given(ENDED, ENDED)
def test_patterns_within_each_other(pattern: str, other: str) -> None:
    """Compared with all names that there are, up to a length that makes a difference."""
    some = {name for name in NAMES if compile_pattern(pattern)(name)}
    others = {name for name in NAMES if compile_pattern(other)(name)}
    if pattern and other:  # the empty name is no name of these
        assert is_within(pattern, other) == (some <= others)
        assert overlap(pattern, other) == (not some.isdisjoint(others))
