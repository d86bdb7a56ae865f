"""The pages about the protocol and about moving from ActiveMQ say what the program does.

Every header that the program reads or writes is looked for in its source, and what a running broker writes in
the frames of a small conversation: both must stand in the tables of docs/protocol.md, under the frame they
belong to. The examples of docs/activemq.md are given to the broker.
"""

from __future__ import annotations

import ast
import importlib
import re
import tomllib
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import pytest

from broker import filters
from broker.client import ID_BYTES
from broker.core.durable import NAME_BYTES as SUBSCRIPTION_BYTES
from broker.core.names import ELEMENTS
from broker.core.picking import GROUPS
from broker.core.policy import Policy
from broker.core.routes import NAME_BYTES
from broker.dialect import DIALECTS
from broker.options import FIELDS, KINDS, Options, read_options
from broker.sections import COMPOSITE, LISTENER, RIGHTS
from broker.selector import LONGEST, compile_selector
from broker.selector.parse import DEPTH
from broker.setting import settings_of
from broker.stomp import Frame
from broker.tail import OURS
from broker.watch import statistics
from tests.conftest import StartBroker
from tests.harness import DEADLINE, BrokerProcess, Client
from tests.scenarios.steps import put, subscribe, take

ROOT = Path(__file__).parent.parent
PROTOCOL, ACTIVEMQ = ROOT / "docs" / "protocol.md", ROOT / "docs" / "activemq.md"
PAGES = [PROTOCOL, ACTIVEMQ]

# --- the pages ------------------------------------------------------------------------------------


@cache
def sections(page: Path) -> dict[str, str]:
    """Return the text of each section of a page, those below it included, by its heading."""
    found = {}
    parts = re.split(r"^(#+) (.*)$", page.read_text(), flags=re.MULTILINE)[1:]
    heads = list(zip(parts[::3], parts[1::3], parts[2::3], strict=True))
    for number, (signs, title, text) in enumerate(heads):
        for lower, _, more in heads[number + 1 :]:
            if len(lower) <= len(signs):
                break
            text += more
        found[title] = text
    return found


def rows(text: str) -> Iterator[list[str]]:
    """Yield the cells of each row of the tables in a text, without their heads."""
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        for line in table.splitlines()[2:]:
            yield [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def in_code(text: str) -> list[str]:
    """Return what stands in back-quotes, but for blocks."""
    return re.findall(r"`([^`]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))


@cache
def headers_of(frame: str) -> frozenset[str]:
    """Return the headers in the tables of a frame."""
    return frozenset(name for row in rows(sections(PROTOCOL)[frame]) for name in in_code(row[0]))


def tables(*frames: str) -> frozenset[str]:
    return frozenset().union(*map(headers_of, frames))


# --- the source -----------------------------------------------------------------------------------

CONNECT, ACK, BEGIN, ERROR = "CONNECT, STOMP", "ACK, NACK", "BEGIN, COMMIT, ABORT", "RECEIPT, ERROR"
FRAMES = (
    *(CONNECT, "CONNECTED", "SEND", "MESSAGE", "SUBSCRIBE", "UNSUBSCRIBE"),
    *(ACK, BEGIN, "DISCONNECT", ERROR),
)
#: Where the headers stand that a module reads or writes; other modules: anywhere.
PLACES = {
    "broker.answers": (ERROR,),
    "broker.connection": (CONNECT, "CONNECTED"),
    "broker.consumer": ("MESSAGE",),
    "broker.conversation": (ACK, BEGIN, "DISCONNECT"),
    "broker.watch.schedule": ("SEND", "MESSAGE"),
    "broker.sending": ("SEND", "MESSAGE"),
    "broker.watch.statistics": ("SEND", "MESSAGE"),
    "broker.stomp.session": (CONNECT, "CONNECTED", ERROR),
    "broker.subscribing": ("SUBSCRIBE", "UNSUBSCRIBE", "MESSAGE"),
    "broker.wish": ("SUBSCRIBE", "UNSUBSCRIBE"),
}
#: All that know headers by name. The codec is not among them: it knows content-length, and reads what comes.
MODULES = [
    "broker.stomp.session",
    *sorted(
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for folder in ("", "core", "core/durable", "core/schedule", "peering", "watch")
        for path in (ROOT / "broker" / folder).glob("*.py")
        if path.stem not in ("__init__", "__main__")
    ),
]

#: What a mapping of headers is called in the source.
MAPPINGS = {"headers", "request", "changed", "named"}
#: And a literal one that is going to be a part of such a mapping.
LITERALS = MAPPINGS | {"JSON", "_note", "asked", "count", "names", "said"}
ASKING = {"get", "setdefault"}  # methods of a mapping
SEARCHING = {
    "number",
    "flag",
    "first",
}  # functions whose second argument names a header, or several
#: Functions that write headers → which argument has them.
WRITING = {
    "Advisory": 2,
    "Frame": 1,
    "annotate": 1,
    "header_lines": 0,
    "message_writer": 0,
    "reply": 1,
    "write": 0,
}
LINE = re.compile(rb"(?:^|\n|%b)([A-Za-z][\w.-]*):")
WORD = re.compile(r"[A-Za-z_][\w.-]*")


class Source(ast.NodeVisitor):
    """Finds the names of headers in a module."""

    def __init__(self, module: str) -> None:
        self.found: dict[str, int] = {}  # name → a line where it is
        self._module = importlib.import_module(module)
        self._scopes: list[ast.AST] = []
        self.visit(ast.parse(Path(str(self._module.__file__)).read_text()))

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._scopes.append(node)
        self.generic_visit(node)
        self._scopes.pop()

    def visit_Call(self, node: ast.Call) -> None:
        called = last_name(node.func)
        if isinstance(node.func, ast.Attribute) and called in ASKING and node.args:
            if last_name(node.func.value) in MAPPINGS:
                self._note(node.args[0])
        elif called in SEARCHING and len(node.args) > 1:
            self._note(node.args[1])
        if called in WRITING and len(node.args) > WRITING[called]:
            self._note_literal(node.args[WRITING[called]])
        if called == "append" and node.args:
            self._note_pair(node.args[0])
        self.generic_visit(node)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        if last_name(node.value) in MAPPINGS:
            self._note(node.slice)
        self.generic_visit(node)

    def visit_Compare(self, node: ast.Compare) -> None:
        [operator, *_], [right, *_] = node.ops, node.comparators
        if isinstance(operator, ast.In | ast.NotIn) and last_name(right) in MAPPINGS:
            self._note(node.left)
        self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        if any(last_name(target) in LITERALS for target in node.targets):
            self._note_literal(node.value)
        self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        if last_name(node.target) in LITERALS:
            self._note_literal(node.value)
        self.generic_visit(node)

    def visit_Return(self, node: ast.Return) -> None:
        if self._scopes and "header" in getattr(self._scopes[-1], "name", "") and node.value:
            self._note_literal(node.value)
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, bytes):
            for name in LINE.findall(node.value):
                self.found[name.decode()] = node.lineno

    def _note_literal(self, node: ast.expr) -> None:
        """Note the keys of a mapping, or the first ones of pairs, wherever they are in an expression."""
        for each in ast.walk(node):
            if isinstance(each, ast.Dict):
                for key in each.keys:
                    if key is not None:
                        self._note(key)
            self._note_pair(each)

    def _note_pair(self, node: ast.AST) -> None:
        if isinstance(node, ast.Tuple) and len(node.elts) == 2:
            name = node.elts[0]
            if isinstance(name, ast.Constant) and isinstance(name.value, str) and name.value:
                self._note(name)

    def _note(self, node: ast.expr) -> None:
        names = self._names(node)
        assert names is not None, (
            f"{self._module.__name__}:{node.lineno}: which header is {ast.unparse(node)}?"
        )
        self.found |= dict.fromkeys(names, node.lineno)

    def _names(self, node: ast.expr) -> list[str] | None:
        """Return the names that an expression stands for, None if that is not to be seen here."""
        if isinstance(node, ast.Constant):
            return [node.value] if node.value and isinstance(node.value, str) else []
        if isinstance(node, ast.Call):  # of whatever it searches through
            found = [each for each in map(self._names, node.args) if each]
            return [name for names in found for name in names] or None
        if not isinstance(node, ast.Name):
            return None
        value = getattr(self._module, node.id, None)
        if isinstance(value, str):
            return [value]
        if isinstance(value, tuple | frozenset):
            return [str(each) for each in value]
        for scope in self._scopes:
            if isinstance(scope, ast.FunctionDef) and node.id in [a.arg for a in scope.args.args]:
                return []  # those who call it say which
            for each in ast.walk(scope):
                if not isinstance(each, ast.For | ast.comprehension):
                    continue
                if last_name(each.target) == node.id:
                    return self._names(each.iter)
                if isinstance(each.target, ast.Tuple) and node.id in map(
                    last_name, each.target.elts
                ):
                    return []  # out of a mapping, whatever is in it
        return None


def last_name(node: ast.expr) -> str:
    """Return the last name of an expression: `c` of `a.b.c`."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


@pytest.mark.parametrize("module", MODULES)
def test_every_header_in_the_source_is_in_the_tables(module: str) -> None:
    known = tables(*PLACES.get(module, FRAMES))
    found = Source(module).found
    assert {name: line for name, line in found.items() if name not in known} == {}


def test_headers_are_found_in_the_source() -> None:
    """The test above would say nothing if nothing were found."""
    assert Source("broker.sending").found.keys() >= {"destination", "ttl", "_AMQ_DUPL_ID"}
    assert Source("broker.wish").found.keys() >= {"credit", "durable", "browser", "x-priority"}
    assert Source("broker.consumer").found.keys() >= {"subscription", "ack", "redelivered"}
    assert Source("broker.answers").found.keys() >= {"receipt-id", "message", "content-type"}
    assert Source("broker.turn").found.keys() == {"timestamp"}


def test_what_is_not_passed_on_is_in_the_table_of_send() -> None:
    assert headers_of("SEND") >= OURS


def test_no_header_is_in_the_tables_that_nobody_knows() -> None:
    known = {statistics.RESET, statistics.LIST_END, statistics.FIRST_TIMESTAMP}
    for module in MODULES:
        path = ROOT.joinpath(*module.split(".")).with_suffix(".py")
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes):
                value = node.value
                known |= set(WORD.findall(value if isinstance(value, str) else value.decode()))
    assert tables(*FRAMES) - known == set()


# --- a running broker -----------------------------------------------------------------------------


class Listener(Client):
    """A client that notes what it is told."""

    def __init__(self, broker: BrokerProcess, **headers: str) -> None:
        self.told: list[Frame] = []
        self._waiting: list[Frame] = []  # that nobody has waited for
        super().__init__(broker.port, "1.2", **headers)

    def frame(self, deadline: float = DEADLINE) -> Frame:
        frame = super().frame(deadline)
        self.told.append(frame)
        return frame

    def hear(self, **headers: str) -> Frame:
        """Return the first MESSAGE with these headers that was not returned before."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        while True:
            for frame in self._waiting:
                if named.items() <= frame.headers.items():
                    self._waiting.remove(frame)
                    return frame
            frame = self.frame()
            if frame.command == "MESSAGE":
                self._waiting.append(frame)


def converse(broker: BrokerProcess) -> list[Frame]:
    """Let a broker say everything that it has a header for; return it."""
    named = {"client-id": "me", "request-id": "1", "receipt": "2", "login": "me"}
    with Listener(broker, **named) as client, broker.connect(login="you") as producer:
        client.send("SEND", b"where to?", receipt="error")
        client.expect("ERROR")
        put(producer, "/topic/t", b"kept", **{"ActiveMQ.Retain": "true"})
        client.send("SUBSCRIBE", destination="/topic/t", id="t", receipt="t")
        client.hear(subscription="t")
        put(
            producer,
            *("/queue/q", b"seen"),
            JMSXGroupID="g",
            persistent="false",
            expires="9999999999999",
        )
        client.send("SUBSCRIBE", destination="/queue/q", id="browser", browser="true")
        client.hear(browser="end")
        client.send("SUBSCRIBE", destination="/queue/ActiveMQ.DLQ", id="letters")
        client.send("SUBSCRIBE", destination="/topic/ActiveMQ.Advisory.Consumer.>", id="watch")
        client.send("SUBSCRIBE", destination="/queue/q", id="q", ack="client")
        client.hear(subscription="watch")
        client.send("NACK", id_=client.hear(subscription="q").headers["ack"], requeue="true")
        client.send("NACK", id_=client.hear(JMSXDeliveryCount="2").headers["ack"])
        client.hear(subscription="letters")
        producer.write(b"SEND\ndestination:/queue/ActiveMQ.DLQ\nAMQ_SCHEDULED_DELAY:1\n\n\0")
        client.hear(subscription="letters")
        client.send("SUBSCRIBE", destination="/temp-queue/answers", id="answers")
        for kind in ("Broker", "Subscription"):
            destination = f"/queue/ActiveMQ.Statistics.{kind}"
            client.send("SEND", destination=destination, reply_to="/temp-queue/answers")
            client.hear(subscription="answers")
        for number, verb in enumerate(("ACK", "NACK")):
            jobs, reports = f"/queue/jobs.{number}", f"/queue/reports.{number}"
            put(producer, jobs, b"", report="processed,failed", reply_to=reports)
            client.send("SUBSCRIBE", destination=jobs, id=jobs, ack="client")
            client.send(verb, id_=client.hear(subscription=jobs).headers["ack"])
            client.send("SUBSCRIBE", destination=reports, id=reports)
            client.hear(subscription=reports)
        return client.told


def test_what_a_broker_says_is_in_the_tables(start_broker: StartBroker) -> None:
    """And what stands first in the table of MESSAGE is said; the rest is about what the broker tells itself."""
    broker = start_broker(
        "memory:", populate_user_id=True, **{'destination."q".dead_letter_non_persistent': True}
    )
    places = {"CONNECTED": ("CONNECTED",), "MESSAGE": ("MESSAGE", "SEND")}
    said: set[str] = set()
    for frame in converse(broker):
        known = tables(*places.get(frame.command, (ERROR,)))
        assert set(frame.headers) <= known, frame
        if frame.command == "MESSAGE":
            said |= set(frame.headers)
    first_table = sections(PROTOCOL)["MESSAGE"].partition("What the broker itself")[0]
    assert {name for row in rows(first_table) for name in in_code(row[0])} <= said


# --- other cheap truths ---------------------------------------------------------------------------


def test_the_names_that_selectors_know_are_on_the_page() -> None:
    named = in_code(sections(PROTOCOL)["Selectors"])
    assert {*filters.HEADERS, *filters.FACTS, "JMSDestination"} <= set(named)
    assert set(filters.HEADERS.values()) <= headers_of("SEND")


def test_the_selector_on_the_page_is_one() -> None:
    [text] = re.findall(r"```\n(.*?)```", sections(PROTOCOL)["Selectors"], re.DOTALL)
    selector = compile_selector(text)
    order = {"type": "order", "amount": "100", "x-rush": "true", "name": "testing"}
    assert selector.matches(order.get)
    assert not selector.matches({**order, "name": "test_1"}.get)


def test_the_limits_are_those_of_the_program() -> None:
    limits = {row[0]: row for row in rows(sections(PROTOCOL)["Limits"])}
    for _, limit, setting in limits.values():
        if setting:
            assert limit.startswith(f"{getattr(Options(), setting.strip('`')):,}"), setting
    fixed = {
        "name of a destination": NAME_BYTES,
        "client-id, name of a durable subscription": SUBSCRIPTION_BYTES,
        "selector": LONGEST,
        "receipt, id of a subscription, name of a transaction or temporary destination": ID_BYTES,
        "destinations in a list": ELEMENTS,
        "nesting of a selector": DEPTH,
        "groups that a queue remembers": GROUPS,
    }
    assert {name for name, row in limits.items() if not row[2]} == set(fixed)
    for name, value in fixed.items():
        assert limits[name][1].split()[0] == f"{value:,}", name


KNOWN_SETTINGS = {*FIELDS, *settings_of(Policy), *COMPOSITE, *LISTENER, *RIGHTS, *KINDS}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_dialects_and_settings_that_are_named_exist(page: Path) -> None:
    text = page.read_text()
    assert set(re.findall(r"`dialect = \"(\w+)\"`", text)) <= set(DIALECTS)
    for each in in_code(text):
        # Only settings are small letters with underscores between them.
        for name in re.findall(r"^([a-z]+(?:_[a-z]+)+)(?= = |$)", each):
            assert name in KNOWN_SETTINGS, each


def anchors(page: Path) -> set[str]:
    """Return what links to the headings of a page look like."""
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in sections(page)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", page.read_text()):
        file, _, anchor = target.partition("#")
        other = page.parent / file if file else page
        assert other.is_file(), target
        assert not anchor or anchor in anchors(other), target


# --- the examples ---------------------------------------------------------------------------------

MIGRATION = "From activemq.xml to hoofbeat.toml"


def examples(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", ACTIVEMQ.read_text(), re.DOTALL)


def test_the_examples_are_settings() -> None:
    found = examples("toml")
    assert len(found) > 1
    for text in found:
        read_options(text, "docs/activemq.md")


def test_the_second_column_of_the_migration_names_settings() -> None:
    """Whatever stands there is a setting, alone or with a value, or a section."""
    for _, ours, _ in rows(sections(ACTIVEMQ)[MIGRATION]):
        for each in in_code(ours):
            name = each.partition(" = ")[0]
            section = re.match(r"\[+(\w+)", each)
            assert (section[1] if section else name) in KNOWN_SETTINGS, each


#: What the example's XML says that is no setting but a name.
NAMES = {"name", "physicalName", "queue", "topic"}


def test_everything_that_the_example_sets_is_in_the_table() -> None:
    [xml] = examples("xml")
    table = sections(ACTIVEMQ)[MIGRATION].partition("### An example")[0]
    root = ET.fromstring(xml)
    attributes = {name for element in root.iter() for name in element.attrib} - NAMES
    assert len(attributes) > 10
    assert {name for name in attributes if not re.search(rf"\b{name}\b", table)} == set()


def flat(table: dict[str, object], prefix: str = "") -> Iterable[tuple[str, object]]:
    """Yield the settings of a file, each with its whole name."""
    for name, value in table.items():
        if isinstance(value, dict):
            yield from flat(value, f'{prefix}"{name}".')
        else:
            yield f'{prefix}"{name}"', value


def test_a_broker_obeys_the_example(start_broker: StartBroker) -> None:
    settings = dict(flat(tomllib.loads(examples("toml")[0]))) | {'"host"': "127.0.0.1"}
    broker = start_broker("memory:", **settings)
    with broker.connect() as client, broker.connect() as producer:
        for name in ("orders", "orders.archive", "orders.large"):
            subscribe(client, f"/queue/{name}", id=name, ack="client-individual")
        put(producer, "/queue/orders", b"small", size="small")
        small = take(client, 2)
        put(producer, "/queue/orders", b"large", size="large")
        large = take(client, 3)
        came = [message.headers["subscription"] for message in small]
        assert sorted(came) == ["orders", "orders.archive"]
        assert {message.headers["subscription"] for message in large} == {*came, "orders.large"}
        assert all("expires" in message.headers for message in small + large)  # ttl_default
        subscribe(client, "/queue/DLQ.orders.large", id="letters")
        [message] = [m for m in large if m.headers["subscription"] == "orders.large"]
        client.send("NACK", id_=message.headers["ack"])
        letter = client.expect("MESSAGE", subscription="letters")
        assert letter.headers["original-destination"] == "/queue/orders.large"
        assert "expires" not in letter.headers
