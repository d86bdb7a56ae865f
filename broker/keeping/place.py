"""Which store a command means, and how it looks at it.

Drivers with tools (`broker.store.tools`) can be looked at beside a broker. Of others the store itself is opened: no
broker may have it then, and it counts that as a start.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from broker.cli import FLAGS, options_from
from broker.options import Options, OptionsError
from broker.store import Store, Stored, StoreError, StoreSettings, open_store
from broker.store.tools import Look, Tools, find_tools


def add_store(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which store is meant; see `find_store`."""
    parser.add_argument("--config", metavar="FILE", help="as it is given to the broker")
    parser.add_argument("--data", metavar="DIR", help="as it is given to the broker")
    parser.add_argument("--store", metavar="URL", help="as it is given to the broker")
    parser.add_argument(
        "--virtual-host", metavar="NAME", help="not the broker's own store, but this virtual host's"
    )


def find_store(parsed: argparse.Namespace) -> Options:
    """Return the settings that a command line with the options of `add_store` means. Raises `OptionsError`."""
    options = options_from(parsed.config, {name: getattr(parsed, name, None) for name in FLAGS})
    if parsed.virtual_host is not None:
        options = host_named(parsed.virtual_host, options)
    if options.store_url.startswith("memory:"):
        raise OptionsError("what is stored in memory: is in its broker only, and ends with it")
    return options


def host_named(name: str, options: Options) -> Options:
    """Return the settings of a virtual host. Raises `OptionsError` if there is none of that name."""
    hosts = options.hosts
    if name not in hosts:
        names = ", ".join(hosts) or "none; --config names the file that has them"
        raise OptionsError(f"there is no [virtual_host.{name}]; there are: {names}")
    return hosts[name]


def store_settings(options: Options, node: str = "", boot: int = 0) -> StoreSettings:
    """Return what a driver is told; for `node` and `boot` see `StoreSettings`."""
    return StoreSettings(options.map_size, options.disk_reserve, node, boot)


def tools_of(url: str) -> tuple[Tools, str]:
    """Return the tools of a URL's driver, and the path. Raises `StoreError` if it has none."""
    tools, path = find_tools(url)
    if tools is None:
        driver = url.partition(":")[0]
        raise StoreError(
            f"the driver {driver} has no tools for this: do it with those of its database"
        )
    return tools, path


def look_at(options: Options) -> Look:
    """Look at a store. Raises `StoreError`."""
    tools, path = find_tools(options.store_url)
    if tools is None:
        return Opened(open_store(options.store_url, store_settings(options)))
    return tools.look(path)


class Opened:
    """A look through a store whose driver has no tools."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._stored = store.load()

    def load(self) -> Stored:
        """Return what is there."""
        return self._stored

    def read(
        self, queue: int, priority: int, after: int, count: int, size: int
    ) -> list[tuple[int, bytes, bytes]]:
        """Return the next records of a lane."""
        return self._store.read(queue, priority, after, count, size)

    def faults(self) -> Iterator[str]:
        """Nothing: only the driver's own tools could tell."""
        return iter(())

    def close(self) -> None:
        """Leave it as it was: if a broker has not closed it, it is not closed now."""
        if self._stored.clean:
            self._store.close()
