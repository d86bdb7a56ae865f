"""Transports that other packages bring, by the names of entry points.

    hoofbeat.transports     scheme of a peer's URL = module:function(peer, house, reactor), which dials
    hoofbeat.listeners      protocol of a [[listener]] = module:function(house, reactor, options), which is dialled

Those that come with the broker are known by name: reading the metadata of everything that is installed takes a tenth
of the start.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any


class Unknown(Exception):
    """There is no such transport; one line that names those there are."""


def find(name: str, ours: Mapping[str, str], group: str, kind: str) -> Any:
    """Return the function of a name: of `ours`, as module:function, or of an entry point of the group.

    `kind` is what such a thing is called. Raises `Unknown`.
    """
    if name in ours:
        module, _, function = ours[name].partition(":")
        return getattr(import_module(module), function)
    from importlib.metadata import entry_points

    others = {point.name: point for point in entry_points(group=group)}
    if name not in others:
        raise Unknown(f"unknown {kind} {name!r}; there are: {', '.join(sorted({*ours, *others}))}")
    return others[name].load()
