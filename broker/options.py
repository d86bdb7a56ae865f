"""Every setting once: name, default, unit, reason. A TOML file and the command line fill the same class.

Plain settings are declared here, sections of a file (destinations, composites, listeners) in
`broker.sections`, virtual hosts in `broker.hosting`.

Not here: anything that would make a RECEIPT lie. There is no switch for unsafe disk writes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import Field, dataclass, replace
from typing import Any

from broker.core.composite import CompositeRule
from broker.dialect import DIALECTS, Dialect
from broker.hosting import HostSection, check_hosts, read_hosts, store_beside
from broker.hosting import examples as host_examples
from broker.sections import (
    POLICY,
    SECTIONS,
    Listener,
    PeerSection,
    PolicySection,
    RightsSection,
    check_peers,
    check_tls,
    examples,
)
from broker.setting import OptionsError, check, setting, settings_of, written

__all__ = [
    "FIELDS",
    "KINDS",
    "Listener",
    "Options",
    "OptionsError",
    "change_options",
    "read_options",
    "settings_file",
]

KIB, MIB, GIB = 1024, 1024**2, 1024**3
DEFAULT_ADMINISTRATORS = "@administrators"


@dataclass(frozen=True, slots=True)
class Options:
    """What an operator may choose. The defaults are safe and need no file."""

    name: str = setting(
        "", "", "what other brokers call this one, if there are any: sections [peer.NAME]"
    )
    host: str = setting(
        "127.0.0.1", "address", "loopback: nobody outside is let in unasked", least=1
    )
    port: int = setting(
        61613, "TCP port", "the one STOMP clients try; 0 takes a free one", most=65535
    )
    backlog: int = setting(4096, "connections", "a thousand clients may come in the same second")
    dialect: str = setting(
        "activemq",
        "",
        "activemq, rabbitmq or strict (what STOMP says): what clients expect where brokers differ",
        tuple(DIALECTS),
    )
    tls_certificate: str = setting(
        "",
        "PEM file",
        "the first listener's certificate, and those it is signed with; empty: no TLS",
    )
    tls_key: str = setting("", "PEM file", "the certificate's private key, without a password")
    tls_client_authorities: str = setting(
        "",
        "PEM file",
        "the first listener's clients show a certificate that one of these has signed; empty: they need none",
    )
    tls_client: str = setting(
        "required",
        "",
        "such a certificate; wanted: a client may also come without one",
        ("required", "wanted"),
    )
    users: str = setting(
        "",
        "file",
        "of those who may log in, made by `hoofbeat user` (docs/security.md); empty: there is none, and without `auth`"
        " too everybody is let in",
    )
    auth: tuple[str, ...] = setting(
        (),
        "TYPE:ARGUMENT",
        "other checkers of logins, asked in this order after `users`; `hoofbeat run --help-auth` lists the types",
        secret=True,
    )
    anonymous: bool = setting(
        False, "", "true: a client without a login is let in by the first listener, as anonymous"
    )
    insecure: bool = setting(
        False,
        "",
        "true: the first listener lets everybody in who reaches it, though that is not loopback only",
    )
    login_failures: int = setting(
        5,
        "failed logins",
        "of an address in a minute before its answers take 1 to 5 seconds; 0: as many as it likes",
    )
    login_remembered: float = setting(
        60.0,
        "seconds",
        "a login that was right is not hashed again: web pages log in for each request; 0: each time",
    )
    data: str = setting("./data", "directory", "where the default store lives", least=1)
    store: str = setting("", "URL", "lmdb:DIR, sqlite:FILE or memory:; empty means lmdb in `data`")
    map_size: int = setting(
        64 * GIB, "bytes", "of messages in the store; sparse, unused it costs nothing"
    )
    disk_reserve: int = setting(
        256 * MIB, "bytes", "of disk left free, so that consumers can drain it"
    )
    memory_limit: int = setting(512 * MIB, "bytes", "of waiting messages that are not persistent")
    max_memory: int = setting(
        0,
        "bytes",
        "of memory, beyond which no messages are taken; 0: 80 % of the machine's, or of its container's",
    )
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
    stuck_timeout: float = setting(
        300.0,
        "seconds",
        "without taking a byte of what it is sent, after which a client is given up (Linux); 0: never."
        " One that works for minutes on each message is no such client if its prefetch is small",
        most=2_000_000,
    )
    default_persistent: bool = setting(
        True, "", "a message to a queue survives a restart unless its sender says persistent:false"
    )
    prefetch: int = setting(
        1000, "messages", "unacknowledged per subscription, as in ActiveMQ", least=1
    )
    max_redeliveries: int = setting(
        6,
        "times",
        "a message may fail and come again before it is a dead letter; -1: as often as it takes",
        least=-1,
    )
    sweep_every: float = setting(
        30.0,
        "seconds",
        "between two looks for what has expired or is not used any more, as in ActiveMQ",
        least=0.01,
    )
    track_for: float = setting(
        7 * 24 * 3600.0,
        "seconds",
        "after its end that the status of a message with a report is known: a week of inquiries",
    )
    track_most: int = setting(
        1_000_000, "messages", "that have ended and whose status is known; the oldest are forgotten"
    )
    administrators: str = setting(
        DEFAULT_ADMINISTRATORS,
        "people",
        "who may do everything, whatever [rights] say, and call the broker's own methods (docs/administration.md):"
        " logins, and groups with @, with commas between them; where no logins are checked and there is no [rights] it"
        " is everybody",
    )
    names: str = setting(
        "localhost, 127.0.0.1, ::1, /",
        "names",
        "with commas between them: values of CONNECT's header host that mean this broker where unknown_host is refuse;"
        " to say none always does",
    )
    unknown_host: str = setting(
        "default",
        "",
        "default, as ActiveMQ: who names no virtual host that there is comes to the broker's own destinations;"
        " refuse: only who names one, or none, is let in",
        ("default", "refuse"),
    )
    people: str = setting(
        "*",
        "logins, groups",
        "with commas between them: who may enter; *: everybody who may connect",
    )
    populate_user_id: bool = setting(
        False,
        "",
        "true: messages say in JMSXUserID who sent them, as populateJMSXUserID of ActiveMQ",
    )
    error_policy: str = setting(
        "",
        "",
        "activemq keeps a connection after an error that harms nothing; strict always closes it;"
        " empty: as the dialect says",
        ("", "activemq", "strict"),
    )
    undefined_escapes: str = setting(
        "",
        "",
        r"literal takes \t for itself (php-stomp never escapes); error refuses it, as STOMP asks;"
        " empty: as the dialect says",
        ("", "literal", "error"),
    )
    server_header: str = setting(
        "",
        "",
        "clients choose their dialect by its beginning (stomp-php for one); empty: as the dialect says",
    )
    connect_timeout: float = setting(
        10.0, "seconds", "a client has to send its CONNECT; 0: as long as it takes"
    )
    max_connections: int = setting(
        20_000,
        "connections",
        "at once, 20 kB each; less if the system grants fewer open files, of which 100 are for the broker",
        least=1,
    )
    max_waiting: int = setting(
        4000,
        "connections",
        "not let in yet; one more, and whoever waits longest where most come from is turned away",
        least=1,
    )
    linger: float = setting(2.0, "seconds", "a client has to hang up after the last word")
    heart_beat_least: int = setting(100, "milliseconds", "heart-beats are not agreed more often")
    max_command: int = setting(32, "bytes", "the longest command has 11")
    max_headers: int = setting(1000, "headers", "per frame, as ActiveMQ")
    max_header_line: int = setting(64 * KIB, "bytes", "per header; tokens and cookies can be long")
    max_header_block: int = setting(256 * KIB, "bytes", "of all headers of a frame")
    max_body: int = setting(100 * MIB, "bytes", "per message, as ActiveMQ")
    max_arriving: int = setting(
        256 * MIB,
        "bytes",
        "of unfinished frames of all connections; above it large ones wait until the first is complete",
    )
    frame_timeout: float = setting(
        60.0, "seconds", "in which a frame of more than 64 KiB must grow by as much; 0: it need not"
    )
    max_subscriptions: int = setting(
        10_000,
        "subscriptions",
        "of a connection, and as many temporary destinations: one client may consume from thousands of queues",
        least=1,
    )
    max_transactions: int = setting(
        100, "transactions", "open on a connection; most clients have one", least=1
    )
    max_transaction_frames: int = setting(
        10_000,
        "frames",
        "in a transaction, one to several destinations counts for each: its COMMIT keeps others waiting for some ms",
        least=1,
    )
    max_transaction_bytes: int = setting(
        128 * MIB, "bytes", "held for a transaction: a message of `max_body`, and some more"
    )
    max_destinations: int = setting(
        50_000,
        "destinations",
        "queues, topics, temporary ones and durable subscriptions, 2 to 5 kB each: a queue for each customer",
        least=1,
    )
    max_connect_frame: int = setting(
        16 * KIB, "bytes", "of CONNECT: a long token fits, and strangers can occupy little memory"
    )
    log_level: str = setting(
        "info",
        "",
        "and worse is logged; debug: who comes and goes; info: start, stop, links; warn: faults of clients;"
        " error: ours",
        ("debug", "info", "warn", "error"),
    )
    log_format: str = setting(
        "text", "", "json: an object a line, for programs that collect logs", ("text", "json")
    )
    pid_file: str = setting(
        "",
        "file",
        "of `hoofbeat start`, by which the others find it; empty: hoofbeat.pid in `data`",
    )
    log_file: str = setting("", "file", "of `hoofbeat start`; empty: log/hoofbeat.log in `data`")
    log_bytes: int = setting(
        10 * MIB, "bytes", "in that file before the next one is begun; 0: it grows for ever"
    )
    log_files: int = setting(
        5, "files", "of the log that are kept, besides the current one", least=1
    )
    immediate_deaths: int = setting(
        10,
        "deaths",
        "of the broker in a row, each less than 2 seconds after it was ready, until `hoofbeat start` gives up",
        least=1,
    )

    # Sections of the file.
    policies: tuple[PolicySection, ...] = ()
    rights: tuple[RightsSection, ...] = ()
    composites: tuple[CompositeRule, ...] = ()
    more_listeners: tuple[Listener, ...] = ()
    peers: tuple[PeerSection, ...] = ()
    virtual_hosts: tuple[HostSection, ...] = ()

    #: The name of the virtual host whose options these are; "": the broker's own.
    virtual_host: str = ""

    @property
    def store_url(self) -> str:
        """The store's URL, the default one included."""
        return self.store or f"lmdb:{self.data}"

    @property
    def is_open(self) -> bool:
        """Whether everybody is let in, as whom he says he is: nobody's login is checked."""
        asks_for_certificates = any(each.tls_client_authorities for each in self.listeners)
        return not (self.users or self.auth or asks_for_certificates)

    @property
    def listeners(self) -> tuple[Listener, ...]:
        """Every address at which clients are taken; the first is that of the plain settings."""
        first = Listener(
            self.host,
            self.port,
            self.backlog,
            self.dialect,
            self.tls_certificate,
            self.tls_key,
            self.tls_client_authorities,
            self.tls_client,
            anonymous=self.anonymous,
            insecure=self.insecure,
        )
        return (first, *self.more_listeners)

    @property
    def hosts(self) -> dict[str, Options]:
        """The options of each named virtual host. Raises `OptionsError` if nobody said where its store is."""
        return {name: self._of_host(name, changes) for name, changes in self.virtual_hosts}

    def _of_host(self, name: str, changes: Mapping[str, Any]) -> Options:
        """Return these with what a virtual host says: only it has its names, composites and peers."""
        own: dict[str, Any] = {"names": "", "composites": (), "peers": (), **changes}
        own["store"] = changes.get("store") or store_beside(self.store_url, name)
        for both in ("policies", "rights"):  # the later one wins
            own[both] = (*getattr(self, both), *changes.get(both, ()))
        return replace(self, virtual_host=name, virtual_hosts=(), **own)

    def dialect_named(self, name: str) -> Dialect:
        """Return a dialect with what the operator wants otherwise on all listeners."""
        wanted: dict[str, Any] = {
            "error_policy": self.error_policy,
            "undefined_escapes": self.undefined_escapes,
            "server_header": self.server_header,
        }
        return replace(DIALECTS[name], **{key: value for key, value in wanted.items() if value})


FIELDS: dict[str, Field[Any]] = settings_of(Options)
#: What a file may hold beside plain settings.
KINDS = (*SECTIONS, "virtual_host")


def settings_file() -> str:
    """Return a configuration file that says the defaults, each with its unit and reason.

    Sections stand in it as comments, for they hold for some destinations or listeners only.
    """
    return "\n".join([*written(FIELDS.values()), *examples(), *host_examples()])


def read_options(text: str, source: str, base: Options | None = None) -> Options:
    """Return `base` changed by a TOML text. `source` names the text in errors. Raises `OptionsError`."""
    import tomllib  # not everybody has a file, and starting is to be quick

    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise OptionsError(f"{source}: {error}") from None
    sections = {}
    for name in list(values):
        if name in POLICY and name not in FIELDS:
            raise OptionsError(
                f'{source}: {name} stands in a section, [destination.">"] for all destinations'
            )
        if name in SECTIONS:
            read, place = SECTIONS[name]
            sections[place] = read(values.pop(name), source)
        elif name == "virtual_host":
            sections["virtual_hosts"] = read_hosts(values.pop(name), source, FIELDS)
        elif isinstance(values[name], dict):
            raise OptionsError(
                f"{source}: unknown section [{name}]; there are: {', '.join(sorted(KINDS))}"
            )
    options = replace(change_options(base or Options(), values, source), **sections)
    check_peers(options.peers, options.name, source)
    check_hosts(options.virtual_hosts, options.name, source)
    return options


def change_options(base: Options, values: Mapping[str, Any], source: str) -> Options:
    """Return `base` with other values. Raises `OptionsError` for what is unknown or cannot be."""
    options = replace(base, **check(FIELDS, values, source))
    check_tls(options.tls_certificate, options.tls_key, source, options.tls_client_authorities)
    return options
