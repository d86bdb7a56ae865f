"""Virtual hosts in a configuration: destinations, a store and people of their own behind the same listeners.

    [virtual_host.shop]                             settings of the broker that it says anew: `HOSTED`
    [virtual_host.shop.destination."orders.>"]      and sections, as at the top: all but listeners

What a host does not say is as at the top. Not here: which host a client comes to (`broker.entrance`).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import Field
from textwrap import wrap
from typing import Any

from broker.sections import SECTIONS, check_peers
from broker.setting import OptionsError, check

#: A virtual host's name, and what it says: fields of `Options`.
HostSection = tuple[str, dict[str, Any]]

HOST_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}")  # it is a directory's name too
MOST = 256  # virtual hosts: each has a thread, and its store some of the process's address space
WHOLE = frozenset({"listener"})  # kinds of section that are the whole broker's
#: Settings that a host may say anew: of its people, its store, its messages. All others are the process's.
HOSTED = frozenset(
    (
        *("name", "names", "people", "administrators", "populate_user_id"),
        *("store", "map_size", "disk_reserve", "memory_limit", "journal_bytes", "journal_delay"),
        *("default_persistent", "prefetch", "max_redeliveries", "sweep_every"),
        *("track_for", "track_most", "unsent_bytes", "stalled_bytes"),
        *("max_headers", "max_header_line", "max_header_block", "max_body"),
        *("max_destinations", "max_subscriptions", "max_transactions"),
        *("max_transaction_frames", "max_transaction_bytes", "frame_timeout"),
    )
)

#: What every host says: a default as it is written, and what it means.
EXAMPLE = {
    "names": (
        '""',
        "names: that clients may say for it, besides NAME, with commas between them; small or capital letters",
    ),
    "people": ('"*"', "logins, groups: who may enter it; as above unless it is said"),
    "store": (
        '""',
        "URL: empty means beside the broker's: DIR/virtual_hosts/NAME for lmdb:DIR, FILE.virtual_hosts/NAME.db for sqlite",
    ),
}


def read_hosts(
    value: Any, source: str, fields: Mapping[str, Field[Any]]
) -> tuple[HostSection, ...]:
    """Return what the `[virtual_host.NAME]` sections say. Raises `OptionsError`.

    `fields` are the settings that stand at the top of a file.
    """
    hosts = []
    known = {name: field for name, field in fields.items() if name in HOSTED}
    called: dict[str, str] = {}  # what clients may say → the host that it means
    for name, table in (value if isinstance(value, dict) else {"": value}).items():
        where = f"{source}: [virtual_host.{name}]"
        if not isinstance(table, dict):
            raise OptionsError(f"{source}: virtual hosts stand in sections [virtual_host.NAME]")
        if not HOST_NAME.fullmatch(name):
            raise OptionsError(
                f"{where}: a name has 1 to 64 letters, digits, '.', - and _, and begins with no '.'"
            )
        plain, sections = split(table, where)
        for each in plain:
            if each in fields and each not in known:
                raise OptionsError(
                    f"{where}: {each} is the whole broker's and stands at the top;"
                    f" a virtual host may say: {', '.join(sorted(known))}"
                )
        changes = check(known, plain, where) | sections
        for each in (name, *listed(changes.get("names", ""))):
            other = called.setdefault(each.lower(), name)
            if other != name:
                raise OptionsError(f"{where}: {each!r} means [virtual_host.{other}] already")
        hosts.append((name, changes))
    if len(hosts) > MOST:
        raise OptionsError(
            f"{source}: there may be {MOST} sections [virtual_host.NAME], not {len(hosts)}"
        )
    return tuple(hosts)


def split(table: Mapping[str, Any], where: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a host's plain settings, and what its sections say by their places in `Options`. Raises `OptionsError`."""
    kinds = SECTIONS.keys() - WHOLE
    plain, sections = {}, {}
    for name, value in table.items():
        if name in kinds:
            read, place = SECTIONS[name]
            sections[place] = read(value, where)
        elif isinstance(value, dict | list):
            raise OptionsError(
                f"{where}: unknown section [{name}]; there are: {', '.join(sorted(kinds))};"
                " a name with dots stands in quotes"
            )
        else:
            plain[name] = value
    return plain, sections


def following(
    hosts: tuple[HostSection, ...], wanted: tuple[HostSection, ...], places: Collection[str]
) -> tuple[HostSection, ...]:
    """Return the hosts that there are, saying of some fields of `Options` what those of the same names are to say."""
    said = dict(wanted)
    return tuple(
        (
            name,
            {place: value for place, value in changes.items() if place not in places}
            | {place: value for place, value in said.get(name, changes).items() if place in places},
        )
        for name, changes in hosts
    )


def check_hosts(hosts: tuple[HostSection, ...], name: str, source: str) -> None:
    """Raise `OptionsError` unless every host with peers has a name for them; `name` is the broker's."""
    for host, changes in hosts:
        where = f"{source}: [virtual_host.{host}]"
        check_peers(changes.get("peers", ()), changes.get("name", name), where)


def listed(names: str) -> list[str]:
    """Return the names that a setting lists."""
    return [name for each in names.split(",") if (name := each.strip())]


def store_beside(url: str, name: str) -> str:
    """Return the URL of a host's store that its section does not say, from that of the broker's. Raises `OptionsError`."""
    driver, _, path = url.partition(":")
    if driver == "memory":
        return url
    if driver == "lmdb":
        return f"lmdb:{path}/virtual_hosts/{name}"
    if driver == "sqlite":
        return f"sqlite:{path}.virtual_hosts/{name}.db"
    raise OptionsError(
        f"[virtual_host.{name}]: store is missing: where a second store of the driver {driver} is must be said"
    )


def examples() -> Iterator[str]:
    """Write down a section, as comments of a configuration file; see `broker.sections.examples`."""
    more = ", ".join(sorted(HOSTED - EXAMPLE.keys()))
    yield (
        "# A virtual host: destinations, people and a store of its own behind the same listeners, for clients that name\n"
        "# it in the header host of CONNECT: docs/security.md. What it does not say is as above. It may also say\n"
        + "\n".join(wrap(more + ",", 115, initial_indent="# ", subsequent_indent="# "))
        + '\n# and have sections of its own, as [virtual_host.NAME.destination."orders.>"]. The defaults:\n'
        "#[virtual_host.NAME]\n"
    )
    for name, (default, reason) in EXAMPLE.items():
        yield f"# {reason}\n#{name} = {default}\n"
