"""Every setting once: name, default, unit, reason. A TOML file and the command line fill the same class.

Not here: anything that would make a RECEIPT lie. There is no switch for unsafe disk writes.
"""

from __future__ import annotations

import math
from dataclasses import Field, dataclass, field, fields, replace
from typing import Any

from broker import __version__

KIB, MIB, GIB = 1024, 1024**2, 1024**3


class OptionsError(Exception):
    """A setting cannot be what it was set to; one line that says what would be right."""


def setting(default: Any, unit: str, reason: str, choices: tuple[str, ...] = ()) -> Any:
    """Declare a setting. `unit` says what the number counts, `reason` why the default is what it is."""
    return field(default=default, metadata={"unit": unit, "reason": reason, "choices": choices})


@dataclass(frozen=True, slots=True)
class Options:
    """What an operator may choose. The defaults are safe and need no file."""

    host: str = setting("127.0.0.1", "address", "loopback: nobody outside is let in unasked")
    port: int = setting(61613, "TCP port", "the one STOMP clients try; 0 takes a free one")
    backlog: int = setting(4096, "connections", "a thousand clients may come in the same second")
    data: str = setting("./data", "directory", "where the default store lives")
    store: str = setting("", "URL", "lmdb:DIR, sqlite:FILE or memory:; empty means lmdb in `data`")
    map_size: int = setting(
        64 * GIB, "bytes", "of messages in the store; sparse, unused it costs nothing"
    )
    disk_reserve: int = setting(
        256 * MIB, "bytes", "of disk left free, so that consumers can drain it"
    )
    memory_limit: int = setting(512 * MIB, "bytes", "of waiting messages that are not persistent")
    journal_bytes: int = setting(
        64 * MIB, "bytes", "that may wait for the disk before producers are slowed down"
    )
    journal_delay: float = setting(
        0.05,
        "seconds",
        "that messages nobody awaits a RECEIPT for may take to the disk: most are consumed before",
    )
    unsent_bytes: int = setting(
        1 * MIB, "bytes", "unread by a client before it is handed no more messages"
    )
    stalled_bytes: int = setting(
        16 * MIB, "bytes", "unread by a client before it is no longer read from"
    )
    default_persistent: bool = setting(
        True, "", "a message to a queue survives a restart unless its sender says persistent:false"
    )
    prefetch: int = setting(1000, "messages", "unacknowledged per subscription, as in ActiveMQ")
    max_redeliveries: int = setting(
        6, "times", "a consumer may give a message back before it is a dead letter"
    )
    error_policy: str = setting(
        "activemq",
        "",
        "activemq keeps a connection after an error that harms nothing; strict always closes it",
        ("activemq", "strict"),
    )
    undefined_escapes: str = setting(
        "literal",
        "",
        r"literal takes \t for itself (php-stomp never escapes); error refuses it, as STOMP asks",
        ("literal", "error"),
    )
    server_header: str = setting(
        f"ActiveMQ/5.18 hoofbeat/{__version__}",
        "",
        "clients choose their dialect by its beginning (stomp-php for one)",
    )
    connect_timeout: float = setting(10.0, "seconds", "a client has to send its CONNECT")
    linger: float = setting(2.0, "seconds", "a client has to hang up after the last word")
    heart_beat_least: int = setting(100, "milliseconds", "heart-beats are not agreed more often")
    max_command: int = setting(32, "bytes", "the longest command has 11")
    max_headers: int = setting(1000, "headers", "per frame, as ActiveMQ")
    max_header_line: int = setting(64 * KIB, "bytes", "per header; tokens and cookies can be long")
    max_header_block: int = setting(256 * KIB, "bytes", "of all headers of a frame")
    max_body: int = setting(100 * MIB, "bytes", "per message, as ActiveMQ")
    max_connect_frame: int = setting(
        64 * KIB, "bytes", "before a client is let in, it can occupy little memory"
    )

    @property
    def store_url(self) -> str:
        """The store's URL, the default one included."""
        return self.store or f"lmdb:{self.data}"


FIELDS: dict[str, Field[Any]] = {each.name: each for each in fields(Options)}


def settings_file() -> str:
    """Return a configuration file that says the defaults, each with its unit and reason."""
    import json

    lines = []
    for name, each in FIELDS.items():
        unit, reason = each.metadata["unit"], each.metadata["reason"]
        lines.append(f"# {unit}: {reason}" if unit else f"# {reason}")
        lines.append(f"{name} = {json.dumps(each.default)}\n")
    return "\n".join(lines)


def read_options(text: str, source: str, base: Options | None = None) -> Options:
    """Return `base` changed by a TOML text. `source` names the text in errors. Raises `OptionsError`."""
    import tomllib  # not everybody has a file, and starting is to be quick

    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise OptionsError(f"{source}: {error}") from None
    return change_options(base or Options(), values, source)


def change_options(base: Options, values: dict[str, Any], source: str) -> Options:
    """Return `base` with other values. Raises `OptionsError` for what is unknown or of a wrong type."""
    checked = {}
    for name, value in values.items():
        if name not in FIELDS:
            raise OptionsError(
                f"{source}: unknown setting {name!r}; there are: {', '.join(sorted(FIELDS))}"
            )
        checked[name] = check(name, value, source)
    return replace(base, **checked)


def check(name: str, value: Any, source: str) -> Any:
    """Return a setting's value, an int as a float where one is meant. Raises `OptionsError`."""
    default: Any = FIELDS[name].default
    wanted = type(default)
    if wanted is float and type(value) is int:
        value = float(value)
    if type(value) is not wanted:
        raise OptionsError(
            f"{source}: {name} must be {KINDS[wanted]}, not {value!r} (default {default!r})"
        )
    choices = FIELDS[name].metadata["choices"]
    if choices and value not in choices:
        raise OptionsError(f"{source}: {name} must be one of {', '.join(choices)}, not {value!r}")
    if wanted is float and not math.isfinite(value):
        raise OptionsError(f"{source}: {name} must be finite, not {value!r}")
    if wanted in (int, float) and value < 0:
        raise OptionsError(f"{source}: {name} must not be negative, not {value!r}")
    if name == "port" and value > 65535:
        raise OptionsError(f"{source}: port must be at most 65535, not {value!r}")
    if name == "prefetch" and value < 1:
        raise OptionsError(f"{source}: prefetch must be at least 1, not {value!r}")
    return value


KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text in quotes"}
