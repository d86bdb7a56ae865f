"""The floor plan of the house, held true: imports point down only, and the ground floors are pure.

The table below is the drawing, from the roof down. A module may import its own room and the rooms that its
row names, all of which stand further down; what a row does not name it may not import, nor what it
`never` imports from outside. The sources are read, not run, so nothing hides in a function or behind
`TYPE_CHECKING`. A new module in `broker/` needs a row before it needs anything else.
"""

import ast
from collections.abc import Iterator, Mapping
from configparser import ConfigParser
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent

NETWORK = frozenset(("twisted", "zope", "socket", "selectors", "select", "ssl", "asyncio"))
CLOCK = frozenset(("time", "datetime", "sched"))  # below the street line time is an argument
THREADS = frozenset(("threading", "concurrent", "multiprocessing", "queue", "subprocess"))
PURE = NETWORK | CLOCK | THREADS | {"importlib"}


class Room(NamedTuple):
    """Some modules (`x.*`: the package and all in it), and what they may know."""

    name: str
    modules: tuple[str, ...]
    may: tuple[str, ...] = ()  # rooms
    types: tuple[str, ...] = ()  # rooms whose names serve type annotations only
    never: frozenset[str] = frozenset()  # top-level modules that are not ours


HOUSE = [
    Room(
        "roof",
        (
            *("broker.service", "broker.virtualhost", "broker.cli", "broker.tap"),
            "broker.machine",
            *("broker.__main__", "twisted.plugins.*"),
            "broker.angel.*",
            *(f"broker.keeping.{name}" for name in ("backup", "check", "compact", "place")),
            *(f"broker.keeping.{name}" for name in ("exporting", "importing")),
        ),
        may=(
            *("bench", "commands", "keeping", "command line", "admin", "auth", "users"),
            *("rpc faces", "rpc calling", "rpc working", "rpc"),
            *("reload", "logs", "net", "watch", "peering", "joins", "options"),
            *("calendar", "stomp", "core", "drivers", "store", "errors", "setting", "name"),
        ),
    ),
    # What the command line does about remote calls.
    Room(
        "commands",
        tuple(
            f"broker.commands.{name}"
            for name in (
                *("arguments", "asking", "call", "completion", "describe", "loading"),
                *("running", "services", "supervision", "track", "user", "worker"),
            )
        ),
        may=(
            *("users", "command line", "rpc faces", "rpc calling", "rpc working", "rpc"),
            *("options", "name"),
        ),
    ),
    # What records mean, and their lines in an export.
    Room(
        "keeping",
        (
            *("broker.keeping", "broker.keeping.apart", "broker.keeping.lines"),
            *("broker.keeping.records", "broker.keeping.soundness"),
        ),
        may=("command line", "peering", "joins", "stomp", "core", "store", "errors"),
        never=NETWORK | CLOCK | THREADS,
    ),
    # What every command pays for, `hoofbeat run` too.
    Room("command line", ("broker.commands", "broker.commands.line"), never=NETWORK | THREADS),
    # The test kit: a broker and both faces in memory. Nothing of a running program imports it.
    Room(
        "rpc testing",
        ("rpc.testing.*",),
        may=(
            *("rpc faces", "rpc calling", "rpc working", "rpc"),
            *("joins", "options", "calendar", "stomp", "core"),
            *("drivers", "store"),
        ),
        never=THREADS | {"time", "socket", "select", "ssl"},
    ),
    Room(
        "bench",
        ("broker.bench.*",),
        may=("rpc faces", "rpc calling", "rpc", "options", "stomp", "name"),
    ),
    # 2, and it speaks what is next door: the broker as a service of remote calls.
    Room(
        "admin",
        ("broker.admin.*",),
        may=(
            "rpc working",
            "rpc",
            "watch",
            "peering",
            "joins",
            "options",
            "stomp",
            "core",
            "errors",
            "name",
        ),
        never=PURE,
    ),
    # Next door: of the broker only STOMP.
    Room(
        "rpc faces",
        (
            *("rpc", "rpc.aio.*", "rpc.blocking.*", "rpc.offer", "rpc.processes", "rpc.tx.*"),
            "rpc.tls",
            *("rpc.jobs", "rpc.jobs.aio", "rpc.jobs.inbox", "rpc.jobs.sender"),
        ),
        ("rpc jobs", "rpc calling", "rpc working", "rpc", "stomp"),
    ),
    # Messages that are no calls: both ends without a socket.
    Room(
        "rpc jobs",
        tuple(
            f"rpc.jobs.{name}"
            for name in (
                *("asking", "consuming", "destinations", "inflow"),
                *("message", "sending", "status"),
            )
        ),
        may=("rpc calling", "rpc", "stomp"),
        never=PURE,
    ),
    # Neither end knows the other.
    Room("rpc calling", ("rpc.calling.*",), may=("rpc", "stomp"), never=PURE),
    Room("rpc working", ("rpc.working.*",), may=("rpc", "stomp"), never=PURE),
    Room(
        "rpc",
        (
            *("rpc.address", "rpc.backoff", "rpc.codec", "rpc.context", "rpc.errors"),
            *("rpc.lifeline", "rpc.link", "rpc.message"),
        ),
        may=("stomp",),
        never=PURE,
    ),
    # 3: Twisted
    Room("reload", ("broker.reload",), may=("options",), never=NETWORK - {"twisted"}),
    Room(
        "logs",
        ("broker.logs.*",),
        may=("joins", "options", "stomp", "errors"),
        types=("net",),
        never=NETWORK - {"twisted", "zope"},
    ),
    Room(
        "auth",
        (
            *("broker.auth.checkers", "broker.auth.hashing", "broker.auth.listeners"),
            *("broker.auth.portal", "broker.auth.reception", "broker.auth.registry"),
        ),
        may=("users", "joins", "options", "core", "errors", "name"),
    ),
    Room(
        "net", ("broker.net.*",), ("peering", "joins", "options", "stomp", "core", "errors", "name")
    ),
    # ══ the street line: nothing below imports Twisted, opens a socket, reads a clock ══
    # Who may log in, as it is written down, and who must wait.
    Room(
        "users",
        ("broker.auth", "broker.auth.passcodes", "broker.auth.throttle", "broker.auth.users"),
        may=("joins",),
        never=PURE,
    ),
    # 2: joins
    Room(
        "watch",
        ("broker.watch.*",),
        may=("peering", "joins", "options", "stomp", "core", "errors", "name"),
        never=PURE,
    ),
    # Other brokers, without a socket.
    Room(
        "peering",
        ("broker.peering.*",),
        may=("joins", "options", "stomp", "core", "errors", "name"),
        never=PURE,
    ),
    Room(
        "joins",
        (
            *("broker.connection", "broker.conversation", "broker.sending", "broker.subscribing"),
            *("broker.granting", "broker.wish"),
            *("broker.client", "broker.consumer", "broker.filters", "broker.outbox"),
            *("broker.answers", "broker.tail", "broker.turn", "broker.agenda"),
            *("broker.qualified", "broker.reporting", "broker.person", "broker.reception"),
            *("broker.entrance", "broker.rights", "broker.clearance", "broker.talk"),
            *("broker.lobby", "broker.arriving", "broker.neighbourhood"),
        ),
        may=("options", "calendar", "stomp", "selector", "core", "errors", "setting", "name"),
        types=("store",),
        never=PURE,
    ),
    Room(
        "options",
        ("broker.options", "broker.sections", "broker.hosting", "broker.dialect"),
        may=("stomp", "selector", "core", "errors", "setting", "name"),
        never=PURE,
    ),
    # 1: core does not know STOMP, STOMP does not know queues
    Room("stomp", ("broker.stomp.*",), may=("errors",), never=PURE),
    # Knows the calendar, and still reads no clock.
    Room("calendar", ("broker.cron",), never=NETWORK | THREADS | {"time", "importlib"}),
    Room("selector", ("broker.selector.*",), may=("errors",), never=PURE),
    Room("core", ("broker.core.*",), may=("errors", "setting"), never=PURE),
    # annex: names, numbers and bytes
    Room(
        "drivers",
        tuple(f"broker.store.{name}" for name in ("failing", "files", "memory"))
        + tuple(
            f"broker.store.{name}" for name in ("lmdb", "lmdb_tools", "sqlite", "sqlite_tools")
        ),
        may=("store",),
        never=NETWORK | CLOCK,
    ),
    Room(
        "store",
        ("broker.store", "broker.store.tools", "broker.store.writer"),
        never=NETWORK | CLOCK,
    ),
    # 0
    Room("errors", ("broker.errors",), never=PURE),
    Room("setting", ("broker.setting",), never=PURE),  # how one is declared
    Room("name", ("broker",), never=PURE),  # the version's number
]
ROOMS = {room.name: room for room in HOUSE}


class Import(NamedTuple):
    """`target` is imported in `line`; `typing`: only under TYPE_CHECKING."""

    target: str
    line: int
    typing: bool


def find_modules(root: Path) -> dict[str, Path]:
    """Return the file of every module of ours, by its dotted name."""
    found = {}
    for folder in ("broker", "rpc", "twisted/plugins"):
        for path in sorted((root / folder).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = find_modules(ROOT)


def room_of(module: str) -> Room | None:
    for room in HOUSE:
        for pattern in room.modules:
            package = pattern.removesuffix(".*")
            if module == package or (package != pattern and module.startswith(package + ".")):
                return room
    return None


def find_imports(source: str, package: str, known: Mapping[str, object]) -> list[Import]:
    """Return what a module in `package` imports, wherever in it; `from a import b` may mean module a.b."""

    def walk(node: ast.AST, typing: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            for name in node.names:
                yield Import(name.name, node.lineno, typing)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, base] if base else above)
            for name in node.names:
                inner = f"{base}.{name.name}"
                yield Import(inner if inner in known else base, node.lineno, typing)
        elif isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            for guarded in node.body:
                yield from walk(guarded, True)
            for guarded in node.orelse:
                yield from walk(guarded, typing)
        else:
            for child in ast.iter_child_nodes(node):
                yield from walk(child, typing)

    return list(dict.fromkeys(walk(ast.parse(source), False)))


def imports_of(module: str, path: Path) -> list[Import]:
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    return find_imports(path.read_text(encoding="utf-8"), package, MODULES)


def complaints(module: str, imports: list[Import]) -> list[str]:
    """Return what the drawing forbids of a module's imports, each in one line."""
    room = room_of(module)
    if room is None:
        return [f"{module} has no room: give it one in HOUSE"]
    found = []
    for target, line, typing in imports:
        other = room_of(target) if target.split(".")[0] in ("broker", "rpc") else None
        if other is None:
            if target.split(".")[0] in room.never:
                found.append(f"{module}:{line}: {room.name} never imports {target}")
        elif other.name in room.types:
            if not typing:
                found.append(
                    f"{module}:{line}: {room.name} imports {target} only under TYPE_CHECKING"
                )
        elif other is not room and other.name not in room.may:
            found.append(f"{module}:{line}: {room.name} may not import {target} of {other.name}")
    return found


def find_cycle(imports: Mapping[str, list[Import]]) -> list[str]:
    """Return the modules of one cycle, or nothing. Annotations make none: nothing is loaded for them."""
    graph = {
        module: {i.target for i in found if i.target in imports and not i.typing}
        for module, found in imports.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        cycle: list[str] = error.args[1]
        return cycle
    return []


# --- the drawing ----------------------------------------------------------------------------------


def test_the_drawing_itself_points_down() -> None:
    """Every room stands above all it may know, so rooms can have no cycle."""
    order = [room.name for room in HOUSE]
    assert len(set(order)) == len(order)
    for place, room in enumerate(HOUSE):
        assert set(room.may + room.types) <= set(order[place + 1 :])


def test_every_room_is_lived_in_and_nobody_lives_in_two() -> None:
    patterns = [pattern for room in HOUSE for pattern in room.modules]
    assert len(set(patterns)) == len(patterns)
    assert {room.name for module in MODULES if (room := room_of(module))} == set(ROOMS)


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_down_only(module: str) -> None:
    assert complaints(module, imports_of(module, MODULES[module])) == []


def test_no_module_imports_itself_by_a_detour() -> None:
    assert find_cycle({module: imports_of(module, path) for module, path in MODULES.items()}) == []


# --- the proof that the tests above can fail -------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("broker.errors", "import broker.stomp"),
        ("broker.errors", "from broker import __version__"),
        ("broker.core.queue", "from broker.stomp import Frame"),
        ("broker.core.queue", "import broker.stomp.frame"),
        ("broker.core.queue", "from broker import stomp"),
        ("broker.core.queue", "from ..stomp.frame import Frame"),
        ("broker.core.queue", "from .. import store"),
        ("broker.core.queue", "def f():\n    from broker.store import Store"),
        ("broker.core.queue", "import os, time"),
        ("broker.core.queue", "from datetime import datetime"),
        ("broker.core.queue", "import threading"),
        ("broker.stomp.parser", "from broker.core.queue import Queue"),
        ("broker.stomp.parser", "try:\n    import socket\nexcept ImportError:\n    raise"),
        ("broker.stomp.session", "from time import monotonic"),
        ("broker.store.lmdb", "from broker.errors import StompError"),
        ("broker.store.lmdb", "from broker.core.journal import Batch"),
        ("broker.store.writer", "from twisted.internet import reactor"),
        ("broker.store", "from broker.store.lmdb import open_lmdb"),
        ("broker.options", "from broker.connection import Connection"),
        ("broker.connection", "import twisted"),
        ("broker.connection", "from broker.net.stream import Stream"),
        ("broker.connection", "from broker.service import make_service"),
        ("broker.turn", "from broker.store import Store"),
        ("broker.turn", "from broker.store.lmdb import open_lmdb"),
        ("broker.turn", "if TYPE_CHECKING:\n    from broker.store.lmdb import Lmdb"),
        ("broker.turn", "if TYPE_CHECKING:\n    import x\nelse:\n    import broker.store"),
        ("broker.turn", "import asyncio.events"),
        ("broker.net.stream", "from broker.service import make_service"),
        ("broker.net.stream", "from broker.store.lmdb import open_lmdb"),
        ("broker.bench.rows", "from broker.core.queue import Queue"),
        ("broker.bench.rows", "from broker.service import make_service"),
        ("rpc.blocking", "from broker.errors import StompError"),
        ("rpc.blocking", "from broker.core.queue import Queue"),
        ("rpc.calling.calls", "import socket"),
        ("rpc.calling.calls", "from rpc.blocking import Client"),
        ("broker.manager", "import os"),
    ],
)
def test_what_the_drawing_forbids_is_found(module: str, source: str) -> None:
    package = module if module == "broker.store" else module.rpartition(".")[0]
    assert len(complaints(module, find_imports(source, package, MODULES))) == 1


def test_every_package_is_installed() -> None:
    """What setup.cfg does not name is there in a checkout, and not for whoever installs a wheel."""
    config = ConfigParser()
    config.read(ROOT / "setup.cfg")
    ours = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for folder in ("broker", "rpc")
        for path in (ROOT / folder).rglob("__init__.py")
    }
    assert set(config["options"]["packages"].split()) == ours | {"twisted.plugins"}


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("broker.stomp.parser", "from broker.errors import ProtocolError\nimport re"),
        ("broker.stomp.parser", "from broker.stomp.frame import Frame\nfrom .frame import Frame"),
        (
            "broker.turn",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import broker.store",
        ),
        (
            "broker.turn",
            "import typing\nif typing.TYPE_CHECKING:\n    from broker.store import Store",
        ),
        ("broker.net.stream", "import socket, time\nfrom broker.connection import Connection"),
        ("broker.store.writer", "import threading"),
        ("broker.service", "import twisted\nfrom broker.store.lmdb import open_lmdb\nimport time"),
        ("rpc.blocking", "import socket\nfrom broker.stomp import Frame"),
    ],
)
def test_what_the_drawing_allows_passes(module: str, source: str) -> None:
    package = module.rpartition(".")[0]
    assert complaints(module, find_imports(source, package, MODULES)) == []


def test_a_cycle_is_found_and_one_of_annotations_is_none() -> None:
    def one(target: str, typing: bool) -> list[Import]:
        return [Import(target, 1, typing)]

    ring = {"a": one("b", False), "b": one("c", False), "c": one("a", False)}
    assert set(find_cycle(ring)) == {"a", "b", "c"}
    assert find_cycle(ring | {"c": one("a", True)}) == []
