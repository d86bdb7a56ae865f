"""What a program says about the functions that it offers: their options, and which of a class's or module's.

Knows functions, not calls.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal, NamedTuple, TypedDict, TypeVar, Unpack, overload

Function = TypeVar("Function", bound=Callable[..., Any])

Delivery = Literal["at-least-once", "at-most-once"]
RunIn = Literal["thread", "process", "loop"]

_MARK = "__rpc_offer__"


@dataclass(frozen=True, slots=True)
class MethodOptions:
    """How a worker treats the calls of one function. Raises `ValueError` for what makes no sense."""

    #: Seconds that it may run; then its caller gets `RemoteTimeout`. None: as long as it takes.
    timeout: float | None = None
    #: "at-least-once": its call is acknowledged behind the reply, and runs again if the worker dies before;
    #: "at-most-once": acknowledged before it runs.
    delivery: Delivery = "at-least-once"
    #: So many more tries for a call whose function raised an exception.
    retries: int = 0
    #: Seconds before the first of them; each next one waits twice as long.
    retry_delay: float = 1.0
    #: Calls with the same `idempotency-key` run once; the others get the first one's result.
    idempotent: bool = False
    #: So many of its calls run at once in one worker. None: as many as the worker runs.
    concurrency: int | None = None
    #: Where it runs. None: coroutine functions on the loop, others in a thread.
    run_in: RunIn | None = None
    #: Arguments are held against their annotations, and turned into them.
    check: bool = True

    def __post_init__(self) -> None:
        """Refuse what makes no sense."""
        if self.timeout is not None and not self.timeout > 0:
            raise ValueError(f"A timeout is a positive number of seconds, not {self.timeout!r}")
        if self.delivery not in ("at-least-once", "at-most-once"):
            raise ValueError(f"delivery is at-least-once or at-most-once, not {self.delivery!r}")
        if self.retries < 0:
            raise ValueError(f"retries is a number from 0 on, not {self.retries!r}")
        if self.retries and self.delivery == "at-most-once":
            raise ValueError("What is delivered at most once cannot be tried again (retries)")
        if not self.retry_delay >= 0:
            raise ValueError(f"retry_delay is a number of seconds, not {self.retry_delay!r}")
        if self.concurrency is not None and self.concurrency < 1:
            raise ValueError(f"concurrency is a number from 1 on, not {self.concurrency!r}")
        if self.run_in not in (None, "thread", "process", "loop"):
            raise ValueError(f"run_in is thread, process or loop, not {self.run_in!r}")


class Options(TypedDict, total=False):
    """The same, as keyword arguments."""

    timeout: float | None
    delivery: Delivery
    retries: int
    retry_delay: float
    idempotent: bool
    concurrency: int | None
    run_in: RunIn | None
    check: bool


class Mark(NamedTuple):
    """What `method` was told about a function."""

    name: str | None
    options: Options


@overload
def method(function: Function, /) -> Function: ...
@overload
def method(
    *, name: str | None = None, **options: Unpack[Options]
) -> Callable[[Function], Function]: ...
def method(
    function: Function | None = None, /, *, name: str | None = None, **options: Unpack[Options]
) -> Function | Callable[[Function], Function]:
    """Mark a function of a class or module that is registered as a whole: `@rpc.method(timeout=5)`.

    `name` replaces the function's own, `options` are those of `MethodOptions`. Where some functions are
    marked, only those are offered. The function is left as it is. Raises `ValueError` for options that
    make no sense, `TypeError` for what cannot be marked.
    """
    if function is None:
        return lambda function: _mark(function, Mark(name, options))
    return _mark(function, Mark(name, options))


def _mark(function: Function, mark: Mark) -> Function:
    MethodOptions(**mark.options)
    inner = function.__func__ if isinstance(function, staticmethod | classmethod) else function
    try:
        setattr(inner, _MARK, mark)
    except AttributeError:
        raise TypeError(f"{function!r} cannot be marked: add it by itself") from None
    return function


def mark_of(function: Any) -> Mark | None:
    """Return what `method` was told about a function; None if it was not."""
    mark = getattr(function, _MARK, None)
    return mark if isinstance(mark, Mark) else None


def find_functions(thing: object) -> Mapping[str, Callable[..., Any]]:
    """Return the functions that a class, an instance or a module offers, by their names there.

    Those of a class are bound to one instance, made without arguments. Names that begin with an underscore
    are never offered; a module's `__all__` says which are, otherwise those defined in it; if some
    are marked (`method`), only those. Raises `ValueError` if there are none, and `TypeError` for a class
    that cannot be instantiated without arguments.
    """
    if isinstance(thing, type):
        try:
            inspect.signature(thing).bind()
        except TypeError as error:
            raise TypeError(
                f"{thing.__name__} cannot be made without arguments ({error}): register an instance"
            ) from None
        except ValueError:  # a class that tells nothing about itself
            pass
        thing = thing()
    found = dict(_in_module(thing) if isinstance(thing, ModuleType) else _in_instance(thing))
    marked = {name: function for name, function in found.items() if mark_of(function)}
    if not found:
        raise ValueError(f"{thing!r} has no public functions to offer")
    return marked or found


def _in_module(module: ModuleType) -> Iterator[tuple[str, Callable[..., Any]]]:
    listed = getattr(module, "__all__", None)
    for name in vars(module) if listed is None else listed:
        value = getattr(module, name)
        if name.startswith("_") or not callable(value) or isinstance(value, type):
            continue
        if listed is not None or (
            inspect.isroutine(value) and getattr(value, "__module__", None) == module.__name__
        ):
            yield name, value


def _in_instance(instance: object) -> Iterator[tuple[str, Callable[..., Any]]]:
    kind = type(instance)
    for name in dir(kind):
        static = inspect.getattr_static(kind, name)
        # A cached property is a routine to `inspect`, and to ask for it would run it.
        if isinstance(static, functools.cached_property):
            continue
        if name.startswith("_") or not inspect.isroutine(static):
            continue
        value = getattr(instance, name)
        if callable(value):
            yield name, value
