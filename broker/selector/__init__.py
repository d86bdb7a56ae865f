"""SQL-92 selectors as ActiveMQ speaks them: text in, a filter for messages out.

    wanted = compile_selector("JMSType = 'car' AND weight > 2500 AND color IN ('red', 'blue')")
    wanted.names                   # {"JMSType", "weight", "color"}
    wanted.texts                   # {"JMSType": "car"}
    wanted.matches(headers.get)    # True, False

The package is pure and stands on the ground floor: it knows no message, no header and no queue, only a
function that returns the value of a property by its name. The text comes from strangers, so nothing in it
is ever executed as code, and size, depth and cost are bounded (`LONGEST`, `parse.DEPTH`, `compile`).

    tokens   text → words                parse    words → tree
    tree     what a selector says        compile  tree → nested functions
    values   what the operators mean     like     LIKE patterns

The grammar is in `parse`, the meaning in `values`; both are ActiveMQ's (`SelectorParser.jj`,
`org.apache.activemq.filter`) with `convert_string_expressions:`, which it puts before every selector that
comes over STOMP: a header, always a text, is read as the type it is compared with. What differs:

* A comparison with a missing property is unknown, as SQL and JMS say. ActiveMQ takes `a <> b` for TRUE if
  only b is missing, and `a = b` if both are.
* A bare property, `NOT flag`, reads the text `true` as TRUE. ActiveMQ takes every text for FALSE.
* Arithmetic reads a text as a number, and what cannot be computed is NULL (see `values`). ActiveMQ throws an
  exception in the midst of dispatching, or goes on with infinity. Only `+` behind a text appends, in both.
* INLIST compares as `=` does with MAKELIST, and texts with SPLIT. ActiveMQ wants equal Java types.
* Integers have 64 bits from the start, so `time > 0` is true of 1700000000000. ActiveMQ reads a text beside
  a small integer as one of 32 bits.
* Names with `-`, `.` or any other character may be written in "double quotes" or `back-quotes`.
* XPATH and XQUERY are refused: there is no XML parser here.
* REGEX is refused. Python's `re` backtracks, so one message could stop the broker; RE2 does not, but its
  Python package is a compiled one of 1.5 MB, without wheels for musl, whose patterns are not Java's either,
  for a function that few know. LIKE does for most of it.
* Arguments of functions may be sums without parentheses of their own.
* REPLACE and SPLIT take plain text where ActiveMQ takes a regular expression, which for plain text is the
  same; a pattern that would mean more than itself is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from broker.selector.compile import holds
from broker.selector.errors import InvalidSelector
from broker.selector.parse import parse
from broker.selector.tree import names_in, texts_in
from broker.selector.values import Lookup, Value

__all__ = ["LONGEST", "InvalidSelector", "Lookup", "Selector", "Value", "compile_selector"]

LONGEST = 1024  # characters
REMEMBERED = 256  # compiled selectors: the consumers of a service all bring the same one


@dataclass(frozen=True, slots=True)
class Selector:
    """A compiled selector."""

    text: str
    names: frozenset[str]  # the properties that it asks for
    texts: Mapping[str, str]  # properties that, where they are texts, must be exactly these
    matches: Callable[[Lookup], bool]  # whether it is TRUE; FALSE and unknown select nothing


def compile_selector(text: str, longest: int = LONGEST) -> Selector:
    """Compile a selector of at most `longest` characters. Raises `InvalidSelector`."""
    if len(text) > longest:
        raise InvalidSelector(
            f"it has {len(text)} characters, {longest} are allowed",
            "a IN ('x', 'y') is shorter than a = 'x' OR a = 'y'.",
        )
    return _compile(text)


@lru_cache(REMEMBERED)
def _compile(text: str) -> Selector:
    condition = parse(text)
    return Selector(text, names_in(condition), texts_in(condition), holds(condition))
