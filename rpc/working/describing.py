"""What a worker's functions look like, for `rpc.describe`: names, signatures, JSON Schema of their types."""

from __future__ import annotations

import collections.abc
import typing
from collections.abc import Iterable
from inspect import Parameter
from typing import Any

import msgspec

from rpc.working.asked import Method

_STARS: dict[Any, str] = {Parameter.VAR_POSITIONAL: "*", Parameter.VAR_KEYWORD: "**"}
_STREAMS = tuple(
    getattr(collections.abc, f"{kind}{name}")
    for kind in ("", "Async")
    for name in ("Generator", "Iterator", "Iterable")
)


def describe(methods: Iterable[Method]) -> list[dict[str, Any]]:
    """Return what is to be known about functions, without the worker's own, as plain data.

    Each has `name`, `signature` and `doc` as text, `params` (JSON Schema by the parameter's name,
    `{}` where everything goes; variable ones with their stars), `returns` (JSON Schema; of an item, if it
    `streams`), `streams` and `idempotent`.
    """
    return [_describe(method) for method in methods if not method.is_own]


def _describe(method: Method) -> dict[str, Any]:
    signature = method.signature
    returns = signature.returns
    if method.is_stream and typing.get_origin(returns) in _STREAMS:
        returns = typing.get_args(returns)[0]
    return {
        "name": method.name,
        "signature": str(signature),
        "doc": method.doc,
        "params": {
            _STARS.get(each.kind, "") + each.name: _schema(each.annotation)
            for each in signature.parameters.values()
        },
        "returns": _schema(returns),
        "streams": method.is_stream,
        "idempotent": method.options.idempotent,
    }


def _schema(annotation: Any) -> dict[str, Any]:
    if annotation is Parameter.empty:
        return {}
    try:
        return msgspec.json.schema(annotation)
    except Exception:  # TypeError, mostly: it is no type of JSON's
        return {}
