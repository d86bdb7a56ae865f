"""The functions a worker offers, and what a request's body makes of them: body in, reply body out.

Pure: no sockets, threads or clocks, and nobody's way of running a function::

    request = methods.read(body, codec)         # finds the functions, checks the arguments; nothing has run
    for asked in request.asked:                 # one, or a batch
        if asked.fault: response = asked.failed(asked.fault)
        else: response = asked.succeeded(asked.call()), or asked.failed(whatever it raised)
    reply = request.reply(responses)            # None: nobody wants one

JSON-RPC 2.0 is followed including its section 6 (several requests in one body) and section 4.1
(a request without an id gets no reply).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, Unpack, overload

from rpc.codec import JSON, Codec
from rpc.errors import ErrorReply, InvalidParams, InvalidRequest, MethodNotFound, ParseError
from rpc.message import MOST_IN_BATCH
from rpc.working.asked import ABSENT, DEFAULTS, OWN, Asked, Method, Request
from rpc.working.describing import describe
from rpc.working.registration import MethodOptions, Options, find_functions, mark_of
from rpc.working.signature import unwrap

Function = TypeVar("Function", bound=Callable[..., Any])
Thing = TypeVar("Thing")

_NONE: list[Any] = []  # params, if there are none

__all__ = [
    "ABSENT",
    "OWN",
    "Asked",
    "Method",
    "MethodOptions",
    "Methods",
    "Request",
    "describe",
]


class Methods:
    """Name -> function."""

    def __init__(self, *, tracebacks: bool = False) -> None:
        """`tracebacks`: `Request.run` tells callers where a function raised."""
        self._methods: dict[str, Method] = {}
        self._tracebacks = tracebacks

    def __contains__(self, name: str) -> bool:
        return name in self._methods

    def __iter__(self) -> Iterator[Method]:
        """Go through them in the order in which they were added, the worker's own among them."""
        return iter(self._methods.values())

    def copy(self) -> Methods:
        """Return the same functions, to which others may be added."""
        methods = Methods(tracebacks=self._tracebacks)
        methods._methods = self._methods.copy()
        return methods

    @overload
    def add(
        self, function: Function, *, name: str | None = None, **options: Unpack[Options]
    ) -> Function: ...
    @overload
    def add(
        self, function: None = None, *, name: str | None = None, **options: Unpack[Options]
    ) -> Callable[[Function], Function]: ...
    def add(
        self,
        function: Function | None = None,
        *,
        name: str | None = None,
        **options: Unpack[Options],
    ) -> Function | Callable[[Function], Function]:
        """Offer a function under its own name or `name`; also as a decorator, with or without arguments.

        `options` are those of `MethodOptions`; what `rpc.method` said about the function holds where they
        say nothing. Raises `ValueError` if the name is taken or begins with "rpc.", and for options that
        make no sense; `TypeError` for what is no function, or has annotations that cannot be checked.
        """
        if function is None:
            return lambda function: self.add(function, name=name, **options)
        self._add(function, name, options)
        return function

    def register(self, thing: Thing, prefix: str = "") -> Thing:
        """Offer the functions of a class, an instance or a module, as `find_functions` finds them.

        Each name begins with `prefix`. All of them, or none: raises as `add` and `find_functions` do.
        """
        before = self._methods.copy()
        try:
            for name, function in find_functions(thing).items():
                mark = mark_of(function)
                chosen = mark.name if mark and mark.name is not None else name
                self._add(function, prefix + chosen, {})
        except Exception:
            self._methods = before
            raise
        return thing

    def add_own(self, function: Callable[..., Any], name: str) -> None:
        """Offer a function of the worker's own, whose name begins with "rpc."."""
        if not name.startswith(OWN):
            raise ValueError(f"{name!r} is not the worker's own")
        self._methods[name] = Method(name, function)

    def _add(self, function: Callable[..., Any], name: str | None, options: Options) -> None:
        if not callable(function):
            raise TypeError(f"A remote function must be callable, not {function!r}")
        if (mark := mark_of(function)) is not None:
            name = mark.name if name is None else name
            options = {**mark.options, **options}
        if name is None:
            name = getattr(function, "__name__", None) or getattr(unwrap(function), "__name__", "")
        if name in self._methods:
            raise ValueError(f"There is already a remote function {name!r}")
        if not name or name.startswith(OWN):
            raise ValueError(f"{name!r} cannot be the name of a remote function")
        chosen = MethodOptions(**options) if options else DEFAULTS
        self._methods[name] = Method(name, function, chosen)

    def read(self, body: bytes, codec: Codec = JSON) -> Request:
        """Find out what a request's body asks for. Never raises: what is wrong becomes a `fault`."""
        fault: ErrorReply
        try:
            told = codec.decode(body)
        except ValueError as error:
            fault = ParseError(f"The request is not {codec.title}: {error}")
            asked = Asked(codec, None, None, fault)
        else:
            if not isinstance(told, list) or not told:
                asked = self._read_one(told, codec)
            elif len(told) <= MOST_IN_BATCH:
                batch = [self._read_one(each, codec) for each in told]
                return Request(batch, codec, True, self._tracebacks)
            else:
                fault = InvalidRequest(f"A batch has {MOST_IN_BATCH} requests at most")
                asked = Asked(codec, None, None, fault)
        return Request((asked,), codec, False, self._tracebacks)

    def _read_one(self, told: Any, codec: Codec) -> Asked:
        if not isinstance(told, dict):
            what = (
                "An empty batch asks for nothing" if told == [] else "A request must be an object"
            )
            return Asked(codec, None, None, InvalidRequest(what))
        call_id = told.get("id", ABSENT)
        if type(call_id) is not str and call_id is not ABSENT and not _is_id(call_id):
            fault = InvalidRequest("id must be a string, a number or null")
            return Asked(codec, None, None, fault)
        name, params = told.get("method"), told.get("params", _NONE)
        if told.get("jsonrpc") != "2.0" or not isinstance(name, str):
            fault = InvalidRequest('A request has "jsonrpc":"2.0" and a "method"')
            return Asked(codec, _told(call_id), None, fault)
        method = self._methods.get(name)
        named = isinstance(params, dict)
        if not named and not isinstance(params, list):
            fault = InvalidRequest("params must be an array or an object")
            return Asked(codec, _told(call_id), None, fault)
        if method is None:
            return Asked(
                codec, call_id, None, MethodNotFound(f"There is no remote function {name!r}")
            )
        try:
            params = method.accept(params)
        except InvalidParams as error:
            return Asked(codec, call_id, None, error)
        if named:
            return Asked(codec, call_id, method, None, (), params)
        return Asked(codec, call_id, method, None, params)


def _is_id(value: Any) -> bool:
    """JSON-RPC 2.0, section 4: a string, a number or null. JSON's 1e999 is infinite here."""
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or isinstance(value, str | int)


def _told(call_id: Any) -> Any:
    """Section 5: what is no request is answered even without an id, under null."""
    return None if call_id is ABSENT else call_id
