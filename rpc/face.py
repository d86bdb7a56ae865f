"""What the clients of all faces have in common: how calls are made, and the service as an object."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any, Self

from rpc.caller import CallOptions
from rpc.proxy import Proxy


class Face:
    """A client, whatever waits for its calls."""

    def __init__(self) -> None:
        self._options = CallOptions()

    def options(self, **changes: Any) -> Self:
        """Return this client with other `CallOptions` for its calls; the connection is the same.

            patient = client.options(timeout=300, on_loss="wait")

        Raises `TypeError` for an option that does not exist, `ValueError` for a value that makes no sense.
        """
        view = copy.copy(self)
        view._options = replace(self._options, **changes)
        return view

    @property
    def proxy(self) -> Proxy:
        """The service as an object: `client.proxy.whee("Hello")` is `client.call("whee", "Hello")`."""
        return Proxy(self.call)

    def call(self, method: str, /, *args: Any, **kwargs: Any) -> Any:
        """Call a remote function."""
        raise NotImplementedError
