"""docs/jobs.md and the README's jobs: what they show is so."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

import rpc.jobs
from rpc.jobs import Inbox, Sender, SendOptions
from rpc.jobs.consuming import InboxOptions, Settings
from rpc.jobs.sending import prepare
from tests.processes import BrokerProcess, Process

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "jobs.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8").partition("### Jobs\n")[2]
ADDRESS = "stomp://127.0.0.1:61613"


def blocks(text: str, language: str) -> list[str]:
    """Return the code blocks in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.M | re.S)


@pytest.fixture
def peers(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """Return the URLs of a broker, and of the one that it knows as `store`."""
    knows = '[peer.{}]\npasscode = "p"\n'
    (tmp_path / "b.toml").write_text('name = "store"\n' + knows.format("here"))
    with ExitStack() as stack:

        def start(name: str) -> str:
            config = str(tmp_path / f"{name}.toml")
            broker = BrokerProcess(store=f"lmdb:{tmp_path / name}", config=config)
            return stack.enter_context(broker).url

        there = start("b")
        url = f'url = "{there}"\n'
        (tmp_path / "a.toml").write_text('name = "here"\n' + knows.format("store") + url)
        yield start("a"), there


@pytest.mark.parametrize("text", [PAGE, README], ids=["page", "readme"])
def test_the_first_two_programs(text: str, peers: tuple[str, str]) -> None:
    """A sender here, and an inbox at the store."""
    here, there = peers
    sender, inbox = blocks(text, "python")[:2]
    sender = sender.replace(ADDRESS, here).replace("Sender()", f"Sender({here!r})")
    inbox = inbox.replace(ADDRESS, there).replace("Inbox()", f"Inbox({there!r})")
    with Process("-c", sender) as one:
        if "print(order.status)" in sender:
            one.wait_for_line("^(QUEUED|SENT)$")
        with Process("-c", inbox) as other:
            one.wait_for_line("PROCESSED$")
            assert one.wait() == 0
            other.signal(15)
            assert other.wait() == 0


def test_every_program_is_python_and_names_what_there_is() -> None:
    for block in blocks(PAGE, "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom):
                module = __import__(str(node.module), fromlist=["*"])
                assert {name.name for name in node.names} <= set(dir(module))


def test_every_option_has_its_row() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (\w+) \|", PAGE, re.M))
    defaults = inspect.signature(prepare).parameters
    assert rows.keys() == SendOptions.__annotations__.keys()
    assert rows == {name: str(defaults[name].default) for name in rows}


@pytest.mark.parametrize("kind", [Sender, Inbox])
def test_what_makes_one_is_shown_with_its_defaults(kind: type) -> None:
    found = re.search(rf"^`{kind.__name__}\((.*?)\)`", PAGE, re.M)
    assert found
    told = dict(re.findall(r"(\w+)=(\"[^\"]*\"|[\d.]+)", found[1]))
    parameters = inspect.signature(kind).parameters
    wanted = {name: each.default for name, each in parameters.items() if name != "options"}
    if kind is Inbox:
        fields = Settings.__dataclass_fields__
        wanted |= {name: fields[name].default for name in InboxOptions.__annotations__}
    assert {name: ast.literal_eval(value) for name, value in told.items()} == wanted


def test_every_status_has_its_row() -> None:
    assert re.findall(r"^\| ([A-Z]+) \|", PAGE, re.M) == [*rpc.jobs.Status]
