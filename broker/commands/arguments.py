"""How the words of a command line are a call: which service, which method, which arguments.

Pure: text in, plain data out. What makes no sense raises `UsageError`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TypeAlias

from broker.commands.line import UsageError

OWN = ".rpc."  # between a service and a method that every worker has
INPUT = "-"
NAMED = re.compile(
    r"([^\W\d]\w*)=(.*)", re.DOTALL
)  # NAME=VALUE, where a parameter could have the name
JSON_BEGINS = ("{", "[", '"')

Params: TypeAlias = list[Any] | dict[str, Any]


def split_target(text: str) -> tuple[str, str]:
    """Return service and method of `SERVICE.METHOD`.

    1. A slash says where one ends and the other begins: `demo/math.add` is `math.add` of `demo`. No
       service has a slash in its name.
    2. What every worker has is found behind `.rpc.`: `demo.rpc.ping` is `rpc.ping` of `demo`.
    3. Else the last dot does: `shop.orders.count` is `count` of `shop.orders`.
    """
    if "/" in text:
        service, _, method = text.partition("/")
    elif OWN in text:
        service, _, method = text.rpartition(OWN)
        method = OWN[1:] + method
    else:
        service, _, method = text.rpartition(".")
    if not service or not method:
        raise UsageError(
            f"{text!r} names no method of a service: SERVICE.METHOD, or SERVICE/METHOD"
        )
    return service, method


def join_target(service: str, method: str) -> str:
    """Return what `split_target` takes apart again."""
    target = f"{service}.{method}"
    return target if split_target(target) == (service, method) else f"{service}/{method}"


def read_params(words: Sequence[str], read_input: Callable[[], str]) -> Params:
    """Return the arguments of a call, by position or by name.

    1. One JSON array or object is all of them: `'["Hello", 2]'`, `'{"a": 1, "b": 2}'`.
    2. Else words of the shape `NAME=VALUE` are arguments by name, if all are; other words by position.
    3. A value is JSON if it is, else text: `3`, `true`, `Hello`, `'"3"'`. What begins like JSON and is none
       is a mistake, not text. A number must be one in JSON: `007` and `NaN` are text.
    4. The word `-` is a value that is read from standard input, as JSON; alone, as in 1.
    """
    if len(words) == 1 and (words[0] == INPUT or words[0].lstrip().startswith(("{", "["))):
        only = read_value(words[0], read_input)
        return only if isinstance(only, list | dict) else [only]
    named = [NAMED.fullmatch(word) for word in words]
    if not any(named):
        if words.count(INPUT) > 1:
            raise UsageError(f"standard input can be read once only, as one value {INPUT!r}")
        return [read_value(word, read_input) for word in words]
    params: dict[str, Any] = {}
    for word, match in zip(words, named, strict=True):
        if match is None:
            raise UsageError(
                f"{word!r} has no name, others have: arguments go by position or by name, not both"
                """; for text that has a "=" write it as JSON, '"a=b"'"""
            )
        name, value = match.groups()
        if name in params:
            raise UsageError(f"there are two arguments {name!r}")
        params[name] = read_value(value, None)
    return params


def read_value(word: str, read_input: Callable[[], str] | None) -> Any:
    """Return what one word means; `read_input` is None where `-` is text."""
    if word == INPUT and read_input is not None:
        text, source = read_input(), "standard input"
    else:
        text, source = word, repr(word)
    try:
        return json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        if text is word and not word.lstrip().startswith(JSON_BEGINS):
            return word
        raise UsageError(
            f"{source} is no JSON: {error}"
            + ("; to send it as text, put it in quotes of JSON" if text is word else "")
        ) from None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number in JSON")
