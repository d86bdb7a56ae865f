"""What the clients of all faces have in common: how calls are made, and the service as an object."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any, Self, Unpack

from rpc.calling.options import CallOptions, Changes, Unset
from rpc.calling.proxy import Proxy

MOST_TIMEOUTS = 64  # different ones that are remembered


class Face:
    """A client, whatever waits for its calls."""

    def __init__(self) -> None:
        self._options = CallOptions()
        self._within: dict[float | None, CallOptions] = {}  # the same, by timeout

    def options(self, **changes: Unpack[Changes]) -> Self:
        """Return this client with other `CallOptions` for its calls; the connection is the same.

            patient = client.options(timeout=300, on_loss="wait")

        Raises `TypeError` for an option that does not exist, `ValueError` for a value that makes no sense.
        """
        view = copy.copy(self)
        view._options = replace(self._options, **changes)
        view._within = {}
        return view

    def _with(self, timeout: float | Unset | None) -> CallOptions:
        """Return the options of a call, with its own timeout if it has one."""
        if isinstance(timeout, Unset):
            return self._options
        options = self._within.get(timeout)
        if options is None:
            options = replace(self._options, timeout=timeout)
            if len(self._within) >= MOST_TIMEOUTS:
                self._within.clear()
            self._within[timeout] = options
        return options

    @property
    def proxy(self) -> Proxy:
        """The service as an object: `client.proxy.whee("Hello")` is `client.call("whee", "Hello")`."""
        return Proxy(self.call)

    def call(self, method: str, /, *args: Any, **kwargs: Any) -> Any:
        """Call a remote function."""
        raise NotImplementedError
