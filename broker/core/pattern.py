"""Which names a wildcard means: `orders.*`, `orders.>`.

A name is elements with dots between them, as ActiveMQ has it (`DestinationFilter`, `PrefixDestinationFilter`):

- `*` stands for exactly one element: `a.*` matches `a.b`, neither `a` nor `a.b.c`;
- `>` at the end stands for whatever follows, and for nothing: `a.>` matches `a`, `a.b` and `a.b.c`;
  repeated at the end it says nothing more (`a.>.>` is `a.>`);
- anywhere but at the end `>` is an element like any other, and so are `a*`, `**` and `>>`;
- slashes, blanks and empty elements are part of the name: `a.*` matches `a.`.

Knows no queues, topics or prefixes: whoever compares destinations compares kinds first. A pattern may come
from a client, so compiling and matching take time linear in the lengths, with nothing to go back for.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

ONE, REST = "*", ">"
REMEMBERED = 1024  # patterns in compiled form: more than any broker uses at a time


def is_pattern(name: str) -> bool:
    """Tell whether a name means other names: an element is `*`, or the last one is `>`."""
    if ONE not in name and REST not in name:  # the usual name: no splitting
        return False
    elements = name.split(".")
    return elements[-1] == REST or ONE in elements


@lru_cache(maxsize=REMEMBERED)
def compile_pattern(pattern: str) -> Callable[[str], bool]:
    """Return the function that tells whether a name is meant by `pattern`.

    A pattern without wildcards means the name itself.
    """
    elements, rest = _parts(pattern)
    if not elements:  # ">" alone
        return lambda name: True
    if ONE not in elements:
        fixed = ".".join(elements)
        return _and_below(fixed) if rest else fixed.__eq__
    return _by_elements(elements, rest)


def is_within(pattern: str, other: str) -> bool:
    """Tell whether all names that a pattern means are among those that another means."""
    (inner, endless), (outer, rest) = _parts(pattern), _parts(other)
    inner = inner or [ONE]  # `>` alone: of any name there is one element
    if len(inner) < len(outer) or not (rest or (len(inner) == len(outer) and not endless)):
        return False
    return all(mine in (ONE, each) for mine, each in zip(outer, inner, strict=False))


def overlap(pattern: str, other: str) -> bool:
    """Tell whether two patterns may mean the same name."""
    (some, endless), (others, rest) = _parts(pattern), _parts(other)
    if (len(some) < len(others) and not endless) or (len(others) < len(some) and not rest):
        return False
    return all(
        one == other or ONE in (one, other) for one, other in zip(some, others, strict=False)
    )


def _parts(pattern: str) -> tuple[list[str], bool]:
    """Return a pattern's elements up to a `>` at the end, and whether there is one."""
    elements = pattern.split(".")
    rest = elements[-1] == REST
    while elements and elements[-1] == REST:
        elements.pop()
    return elements, rest


def _and_below(parent: str) -> Callable[[str], bool]:
    prefix = f"{parent}."
    return lambda name: name == parent or name.startswith(prefix)


def _by_elements(elements: list[str], rest: bool) -> Callable[[str], bool]:
    size = len(elements)
    fixed = [(place, element) for place, element in enumerate(elements) if element != ONE]

    def matches(name: str) -> bool:
        # One part more than there are elements tells a longer name; its rest is not looked at.
        parts = name.split(".", size)
        if len(parts) != size and not (rest and len(parts) > size):
            return False
        return all(parts[place] == element for place, element in fixed)

    return matches
