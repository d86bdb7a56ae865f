"""LIKE: a pattern, made a function of a text. Knows nothing else of selectors.

`%` stands for any run of characters, also none, `_` for any one; both include newlines, and the whole text
must match. The escape character makes the next `%`, `_` or itself mean itself and stands for itself before
anything else, as in ActiveMQ.

The pattern is cut at its `%` into fragments of fixed width. The first must begin the text, the last must end
it, and the others are sought from left to right, each where it comes first: should that be wrong, a later
place would be too. So nothing is ever tried twice, and the cost is at most characters of the text times
characters of the longest fragment; it is one `str.find` per fragment unless a `_` stands inside one.

A fragment with `_` inside is sought by a regular expression of characters and dots only. It has no repetition and
no alternative, hence nothing to backtrack to.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

Matcher = Callable[[str], bool]
ANY_RUN, ANY_ONE = "%", "_"


class Fragment(NamedTuple):
    """What stands between two `%`."""

    characters: tuple[str, ...]  # one each, "" is any

    @property
    def literal(self) -> str | None:
        """The text, unless any character may stand somewhere."""
        return "".join(self.characters) if all(self.characters) else None

    def compile(self) -> re.Pattern[str]:
        """Return characters and dots: fixed in width, with nothing to backtrack to."""
        return re.compile("".join(re.escape(c) if c else "." for c in self.characters), re.DOTALL)


def compile_like(pattern: str, escape: str = "") -> Matcher:
    """Return whether a text matches. `escape` is one character or none."""
    first, *others = cut(pattern, escape)
    if not others:
        return _whole(first)
    *inner, last = others
    inner = [fragment for fragment in inner if fragment.characters]  # %% is %
    if not inner:
        if not last.characters and first.literal is not None:  # 'abc%'
            return _beginning(first.literal)
        if not first.characters and last.literal is not None:  # '%abc'
            return _ending(last.literal)
    elif len(inner) == 1 and not first.characters and not last.characters:  # '%abc%'
        part = inner[0].literal
        if part is not None:
            return _containing(part)
    return _fragments(first, inner, last)


def cut(pattern: str, escape: str) -> list[Fragment]:
    """Return what stands before, between and after the `%` of a pattern."""
    fragments = []
    characters: list[str] = []
    at = 0
    while at < len(pattern):
        character = pattern[at]
        at += 1
        following = pattern[at : at + 1]
        if character == escape and following and following in (ANY_RUN, ANY_ONE, escape):
            characters.append(following)
            at += 1
        elif character == ANY_RUN:
            fragments.append(Fragment(tuple(characters)))
            characters = []
        else:
            characters.append("" if character == ANY_ONE else character)
    fragments.append(Fragment(tuple(characters)))
    return fragments


def _whole(fragment: Fragment) -> Matcher:
    literal = fragment.literal
    if literal is not None:
        return lambda text: text == literal
    fullmatch = fragment.compile().fullmatch
    return lambda text: fullmatch(text) is not None


def _beginning(literal: str) -> Matcher:
    return lambda text: text.startswith(literal)


def _ending(literal: str) -> Matcher:
    return lambda text: text.endswith(literal)


def _containing(literal: str) -> Matcher:
    return lambda text: literal in text


def _fragments(first: Fragment, inner: list[Fragment], last: Fragment) -> Matcher:
    begins = first.compile().match if first.characters else None
    ends = last.compile().match if last.characters else None
    start, tail = len(first.characters), len(last.characters)
    seekers = [_seeker(fragment) for fragment in inner]

    def matches(text: str) -> bool:
        at, stop = start, len(text) - tail  # between them the others are sought
        if stop < at or (begins and begins(text) is None) or (ends and ends(text, stop) is None):
            return False
        for seek in seekers:
            at = seek(text, at, stop)
            if at < 0:
                return False
        return True

    return matches


def _seeker(fragment: Fragment) -> Callable[[str, int, int], int]:
    """Return a function: text, from, to → where the fragment's first place ends, -1: it has none."""
    # A `_` at either end only keeps its distance: what is sought is what stands between.
    characters = list(fragment.characters)
    before = next((n for n, character in enumerate(characters) if character), len(characters))
    del characters[:before]
    after = next((n for n, character in enumerate(reversed(characters)) if character), 0)
    core = Fragment(tuple(characters[: len(characters) - after]))
    width, literal = len(core.characters) + after, core.literal

    if literal is not None:

        def seek(text: str, start: int, stop: int) -> int:
            # A negative end would be counted from the text's.
            at = text.find(literal, start + before, stop - after) if stop >= after else -1
            return -1 if at < 0 else at + width

        return seek
    search = core.compile().search

    def seek_gaps(text: str, start: int, stop: int) -> int:
        found = search(text, start + before, stop - after)
        return -1 if found is None else found.start() + width

    return seek_gaps
