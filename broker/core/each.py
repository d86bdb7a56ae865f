"""One fault is one's own: everybody else is still served."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

Item = TypeVar("Item")


def for_each(items: Iterable[Item], act: Callable[[Item], object]) -> None:
    """Call `act` for every item, also after one has failed; then raise the first failure."""
    failure: Exception | None = None
    for item in items:
        try:
            act(item)
        except Exception as error:
            failure = failure or error
    if failure is not None:
        raise failure
