"""How a setting is declared, checked and printed, for whatever dataclass holds it.

A setting is a field with a default, a unit, a reason, and what it may be. The default's type is the type
of the setting; everything else is said here once, so that the settings of the broker, of a destination and
of a listener are checked by one function and printed by another.

Not here: which settings there are, and where their values come from.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import Field, field, fields
from difflib import get_close_matches
from typing import Any

#: Names in an error: all of a section, but of the settings at the top the nearest.
SHOWN, NEAREST = 30, 5
KINDS = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a text in quotes",
    tuple: 'a list of texts, ["one", "two"]',
}


class OptionsError(Exception):
    """A setting cannot be what it was set to; one line that says what would be right."""


def setting(
    default: Any,
    unit: str,
    reason: str,
    choices: tuple[str, ...] = (),
    *,
    least: float = 0,
    most: float = math.inf,
    secret: bool = False,
) -> Any:
    """Declare a setting. `unit` says what the number counts, `reason` why the default is what it is.

    A text is one of `choices` if there are any, and has at least `least` characters; a number lies between
    `least` and `most`. What is `secret` is never shown.
    """
    return field(
        default=default,
        repr=not secret,
        metadata={
            "unit": unit,
            "reason": reason,
            "choices": choices,
            "least": least,
            "most": most,
            "secret": secret,
        },
    )


def settings_of(holder: type) -> dict[str, Field[Any]]:
    """Return the fields of a dataclass that were declared as settings, by name."""
    return {each.name: each for each in fields(holder) if "reason" in each.metadata}


def check(
    known: Mapping[str, Field[Any]], values: Mapping[str, Any], source: str
) -> dict[str, Any]:
    """Return the values of settings, an int as a float where one is meant.

    Raises `OptionsError` for what is unknown, of a wrong type or out of range; `source` begins its text.
    """
    return {name: _check(known, name, value, source) for name, value in values.items()}


def alike(name: str, known: Collection[str]) -> str:
    """Return the names that there are, for an error; of very many those most like one that there is not."""
    if len(known) <= SHOWN:
        return ", ".join(sorted(known))
    nearest = get_close_matches(name, known, NEAREST, cutoff=0.0)
    return f"{', '.join(nearest)} … (`hoofbeat settings` prints all)"


def _check(known: Mapping[str, Field[Any]], name: str, value: Any, source: str) -> Any:
    if name not in known:
        raise OptionsError(f"{source}: unknown setting {name!r}; there are: {alike(name, known)}")
    default, meta = known[name].default, known[name].metadata
    wanted = type(default)
    if wanted is float and type(value) is int:
        value = float(value)
    if wanted is tuple and type(value) is list and all(type(each) is str for each in value):
        value = tuple(value)
    if type(value) is not wanted:
        given = "" if meta["secret"] else f", not {value!r} (default {default!r})"
        raise OptionsError(f"{source}: {name} must be {KINDS[wanted]}{given}")
    choices, least, most = meta["choices"], meta["least"], meta["most"]
    if choices and value not in choices:
        named = ", ".join(choice or '""' for choice in choices)
        raise OptionsError(f"{source}: {name} must be one of {named}, not {value!r}")
    if isinstance(value, float) and not math.isfinite(value):
        raise OptionsError(f"{source}: {name} must be finite, not {value!r}")
    if isinstance(value, str) and len(value) < least:
        raise OptionsError(f"{source}: {name} must not be empty")
    if wanted in (int, float):
        if value < least:
            bound = f"be at least {least}" if least else "not be negative"
            raise OptionsError(f"{source}: {name} must {bound}, not {value!r}")
        if value > most:
            raise OptionsError(f"{source}: {name} must be at most {most}, not {value!r}")
    return value


def written(known: Iterable[Field[Any]], sign: str = "") -> Iterator[str]:
    """Write settings down as TOML with their defaults; `sign` stands before each."""
    for each in known:
        unit, reason = each.metadata["unit"], each.metadata["reason"]
        yield f"# {unit}: {reason}" if unit else f"# {reason}"
        yield f"{sign}{each.name} = {json.dumps(each.default)}\n"
