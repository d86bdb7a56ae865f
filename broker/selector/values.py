"""What the operators of a selector mean for two values. Knows no text of a selector, only values.

Three rules, from ActiveMQ (`org.apache.activemq.filter`):

1. A missing property is NULL, here None, and whatever is compared or reckoned with NULL is NULL.
2. A text beside a number or a truth value is read as one of its type: all headers are texts. One that
   cannot be read so is unequal to it, and neither larger nor smaller.
3. Other values of different types are unequal, and neither larger nor smaller.

Where ActiveMQ throws an exception while it evaluates, the result here is NULL: a text that is no number in
arithmetic, division by zero. Integers have 64 bits; a result that does not fit goes on as a float. There is
neither infinity nor NaN: what would be one is NULL, and a text that says so is no number.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

Value = str | int | float | bool | None
Lookup = Callable[[str], Value]  # name of a property → its value, None: missing

INTEGERS = range(-(2**63), 2**63)
LONGEST_INTEGER = 64  # characters, leading zeros included
LONGEST_TEXT = 16_384  # characters; a longer one that a selector makes is NULL


# --- reading texts --------------------------------------------------------------------------------


def to_integer(text: str) -> int | None:
    """Return the integer that a text says, None if it says none or one beyond 64 bits."""
    if len(text) > LONGEST_INTEGER:
        return None
    # Asked first, for an exception of int() takes ten times as long, and int() reads 1_000 too.
    if not text.isdecimal() and (text[:1] not in ("-", "+") or not text[1:].isdecimal()):
        return None
    integer = int(text)
    return integer if INTEGERS.start <= integer < INTEGERS.stop else None


def to_float(text: str) -> float | None:
    """Return the number that a text says, None if it says none."""
    if text[:1].isalpha():  # as above; also nan and inf
        return None
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) and "_" not in text else None


def to_number(value: Value) -> int | float | None:
    """Return a value as arithmetic takes it, None for what is no number."""
    if isinstance(value, str):
        integer = to_integer(value)
        return to_float(value) if integer is None else integer
    return None if isinstance(value, bool) else value


def to_truth(value: Value) -> bool | None:
    """Return a bare property as a condition: `true` in whatever case, NULL stays NULL, else FALSE."""
    if value is None or isinstance(value, bool):
        return value
    return isinstance(value, str) and value.lower() == "true"


def to_text(value: str | int | float | bool) -> str:
    """Return a value as it is appended to a text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


# --- comparisons ----------------------------------------------------------------------------------

Test = Callable[[Any, Any], bool]

# Sign → how two values of one type compare, what it is for two that cannot be compared.
COMPARISONS: dict[str, tuple[Test, bool]] = {
    "=": (operator.eq, False),
    "<>": (operator.ne, True),  # NOT (a = b)
    ">": (operator.gt, False),
    ">=": (operator.ge, False),
    "<": (operator.lt, False),
    "<=": (operator.le, False),
}
FLIPPED = {"=": "=", "<>": "<>", ">": "<", ">=": "<=", "<": ">", "<=": ">="}


def compare(sign: str, left: Value, right: Value) -> bool | None:
    """Return whether `left sign right` holds, None: unknown. `sign` is one of COMPARISONS."""
    if left is None or right is None:
        return None
    test, otherwise = COMPARISONS[sign]
    if isinstance(left, str):
        if not isinstance(right, str):
            read = _read(left, right)
            return otherwise if read is None else test(read, right)
    elif isinstance(right, str):
        read = _read(right, left)
        return otherwise if read is None else test(left, read)
    elif isinstance(left, bool) is not isinstance(right, bool):
        return otherwise
    return test(left, right)


def between(value: Value, low: Value, high: Value, opposite: bool) -> bool | None:
    """Return `value >= low AND value <= high`; the opposite is `value < low OR value > high`."""
    above = compare("<" if opposite else ">=", value, low)
    if above is opposite:
        return above
    below = compare(">" if opposite else "<=", value, high)
    return below if above is not None or below is opposite else None


def _read(text: str, other: int | float | bool) -> int | float | bool | None:
    """Return a text as a value of the other's type."""
    if isinstance(other, bool):
        return to_truth(text)  # whatever is not true is false, as in Java
    return to_integer(text) if isinstance(other, int) else to_float(text)


# --- arithmetic -----------------------------------------------------------------------------------


def add(left: Value, right: Value) -> Value:
    """Add numbers; append to a text."""
    if left is None or right is None:
        return None
    if isinstance(left, str):
        text = to_text(right)
        return left + text if len(left) + len(text) <= LONGEST_TEXT else None
    return _reckon(operator.add, left, right)


def subtract(left: Value, right: Value) -> Value:
    """Subtract numbers."""
    return _reckon(operator.sub, left, right)


def multiply(left: Value, right: Value) -> Value:
    """Multiply numbers."""
    return _reckon(operator.mul, left, right)


def divide(left: Value, right: Value) -> Value:
    """Divide numbers; the result is a float."""
    return _reckon(operator.truediv, left, right)


def remainder(left: Value, right: Value) -> Value:
    """Return what a division leaves, as a float with the sign of the left, as in Java."""
    return _reckon(math.fmod, left, right)


def negate(value: Value) -> Value:
    """Return a number with the other sign."""
    return _reckon(operator.sub, 0, value)


ARITHMETIC: dict[str, Callable[[Value, Value], Value]] = {
    "+": add,
    "-": subtract,
    "*": multiply,
    "/": divide,
    "%": remainder,
}


def _reckon(function: Callable[[Any, Any], Any], left: Value, right: Value) -> int | float | None:
    one, other = to_number(left), to_number(right)
    if one is None or other is None:
        return None
    try:
        result: int | float = function(one, other)
    except (ZeroDivisionError, ValueError):  # fmod says it by ValueError
        return None
    if isinstance(result, int):
        return result if result in INTEGERS else float(result)
    return result if math.isfinite(result) else None
