"""The functions a worker offers, and what a request's body makes of them: body in, reply body out.

Pure: no sockets, threads or clocks. Two steps, so that a worker may decide between them who runs it:

1. `Methods.read(body)` finds the function and checks the arguments against its signature. Whatever is
   wrong with the request is known now, and nothing has run.
2. `Invocation.run()` runs the function and returns the reply's body.

JSON-RPC 2.0 is followed including its section 6 (several requests in one body) and section 4.1
(a request without an id gets no reply).
"""

from __future__ import annotations

import inspect
import math
import traceback
from collections.abc import Callable
from typing import Any, TypeVar, overload

from rpc.codec import JSON
from rpc.errors import (
    ErrorReply,
    InvalidParams,
    InvalidRequest,
    MethodNotFound,
    ParseError,
    RemoteError,
)

Function = TypeVar("Function", bound=Callable[..., Any])

_ABSENT = object()  # an id that is not there, which differs from an id that is null


class Method:
    """A function under the name by which it is called, with what its signature allows."""

    __slots__ = ("_least", "_most", "_signature", "function", "name")

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        self.name = name
        self.function = function
        self._signature = signature = inspect.signature(function)
        # How many positional arguments fit, worked out once: binding costs more than a quick function.
        least, most = 0, 0.0
        for parameter in signature.parameters.values():
            required = parameter.default is parameter.empty
            if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
                most += 1
                least += required
            elif parameter.kind is parameter.VAR_POSITIONAL:
                most = math.inf
            elif parameter.kind is parameter.KEYWORD_ONLY and required:
                most = -1.0  # positional arguments alone never do
        self._least, self._most = least, most

    def check(self, params: list[Any] | dict[str, Any]) -> None:
        """Raise `InvalidParams`, which names the signature, if the arguments do not fit it."""
        if isinstance(params, list) and self._least <= len(params) <= self._most:
            return
        try:
            if isinstance(params, dict):
                self._signature.bind(**params)
            else:
                self._signature.bind(*params)
        except TypeError as error:
            raise InvalidParams(f"{self.name}{self._signature}: {error}") from None


class Invocation:
    """A request that was read: `name` is the function's, or empty for what is not one good request."""

    __slots__ = ("_run", "name")

    def __init__(self, run: Callable[[], bytes | None], name: str = "") -> None:
        self._run = run
        self.name = name

    def run(self) -> bytes | None:
        """Run it and return the reply's body, or None if the request wanted no reply.

        Never raises an `Exception`: what the function raises becomes an error in the reply.
        """
        return self._run()


class Methods:
    """Name -> function."""

    def __init__(self, *, tracebacks: bool = False) -> None:
        """`tracebacks`: tell callers where a function raised. It shows them the worker's code."""
        self._methods: dict[str, Method] = {}
        self._tracebacks = tracebacks

    def __contains__(self, name: str) -> bool:
        return name in self._methods

    @overload
    def add(self, function: Function, *, name: str | None = None) -> Function: ...
    @overload
    def add(
        self, function: None = None, *, name: str | None = None
    ) -> Callable[[Function], Function]: ...
    def add(
        self, function: Function | None = None, *, name: str | None = None
    ) -> Function | Callable[[Function], Function]:
        """Offer a function under its own name or `name`; also as a decorator, with or without `name`.

        Raises `ValueError` if the name is taken or belongs to JSON-RPC ("rpc." begins its names,
        section 8), `TypeError` for what is no plain callable.
        """
        if function is None:
            return lambda function: self.add(function, name=name)
        if not callable(function) or inspect.iscoroutinefunction(function):
            raise TypeError(f"A remote function must be an ordinary function, not {function!r}")
        chosen = function.__name__ if name is None else name
        if chosen in self._methods:
            raise ValueError(f"There is already a remote function {chosen!r}")
        if not chosen or chosen.startswith("rpc."):
            raise ValueError(f"{chosen!r} cannot be the name of a remote function")
        self._methods[chosen] = Method(chosen, function)
        return function

    def read(self, body: bytes) -> Invocation:
        """Find out what a request's body asks for. Never raises: a bad request answers with its fault."""
        try:
            request = JSON.decode(body)
        except ValueError as error:
            return _fault(None, ParseError(f"The request is not JSON in UTF-8: {error}"))
        if isinstance(request, list):
            return self._read_batch(request)
        return self._read_one(request)

    def _read_one(self, request: Any) -> Invocation:
        if not isinstance(request, dict):
            return _fault(None, InvalidRequest("A request must be a JSON object"))
        call_id = request.get("id", _ABSENT)
        if call_id is not _ABSENT and not _is_id(call_id):
            return _fault(None, InvalidRequest("id must be a string, a number or null"))
        name, params = request.get("method"), request.get("params", [])
        if request.get("jsonrpc") != "2.0" or not isinstance(name, str):
            return _fault(
                _told(call_id), InvalidRequest('A request has "jsonrpc":"2.0" and a "method"')
            )
        if not isinstance(params, list | dict):
            return _fault(_told(call_id), InvalidRequest("params must be an array or an object"))
        method = self._methods.get(name)
        if method is None:
            return _fault(call_id, MethodNotFound(f"There is no remote function {name!r}"))
        try:
            method.check(params)
        except InvalidParams as error:
            return _fault(call_id, error)
        found = method  # not None, for the type checker
        return Invocation(lambda: self._run(found, params, call_id), name)

    def _read_batch(self, requests: list[Any]) -> Invocation:
        if not requests:
            return _fault(None, InvalidRequest("An empty batch asks for nothing"))
        invocations = [self._read_one(request) for request in requests]

        def run() -> bytes | None:
            replies = [reply for each in invocations if (reply := each.run()) is not None]
            return b"[%b]" % b",".join(replies) if replies else None

        return Invocation(run)

    def _run(
        self, method: Method, params: list[Any] | dict[str, Any], call_id: Any
    ) -> bytes | None:
        try:
            if isinstance(params, list):
                result = method.function(*params)
            else:
                result = method.function(**params)
        except (Exception, SystemExit) as error:  # whatever it is, it is the caller's to know
            failed: ErrorReply = self._remote_error(error)
        else:
            if call_id is _ABSENT:
                return None
            try:
                return JSON.result_body(call_id, result)
            except (TypeError, ValueError) as error:
                failed = ErrorReply(f"JSON cannot express what {method.name} returned: {error}")
        return None if call_id is _ABSENT else JSON.error_body(call_id, failed)

    def _remote_error(self, error: BaseException) -> RemoteError:
        kind, text = type(error).__name__, _text_of(error)
        data = {"type": kind, "message": text}
        if self._tracebacks:
            # Without this file's own frame, which says nothing about the function.
            below = error.__traceback__ and error.__traceback__.tb_next
            lines = traceback.format_exception(type(error), error, below)
            data["traceback"] = "".join(lines)
        return RemoteError(f"{kind}: {text}" if text else kind, data)


def _text_of(error: BaseException) -> str:
    """Return an exception's text as UTF-8 can express it; its own `__str__` may fail."""
    try:
        return str(error).encode(errors="replace").decode()
    except Exception:
        return ""


def _is_id(value: Any) -> bool:
    """JSON-RPC 2.0, section 4: a string, a number or null. JSON's 1e999 is infinite here."""
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or isinstance(value, str | int)


def _told(call_id: Any) -> Any:
    """Section 5: what is no request is answered even without an id, under null."""
    return None if call_id is _ABSENT else call_id


def _fault(call_id: Any, error: ErrorReply) -> Invocation:
    """Return the answer to a request that cannot be run; none if it wanted no answer."""
    if call_id is _ABSENT:
        return Invocation(lambda: None)
    return Invocation(lambda: JSON.error_body(call_id, error))
