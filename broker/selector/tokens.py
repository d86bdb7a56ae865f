"""The words of a selector: text in, tokens out. Knows nothing of what may follow what.

One regular expression reads one token. It cannot backtrack: its repetitions are possessive, and what
follows the lazy one, of a block comment, is fixed.
"""

from __future__ import annotations

import math
import re
from typing import NamedTuple

from broker.selector.errors import InvalidSelector, shown
from broker.selector.values import INTEGERS

NAME, TEXT, NUMBER, END = "name", "text", "number", "end"

KEYWORDS = frozenset(
    (
        *("NOT", "AND", "OR", "BETWEEN", "LIKE", "ESCAPE", "IN", "IS"),
        *("TRUE", "FALSE", "NULL", "XPATH", "XQUERY"),
    )
)

TOKEN = re.compile(
    r"""
      (?P<blank>   [ \t\n\r\f]++ | --[^\n\r]*+ | /\*.*?\*/ )
    | (?P<float>   (?: [0-9]++ \. [0-9]*+ (?:[eE][+-]?[0-9]++)?+     # 5.  5.5  5.5E10
                     | \. [0-9]++ (?:[eE][+-]?[0-9]++)?+             # .5  .5E10
                     | [0-9]++ [eE][+-]?[0-9]++ ) (?![A-Za-z0-9_$])  # 5E10
      )
    | (?P<hex>     0[xX] [0-9a-fA-F]++ (?![A-Za-z0-9_$.]) )
    | (?P<octal>   0 [0-7]++ (?![A-Za-z0-9_$.]) )
    | (?P<decimal> (?: 0 | [1-9][0-9]*+ ) (?: [lL] )?+ (?![A-Za-z0-9_$.]) )
    | (?P<text>    ' [^']*+ (?: '' [^']*+ )*+ ' )
    | (?P<quoted>  " [^"]*+ (?: "" [^"]*+ )*+ " | ` [^`]*+ (?: `` [^`]*+ )*+ ` )
    | (?P<word>    [A-Za-z_$][A-Za-z0-9_$]*+ )
    | (?P<sign>    <> | <= | >= | / (?!\*) | [-=<>()+*%,] )
    """,
    re.VERBOSE | re.DOTALL,
)
BASES = {"hex": 16, "octal": 8, "decimal": 10}

NUMBER_LIKE = re.compile(r"\.?[0-9][A-Za-z0-9_$.]*+")

# How an unreadable rest begins → what is wrong with it, what would be right.
UNREADABLE = [
    ("'", "the text is not closed that begins", "A ' inside a text is written twice: 'it''s'."),
    ('"', "the name is not closed that begins", 'A " inside a name is written twice.'),
    ("`", "the name is not closed that begins", "A ` inside a name is written twice."),
    ("/*", "the comment is not closed that begins", "A comment ends with */."),
    ("!", "'!' is not understood", "Unequal is written <>."),
    ("&", "'&' is not understood", "Both conditions: a = 1 AND b = 2."),
    ("|", "'|' is not understood", "Either condition: a = 1 OR b = 2."),
    (".", "'.' is not understood", 'A name with dots is written in quotes: "my.header" = 1.'),
]
UNUSUAL = "A name of more than letters, digits, _ and $ is written in quotes: \"my-header\" = 'x'."


class Token(NamedTuple):
    """`kind` is NAME, TEXT, NUMBER or END, otherwise the keyword or sign itself."""

    kind: str
    value: str | int | float  # the name, the text without its quotes, the number
    position: int  # of its first character, counted from 1
    source: str  # as it is written


def tokenize(text: str) -> list[Token]:
    """Return the tokens of a selector, END last. Raises `InvalidSelector`."""
    tokens = []
    at = 0
    while at < len(text):
        match = TOKEN.match(text, at)
        if match is None:
            raise _unreadable(text, at)
        group = match.lastgroup
        if group != "blank" and group is not None:
            tokens.append(_token(group, match[0], at + 1))
        at = match.end()
    tokens.append(Token(END, "", len(text) + 1, "the end"))
    return tokens


def _token(group: str, source: str, position: int) -> Token:
    if group == "word":
        keyword = source.upper()
        if keyword in KEYWORDS:
            return Token(keyword, keyword, position, source)
        return Token(NAME, source, position, source)
    if group == "sign":
        return Token(source, source, position, source)
    if group == "text":
        return Token(TEXT, source[1:-1].replace("''", "'"), position, source)
    if group == "quoted":
        quote = source[0]
        name = source[1:-1].replace(quote * 2, quote)
        if not name:
            raise InvalidSelector(f"the name at character {position} is empty", UNUSUAL)
        return Token(NAME, name, position, source)
    return Token(NUMBER, _number(group, source, position), position, source)


def _number(group: str, source: str, position: int) -> int | float:
    if group == "float":
        number = float(source)
        if not math.isfinite(number):
            raise _too_large(source, position, "The largest number is 1.7E308.")
        return number
    # One more than the largest integer is left to the parser: it may stand behind a minus.
    digits = source.rstrip("lL")
    if len(digits) > 64 or (integer := int(digits, BASES[group])) > INTEGERS.stop:
        raise _too_large(source, position, "An integer has 64 bits; a larger number: 1E20.")
    return integer


def _too_large(source: str, position: int, hint: str) -> InvalidSelector:
    return InvalidSelector(f"the number {shown(source)} at character {position} is too large", hint)


def _unreadable(text: str, at: int) -> InvalidSelector:
    number = NUMBER_LIKE.match(text, at)
    if number is not None:
        return InvalidSelector(
            f"{shown(number[0])} at character {at + 1} is no number",
            "Numbers look like 5, 0x1F, 017 (octal), 5.5 or 5E10.",
        )
    for beginning, what, hint in UNREADABLE:
        if text.startswith(beginning, at):
            return InvalidSelector(f"{what} at character {at + 1}", hint)
    return InvalidSelector(f"{shown(text[at])} at character {at + 1} is not understood", UNUSUAL)
