"""A function's signature, held against the arguments of a call: which fit, and as which types they arrive.

Everything that can be known of the function is worked out once, when it is offered. What an argument must be
is its annotation, as msgspec understands it (https://jcristharif.com/msgspec/supported-types.html), strictly:
no number is taken out of a text. Knows no JSON-RPC beyond what bad arguments are called.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import math
import typing
from collections.abc import Callable, Iterator, Mapping
from inspect import Parameter
from types import NoneType, SimpleNamespace
from typing import Any

import msgspec

from rpc.errors import InvalidParams

Check = Callable[[Any], Any]  # returns the argument as its type; raises for one that is not

#: What JSON and MessagePack deliver as it is: an argument of exactly this type needs no more looking at.
PLAIN = (str, int, float, bool, list, dict, bytes)
_ANY = (Parameter.empty, Any, object)
_BY_POSITION = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)


class Signature:
    """What may be passed to one function, and how."""

    __slots__ = (
        "_by_name",
        "_by_position",
        "_checks",
        "_least",
        "_more_named",
        "_more_positions",
        "_most",
        "_name",
        "_signature",
    )

    def __init__(self, function: Callable[..., Any], name: str, *, check: bool = True) -> None:
        """`name`: the function's, for errors; `check`: hold arguments against their annotations.

        Raises `TypeError` for a function that tells nothing about its parameters, and if an annotation
        that is to be checked has no meaning to msgspec.
        """
        self._name = name
        self._signature = signature = _resolved(function, name, check)
        # How many positional arguments fit, worked out once: binding costs more than a quick function.
        least, most = 0, 0.0
        for parameter in signature.parameters.values():
            required = parameter.default is parameter.empty
            if parameter.kind in _BY_POSITION:
                most += 1
                least += required
            elif parameter.kind is parameter.VAR_POSITIONAL:
                most = math.inf
            elif parameter.kind is parameter.KEYWORD_ONLY and required:
                most = -1.0  # positional arguments alone never do
        self._least, self._most = least, most
        self._by_position: list[tuple[Check | None, str]] = []
        self._by_name: dict[str, Check | None] = {}
        self._more_positions: tuple[Check | None, str] = (None, "")
        self._more_named: Check | None = None
        self._checks = False
        if check:
            self._prepare(signature)

    def _prepare(self, signature: inspect.Signature) -> None:
        for each in signature.parameters.values():
            check = None if each.annotation in _ANY else self._check_for(each)
            self._checks = self._checks or check is not None
            if each.kind in _BY_POSITION:
                self._by_position.append((check, each.name))
            if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY):
                self._by_name[each.name] = check
            elif each.kind is each.VAR_POSITIONAL:
                self._more_positions = (check, each.name)
            elif each.kind is each.VAR_KEYWORD:
                self._more_named = check

    def _check_for(self, parameter: Parameter) -> Check:
        try:
            return _make_check(parameter.annotation)
        except TypeError as error:
            raise _unfit(self._name, parameter, str(error)) from None

    def __str__(self) -> str:
        """Return it as it stands in the source."""
        return str(self._signature)

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """The parameters by name; annotations are resolved where that is possible."""
        return self._signature.parameters

    @property
    def returns(self) -> Any:
        """The annotation of the result; `inspect.Parameter.empty` if there is none."""
        return self._signature.return_annotation

    def accept(self, params: Any) -> Any:
        """Return the arguments, a list or a dict, as the function is to get them.

        Raises `InvalidParams`, which names the function and what it expected, for those that do not fit.
        """
        if type(params) is list and self._least <= len(params) <= self._most:
            return self._converted_list(params) if self._checks else params
        try:
            if isinstance(params, dict):
                self._signature.bind(**params)
            else:
                self._signature.bind(*params)
        except TypeError as error:
            raise InvalidParams(f"{self._name}{self._signature}: {error}") from None
        if not self._checks:
            return params
        if isinstance(params, dict):
            return self._converted_dict(params)
        return self._converted_list(params)

    def _converted_list(self, params: list[Any]) -> list[Any]:
        converted = params.copy()
        known = self._by_position
        for index, value in enumerate(params):
            check, name = known[index] if index < len(known) else self._more_positions
            if check is not None:
                try:
                    converted[index] = check(value)
                except Exception as error:
                    raise self._invalid(name, error) from None
        return converted

    def _converted_dict(self, params: dict[str, Any]) -> dict[str, Any]:
        converted = params.copy()
        for name, value in params.items():
            check = self._by_name.get(name, self._more_named)
            if check is not None:
                try:
                    converted[name] = check(value)
                except Exception as error:
                    raise self._invalid(name, error) from None
        return converted

    def _invalid(self, name: str, error: Exception) -> InvalidParams:
        # A type's own code may have raised anything.
        text = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        what, _, where = text.rpartition(" - at `$[0]")
        text = f"{what} - at `{name}{where}" if where.strip("`") else what or text
        parameter = self.parameters.get(name) or next(
            each for each in self.parameters.values() if each.kind is each.VAR_KEYWORD
        )
        expected = inspect.formatannotation(parameter.annotation)
        return InvalidParams(
            f"{self._name}{self._signature}: argument {name!r}: {text}",
            {"argument": name, "expected": expected},
        )


def unwrap(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function in which the code stands: without partials, wrappers, and bound objects."""
    inner: Any = function
    while True:
        if isinstance(inner, functools.partial):
            inner = inner.func
        elif hasattr(inner, "__wrapped__"):
            inner = inner.__wrapped__
        elif inspect.ismethod(inner):
            inner = inner.__func__
        elif isinstance(inner, type):
            return inner.__init__  # type: ignore[misc,no-any-return]
        elif not inspect.isroutine(inner) and inspect.isroutine(type(inner).__call__):
            return type(inner).__call__
        else:
            return typing.cast(Callable[..., Any], inner)


def _resolved(function: Callable[..., Any], name: str, check: bool) -> inspect.Signature:
    """Return a function's signature with annotations instead of their texts."""
    try:
        signature = inspect.signature(function)
    except ValueError:
        raise TypeError(f"{name}: {function!r} does not tell what parameters it has") from None
    known = getattr(unwrap(function), "__globals__", {})
    parameters = []
    for parameter in signature.parameters.values():
        annotation = parameter.annotation
        try:
            annotation = _resolve(annotation, known)
        except Exception as error:  # whatever evaluating a text may raise
            if check:
                raise _unfit(name, parameter, f"{type(error).__name__}: {error}") from None
        parameters.append(parameter.replace(annotation=annotation))
    returns = signature.return_annotation
    try:
        returns = _resolve(returns, known)
    except Exception:  # only a description suffers
        returns = signature.return_annotation
    return signature.replace(parameters=parameters, return_annotation=returns)


def _resolve(annotation: Any, known: dict[str, Any]) -> Any:
    if annotation is Parameter.empty:
        return annotation
    holder = SimpleNamespace(__annotations__={"it": annotation})
    resolved = typing.get_type_hints(holder, known, include_extras=True)["it"]
    return None if resolved is NoneType else resolved  # as it is written


def _unfit(name: str, parameter: Parameter, why: str) -> TypeError:
    return TypeError(
        f"{name}: the annotation of {parameter.name!r} cannot be checked ({why.rstrip('.')}). Annotate it with a"
        " type that msgspec knows and that is defined in the function's module, or offer the function"
        " with check=False"
    )


def _make_check(annotation: Any) -> Check:
    """Return what turns a value into an annotation's type. Raises `TypeError` if msgspec cannot."""
    for custom in _custom_types(msgspec.inspect.type_info(annotation), set()):
        raise TypeError(f"nothing that can be sent becomes {custom}")
    # As a field its type is looked into only once, whatever it is.
    holder = msgspec.defstruct("Argument", [("value", annotation)], array_like=True)
    convert = msgspec.convert
    with contextlib.suppress(msgspec.ValidationError):  # None is none, but there are others
        convert((None,), holder)
    if any(annotation is plain for plain in PLAIN):

        def check_plain(value: Any) -> Any:
            if type(value) is annotation:
                return value
            return convert((value,), holder, str_keys=True).value  # type: ignore[attr-defined]

        return check_plain

    def check(value: Any) -> Any:
        return convert((value,), holder, str_keys=True).value  # type: ignore[attr-defined]

    return check


def _custom_types(info: Any, seen: set[int]) -> Iterator[str]:
    """Find, in what msgspec says about a type, what is foreign to it."""
    if id(info) in seen:
        return
    seen.add(id(info))
    if isinstance(info, msgspec.inspect.CustomType):
        if info.cls is not object:
            yield inspect.formatannotation(info.cls)
    elif isinstance(info, tuple | list):
        for each in info:
            yield from _custom_types(each, seen)
    elif isinstance(info, msgspec.inspect.Type | msgspec.inspect.Field):
        for name in info.__struct_fields__:
            yield from _custom_types(getattr(info, name), seen)
