"""What `hoofbeat worker` is given by name, made into a worker.

Knows modules and functions; runs nothing. What cannot be served is a `UsageError`.
"""

from __future__ import annotations

import importlib
import inspect
import os
import sys
import traceback
from collections.abc import Sequence
from functools import partial
from types import ModuleType
from typing import Any

import rpc
from broker.commands.line import UsageError, broker_url
from rpc.offer import LOADING, Offer

#: What has methods that nobody means.
DATA = (str, bytes, int, float, complex, list, tuple, dict, set, frozenset, type(None))


def find_worker(
    names: Sequence[str],
    *,
    service: str | None,
    url: str | None,
    concurrency: int | None,
    name: str | None,
) -> Offer:
    """Return the worker that the names mean, or one made for the functions that they mean.

    Each is `MODULE:NAME`, or `MODULE`, which is imported, also from the current directory. What is not None
    replaces what the program says of its worker.
    """
    things = [load(each) for each in names]
    workers = [each for each in things if isinstance(each, Offer)]
    try:
        if not workers:
            return _make_worker(names, things, service, url, concurrency, name)
        if len(things) > 1:
            raise UsageError("a Worker serves alone: start each by a command of its own")
        if service is not None:
            raise UsageError(
                f"{names[0]} is a Worker, which knows its service; --service is for others"
            )
        return workers[0].change(url=url, concurrency=concurrency, name=name)
    except (TypeError, ValueError) as error:
        raise UsageError(str(error)) from None


def _make_worker(
    names: Sequence[str],
    things: Sequence[Any],
    service: str | None,
    url: str | None,
    concurrency: int | None,
    name: str | None,
) -> rpc.Worker:
    if service is None:
        raise UsageError(
            f"{names[0]} is no Worker; for functions, a class or a module give --service"
        )
    worker = rpc.Worker(broker_url(url), service).change(concurrency=concurrency, name=name)
    for text, thing in zip(names, things, strict=True):
        if inspect.isroutine(thing) or isinstance(thing, partial):
            worker.method(thing)
        elif isinstance(thing, DATA):
            raise UsageError(f"{text} is a {type(thing).__name__}, which has no functions to offer")
        else:
            worker.register(thing)
    return worker


def load(text: str) -> Any:
    """Import a module, and return it or what `:NAME` behind it says. Raises `UsageError`."""
    module_name, colon, path = text.partition(":")
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    thing: Any = _import(module_name)
    if not colon:
        return thing
    for step in path.split("."):
        try:
            thing = getattr(thing, step)
        except AttributeError:
            raise UsageError(f"there is no {path!r} in {module_name}") from None
    return thing


def _import(name: str) -> ModuleType:
    if name.endswith(".py") or os.sep in name:
        raise UsageError(f"{name!r} is a file: give the module's name, with dots and without .py")
    token = LOADING.set(True)
    try:
        return importlib.import_module(name)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a module may do anything, exit as well
        if isinstance(error, ModuleNotFoundError) and f"{name}.".startswith(f"{error.name}."):
            raise UsageError(
                f"cannot import {name}: there is no module {error.name!r} in {os.getcwd()},"
                " nor where Python looks"
            ) from None
        text = f"cannot import {name}: {type(error).__name__}: {error}{_place(error)}"
        raise UsageError(text) from None
    finally:
        LOADING.reset(token)


def _place(error: BaseException) -> str:
    """Return where in the program an import failed, if that is known and not said already."""
    frames = traceback.extract_tb(error.__traceback__)
    machinery = (__file__, importlib.__file__)
    own = [
        frame
        for frame in frames
        if frame.filename not in machinery and not frame.filename.startswith("<frozen")
    ]
    return f" ({own[-1].filename}, line {own[-1].lineno})" if own else ""
