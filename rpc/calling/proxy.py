"""A service as an object whose methods are the remote functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Proxy:
    """`proxy.name(...)` is `call("name", ...)`; names with dots are reached by dots."""

    __slots__ = ("_call", "_prefix")

    def __init__(self, call: Callable[..., Any], prefix: str = "") -> None:
        self._call = call
        self._prefix = prefix

    def __getattr__(self, name: str) -> Proxy:
        if name.startswith("__"):  # what Python and its tools ask of any object
            raise AttributeError(name)
        return Proxy(self._call, f"{self._prefix}{name}.")

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Call the function; returns and raises what `call` of the client does."""
        return self._call(self._prefix[:-1], *args, **kwargs)
