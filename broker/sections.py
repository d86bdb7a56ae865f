"""The nested settings of a configuration file: destinations, composites and listeners.

    [destination."orders.>"]        what holds for the destinations that a pattern matches: `Policy`
    [rights."orders.>"]             who may do what with them: `broker.rights`
    [composite."/queue/orders"]     a destination that forwards to others: `CompositeRule`
    [[listener]]                    one more address at which clients are taken: `Listener`
    [peer.NAME]                     another broker, to and from which messages are carried: `PeerSection`

Everything is checked here, and refused in one line that names the section. Not here: what a policy or a
rule does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Any

from broker.core.composite import CompositeRule
from broker.core.names import kind_of
from broker.core.pattern import is_pattern
from broker.core.policy import NAME, QUEUES, TOPICS, Policy
from broker.dialect import DIALECTS
from broker.setting import OptionsError, check, setting, settings_of, written

#: A pattern and what its section says, see `broker.core.policy.Policies`.
PolicySection = tuple[str, dict[str, Any]]

#: A pattern and the people that its section names for each right.
RightsSection = tuple[str, dict[str, str]]

TEMPORARY = ("/temp-queue/", "/temp-topic/", "/remote-temp-queue/", "/remote-temp-topic/")
WILDCARDS = ("*", ">")
PEERS_PATTERN = re.compile(r"/peer/([^/]+/)*>")
RIGHTS_KINDS = (
    "/queue/, /topic/, /temp-queue/, /temp-topic/ or /peer/NAME/queue/, or reads /peer/NAME/>"
)
PEER_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
PEER_URL = re.compile(r"[a-z][a-z0-9+.-]*://([^/:@\s\[\]]+|\[[0-9a-fA-F:.]+\])(:\d{1,5})?/?")


@dataclass(frozen=True, slots=True)
class Listener:
    """An address at which clients are taken, and what they may expect there."""

    host: str = setting(
        "127.0.0.1", "address", "loopback: nobody outside is let in unasked", least=1
    )
    port: int = setting(
        61614, "TCP port", "the one after the first; 0 takes a free one", most=65535
    )
    backlog: int = setting(4096, "connections", "a thousand clients may come in the same second")
    dialect: str = setting(
        "activemq",
        "",
        "activemq, rabbitmq or strict: what its clients expect where brokers differ",
        tuple(DIALECTS),
    )
    tls_certificate: str = setting(
        "", "PEM file", "its certificate, and those it is signed with; empty: no TLS"
    )
    tls_key: str = setting("", "PEM file", "the certificate's private key, without a password")
    tls_client_authorities: str = setting(
        "",
        "PEM file",
        "its clients show a certificate that one of these has signed; empty: they need none",
    )
    tls_client: str = setting(
        "required",
        "",
        "such a certificate; wanted: a client may also come without one",
        ("required", "wanted"),
    )
    protocol: str = setting(
        "stomp",
        "",
        "stomp; http: messages put by web programs, and links of peers (docs/peers.md); or what a package brings",
        least=1,
    )
    anonymous: bool = setting(
        False, "", "true: a client without a login is let in here, as anonymous"
    )
    insecure: bool = setting(
        False, "", "true: everybody is let in who reaches it, though that is not loopback only"
    )


@dataclass(frozen=True, slots=True)
class PeerSection:
    """Another broker."""

    name: str  # what it calls itself, and is called here
    url: str = setting(
        "",
        "URL",
        "to dial: stomp://HOST:PORT, stomp+ssl://…, http://…, https://…; empty: it dials us",
    )
    passcode: str = setting("", "", "the same in the configurations of both brokers", secret=True)
    virtual_host: str = setting(
        "/", "name", "of its virtual host to which we dial; / means its own", least=1
    )
    tls_authorities: str = setting(
        "", "file", "PEM; who signs its certificate; empty: whom the system trusts"
    )
    tls_certificate: str = setting(
        "", "PEM file", "shown to it when it is dialled and asks for one; empty: none"
    )
    tls_key: str = setting("", "PEM file", "the certificate's private key, without a password")
    send: str = setting(
        ">",
        "patterns",
        "with commas between them, of the destinations there that clients may send to",
    )
    accept: str = setting(
        ">",
        "patterns",
        "of the destinations here that it may send to; never the broker's own service, unless it is named",
    )
    window: int = setting(
        5000,
        "messages",
        "on their way at once: more than a link of 50 ms round trip needs to be busy",
        least=1,
    )
    heart_beat: float = setting(
        10.0, "seconds", "of silence after which a link sends a sign of life; 0: none", most=3600
    )
    outbox_messages: int = setting(
        0, "messages", "that may wait for it; 0: as many as the store holds"
    )
    outbox_at_limit: str = setting(
        "block",
        "",
        "block slows producers down; error refuses a SEND; drop-oldest makes room",
        ("block", "error", "drop-oldest"),
    )


POLICY = settings_of(Policy)
PEER = settings_of(PeerSection)
LISTENER = settings_of(Listener)


def read_policies(value: Any, source: str) -> tuple[PolicySection, ...]:
    """Return the `[destination."PATTERN"]` sections in their order. Raises `OptionsError`."""
    sections = []
    for pattern, table in _tables("destination", value, source, 'destination."orders.>"'):
        where = f'{source}: [destination."{pattern}"]'
        if pattern.startswith(TEMPORARY):
            raise OptionsError(f"{where}: temporary destinations have no settings")
        _check_pattern(pattern, where)
        for name, inner in table.items():
            if isinstance(inner, dict):
                raise OptionsError(
                    f"{where}: {name} is no setting; a name with dots stands in quotes:"
                    f' [destination."{pattern}.{name}"]'
                )
        changes = check(POLICY, table, where)
        if "dead_letter_queue" in changes:
            changes["dead_letter_queue"] = _dead_letter_queue(changes["dead_letter_queue"], where)
        sections.append((pattern, changes))
    return tuple(sections)


def read_rights(value: Any, source: str) -> tuple[RightsSection, ...]:
    """Return the `[rights."PATTERN"]` sections in their order. Raises `OptionsError`."""
    sections = []
    for pattern, table in _tables("rights", value, source, 'rights."orders.>"'):
        where = f'{source}: [rights."{pattern}"]'
        if pattern.startswith("/peer/") and PEERS_PATTERN.fullmatch(pattern):
            pass  # whatever is at a peer
        elif (kind := kind_of(pattern)) and "remote-" not in kind:
            _check_name(pattern.removeprefix(kind), where)
        else:
            _check_pattern(pattern, where, RIGHTS_KINDS)
        for name, people in table.items():
            if name not in RIGHTS:
                raise OptionsError(
                    f"{where}: unknown setting {name!r}; there are: {', '.join(sorted(RIGHTS))}"
                )
            if not isinstance(people, str):
                raise OptionsError(f'{where}: {name} reads "alice, @shops", not {people!r}')
        sections.append((pattern, table))
    return tuple(sections)


def _check_pattern(pattern: str, where: str, kinds: str = "/queue/ or /topic/") -> None:
    if pattern.startswith("/") and not pattern.startswith((QUEUES, TOPICS)):
        raise OptionsError(f"{where}: what begins with a slash begins with {kinds}")
    _check_name(pattern.removeprefix(QUEUES).removeprefix(TOPICS), where)


def _check_name(name: str, where: str) -> None:
    if not name or name != name.strip():
        raise OptionsError(f'{where}: a pattern reads "orders.>", "/queue/orders.*" or "orders"')
    if "," in name:
        raise OptionsError(f"{where}: a section has one pattern")
    elements = name.split(".")
    if ">" in elements[:-1] or any(
        wildcard in element and element != wildcard
        for element in elements
        for wildcard in WILDCARDS
    ):
        raise OptionsError(f"{where}: * stands for one whole element, > for the rest at the end")


def _dead_letter_queue(value: str, where: str) -> str:
    """Return the name of a queue for dead letters, without `/queue/`."""
    name = value.strip().removeprefix(QUEUES)
    bare = name.replace(NAME, "")
    is_other = name.startswith("/") and not value.strip().startswith(QUEUES)  # /topic/, or misspelt
    if is_other or "," in name or is_pattern(name):
        raise OptionsError(f"{where}: dead_letter_queue must name one queue, not {value!r}")
    if "{" in bare or "}" in bare:
        raise OptionsError(
            f"{where}: dead_letter_queue: only {NAME} is put in its place, not in {value!r}"
        )
    return name


def read_composites(value: Any, source: str) -> tuple[CompositeRule, ...]:
    """Return the rules of the `[composite."DESTINATION"]` sections. Raises `OptionsError`."""
    rules = []
    for destination, table in _tables("composite", value, source, 'composite."/queue/orders"'):
        where = f'{source}: [composite."{destination}"]'
        _check_destination(destination, where)
        for name in table:
            if name not in COMPOSITE:
                raise OptionsError(
                    f"{where}: unknown setting {name!r}; there are: {', '.join(sorted(COMPOSITE))}"
                )
        rules.append(_read_rule(destination, table, where))
    forwards = {rule.destination: rule.forward_to for rule in rules}
    try:
        TopologicalSorter(forwards).prepare()
    except CycleError as error:
        ring = " to ".join(reversed(error.args[1]))
        raise OptionsError(f"{source}: composites forward in a ring: {ring}") from None
    return tuple(rules)


def _read_rule(destination: str, table: Mapping[str, Any], where: str) -> CompositeRule:
    forward_to = table.get("forward_to")
    if (
        not isinstance(forward_to, list)
        or not forward_to
        or not all(isinstance(each, str) for each in forward_to)
    ):
        raise OptionsError(
            f'{where}: forward_to must be a list of destinations, ["/queue/billing"] for one,'
            f" not {forward_to!r}"
        )
    for each in forward_to:
        if not each.startswith("/peer/"):  # the peers are not known yet
            _check_destination(each, f"{where}: forward_to")
    if len(set(forward_to)) < len(forward_to):
        raise OptionsError(f"{where}: forward_to names a destination twice: {forward_to!r}")
    forward_only = table.get("forward_only", True)
    if not isinstance(forward_only, bool):
        raise OptionsError(f"{where}: forward_only must be true or false, not {forward_only!r}")
    filters = table.get("filters", {})
    if not isinstance(filters, dict) or not all(isinstance(each, str) for each in filters.values()):
        raise OptionsError(
            f'{where}: filters must be a table of selectors, {{"/queue/billing" = "amount > 100"}}'
            f" for one, not {filters!r}"
        )
    for each in filters:
        if each not in forward_to:
            raise OptionsError(f"{where}: filters names {each!r}, which is not in forward_to")
        if filters[each]:
            _check_filter(filters[each], f"{where}: filters: {each}")
    return CompositeRule(destination, tuple(forward_to), forward_only, filters)


def _check_filter(text: str, where: str) -> None:
    """Raise `OptionsError` unless a text is a selector."""
    from broker.selector import InvalidSelector, compile_selector  # few files have any

    try:
        compile_selector(text)
    except InvalidSelector as error:
        said = ". ".join(filter(None, (error.text, error.hint)))
        raise OptionsError(f"{where}: {said}") from None


def _check_destination(destination: str, where: str) -> None:
    """Raise `OptionsError` unless a text names one queue or topic as clients write it."""
    name = destination.removeprefix(QUEUES).removeprefix(TOPICS)
    if (
        not destination.startswith((QUEUES, TOPICS))
        or not name
        or name != name.strip()
        or "," in name
        or is_pattern(name)
    ):
        raise OptionsError(
            f"{where}: a destination reads /queue/NAME or /topic/NAME, not {destination!r}"
        )


def read_listeners(value: Any, source: str) -> tuple[Listener, ...]:
    """Return what the `[[listener]]` sections say. Raises `OptionsError`."""
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise OptionsError(f"{source}: listeners stand in sections [[listener]], in two brackets")
    listeners = []
    for number, table in enumerate(value, 1):
        where = f"{source}: [[listener]] {number}"
        listener = Listener(**check(LISTENER, table, where))
        check_tls(
            listener.tls_certificate, listener.tls_key, where, listener.tls_client_authorities
        )
        listeners.append(listener)
    return tuple(listeners)


def check_tls(certificate: str, key: str, where: str, authorities: str = "") -> None:
    """Raise `OptionsError` unless all files are named that go together; `authorities`: for clients."""
    if bool(certificate) != bool(key):
        has, lacks = "tls_certificate", "tls_key"
        if key:
            has, lacks = lacks, has
        raise OptionsError(f"{where}: {has} needs {lacks} beside it")
    if authorities and not certificate:
        raise OptionsError(f"{where}: tls_client_authorities needs tls_certificate beside it")


def read_peers(value: Any, source: str) -> tuple[PeerSection, ...]:
    """Return what the `[peer.NAME]` sections say. Raises `OptionsError`."""
    peers = []
    for name, table in _tables("peer", value, source, "peer.NAME"):
        where = f"{source}: [peer.{name}]"
        if not PEER_NAME.fullmatch(name):
            raise OptionsError(f"{where}: a name has 1 to 64 letters, digits, - and _")
        settings = check(PEER, table, where)
        if not settings.get("passcode"):
            raise OptionsError(f"{where}: passcode is missing: both brokers must know it")
        url = settings.get("url", "")
        if url and not PEER_URL.fullmatch(url):
            raise OptionsError(f"{where}: url reads stomp://HOST:PORT, or stomp+ssl, http, https")
        peer = PeerSection(name, **settings)
        check_tls(peer.tls_certificate, peer.tls_key, where)
        peers.append(peer)
    return tuple(peers)


def check_peers(peers: Sequence[PeerSection], name: str, source: str) -> None:
    """Raise `OptionsError` unless a broker with peers has a name of its own."""
    if not peers and not name:
        return
    if not PEER_NAME.fullmatch(name):
        raise OptionsError(
            f"{source}: name must say what peers call this broker: 1 to 64 letters, digits, - and _,"
            f" not {name!r}"
        )
    if any(peer.name == name for peer in peers):
        raise OptionsError(f"{source}: [peer.{name}]: that is this broker's own name")


def _tables(
    section: str, value: Any, source: str, example: str
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the tables inside a section, by name."""
    tables = value.items() if isinstance(value, dict) else [(section, value)]
    for name, table in tables:
        if not isinstance(table, dict):
            raise OptionsError(f"{source}: {name} must stand in a section [{example}]")
        yield name, table


#: What a file may hold beside plain settings → its reader, and the name of its place in `Options`.
SECTIONS: dict[str, tuple[Callable[[Any, str], Any], str]] = {
    "destination": (read_policies, "policies"),
    "rights": (read_rights, "rights"),
    "composite": (read_composites, "composites"),
    "listener": (read_listeners, "more_listeners"),
    "peer": (read_peers, "peers"),
}

#: The rights on a destination: an example of whom a section names, and what these may do.
RIGHTS = {
    "read": ("alice, @shops", "consume from there"),
    "write": ("*", "send there"),
    "create": ("@shops", "make it by a SEND or SUBSCRIBE; not said: who may read or write"),
    "browse": ("@shops", "look without taking; not said: who may read"),
    "administer": ("bob", "call the broker's own methods that act there: docs/administration.md"),
}

#: The settings of a composite: an example and what it means.
COMPOSITE = {
    "forward_to": (
        '["/queue/billing", "/topic/orders.new"]',
        "destinations: each of them gets every message that is sent to this one",
    ),
    "forward_only": ("true", "as ActiveMQ; false: this destination keeps a message too"),
    "filters": (
        '{ "/queue/billing" = "amount > 100" }',
        "selectors: only what matches goes to a destination that has one",
    ),
}


def examples() -> Iterator[str]:
    """Write down each kind of section with all its settings, as comments of a configuration file.

    Settings begin with `#` alone, everything else with `#` and a blank.
    """
    yield (
        "# What holds for the destinations that a pattern matches: * is one element of a name, > the\n"
        "# rest of it. /queue/ or /topic/ in front restricts it. All sections that match apply; of two\n"
        "# that say the same setting the later one wins. The defaults:\n"
        '#[destination."orders.>"]\n'
    )
    yield from written(POLICY.values(), "#")
    yield (
        "# Who may do what with the destinations that a pattern matches: docs/security.md. People are logins,\n"
        '# groups with @, and * for everybody who may connect: "alice, @shops". As soon as there is a section, what\n'
        "# nobody is named for is refused. All sections that match apply; of two that say the same right the later\n"
        "# one wins. An example:\n"
        '#[rights."orders.>"]\n'
    )
    for name, (people, reason) in RIGHTS.items():
        yield f'# who may {reason}\n#{name} = "{people}"\n'
    yield (
        "# A destination that forwards what is sent there. An example:\n"
        '#[composite."/queue/orders"]\n'
    )
    for name, (example, reason) in COMPOSITE.items():
        yield f"# {reason}\n#{name} = {example}\n"
    yield "# One more address at which clients are taken, as often as needed. The defaults:\n"
    yield "#[[listener]]\n"
    yield from written(LISTENER.values(), "#")
    yield (
        "# Another broker, by the name it calls itself: docs/peers.md. Both have a `name` and a section for each\n"
        "# other. The defaults:\n"
        "#[peer.NAME]\n"
    )
    yield from written(PEER.values(), "#")
