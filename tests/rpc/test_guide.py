"""The examples of docs/remote-calls.md, as they stand and in their order, against a real broker.

A block whose first line names a file is a program: one that has a worker serves while the others run; of the
others the output stands in the next block. The rest is one Python session of a user, statement by statement. A
comment behind an expression is its value, or `Exception: text`; … ends what matters of a text.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import rpc
from rpc.calling.options import CallOptions
from rpc.working.registration import MethodOptions
from tests.processes import Process

PAGE = (Path(__file__).parents[2] / "docs/remote-calls.md").read_text(encoding="utf-8")
DEFAULT = "stomp://127.0.0.1:61613"
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$(?:\n\n```\n(.*?)^```$)?", re.DOTALL | re.MULTILINE)
FAILURE = re.compile(r"([A-Z]\w+): (.*)")


class Block(NamedTuple):
    """An example."""

    code: str
    name: str | None  # of the file that it is
    printed: str | None  # what it prints


def blocks() -> list[Block]:
    """Return the examples in their order."""
    found = []
    for language, code, printed in BLOCK.findall(PAGE):
        assert language == "python", code
        name = re.match(r"# (\w+\.py)\n", code)
        found.append(Block(code, name and name[1], printed or None))
    assert len(found) == PAGE.count("```python")
    return found


def at(url: str, code: str) -> str:
    """Return an example that means another broker. What stomp.py is told is host and port."""
    port = url.rpartition(":")[2]
    return code.replace(DEFAULT, url).replace('"127.0.0.1", 61613', f'"127.0.0.1", {port}')


class Said(NamedTuple):
    """A statement, and what the page says it leads to."""

    node: ast.stmt
    comment: str | None


def statements(code: str) -> Iterator[Said]:
    """Yield the statements of an example. A comment belongs to the one whose last line it is on."""
    lines = code.splitlines()
    for node in ast.parse(code).body:
        comment = None
        if isinstance(node, ast.Expr) and node.end_lineno is not None:
            rest = lines[node.end_lineno - 1].encode()[node.end_col_offset :].decode()
            comment = rest.partition("#")[2].strip() or None
        yield Said(node, comment)


def run(said: Said, session: dict[str, Any]) -> bool:
    """Run a statement; return whether it was held against a comment."""
    node, comment = said
    if not isinstance(node, ast.Expr) or comment is None:
        exec(compile(ast.Module([node], []), "<page>", "exec"), session)
        return False
    code = compile(ast.Expression(node.value), "<page>", "eval")
    if failure := FAILURE.fullmatch(comment):
        with pytest.raises(
            Exception, match=f"^{re.escape(failure[2].removesuffix('…'))}"
        ) as caught:
            eval(code, session)
        assert caught.type.__name__ == failure[1]
    else:
        assert eval(code, session) == ast.literal_eval(comment), ast.unparse(node)
    return True


def leave(session: dict[str, Any]) -> None:
    """Close what a user's process would have closed by its end."""
    for value in session.values():
        if isinstance(value, rpc.Client):
            value.close()


def test_every_example(broker_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the programs make files
    programs = [block for block in blocks() if block.name is not None]
    session: dict[str, Any] = {}
    held = 0
    with ExitStack() as stack:
        stack.callback(leave, session)
        for code, name, _ in programs:
            assert name is not None
            (tmp_path / name).write_text(at(broker_url, code), encoding="utf-8")
            if "Worker(" in code:
                stack.enter_context(Process(str(tmp_path / name)))
        for code, name, printed in blocks():
            if name is None:
                held += sum(run(said, session) for said in statements(at(broker_url, code)))
            elif printed is not None:
                with Process(str(tmp_path / name)) as program:
                    for line in printed.splitlines():
                        program.wait_for_line(f"^{re.escape(line)}$")
                    assert program.wait() == 0
                    assert program.lines == printed.splitlines()
    assert held > 30


def section(title: str) -> str:
    """Return what stands below a title."""
    return re.split(r"^#", PAGE.partition(f" {title}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]


def rows(text: str) -> dict[str, list[str]]:
    """Return the rows of tables by the names in their first cells."""
    found: dict[str, list[str]] = {}
    for row in re.findall(r"^\| (.*) \|$", text, re.MULTILINE):
        first, *rest = row.split(" | ")
        for name in re.findall(r"`(\w+)`", first.partition("(")[0]):
            found[name] = rest
    return found


def test_every_option_has_its_row_and_its_default() -> None:
    """Of calls and functions the defaults are compared; of workers, whose table says some in words, the names."""
    for kind, title in ((CallOptions, "Options"), (MethodOptions, "Options of a function")):
        told = rows(section(title))
        for each in dataclasses.fields(kind):
            if not each.init:
                continue
            default = told[each.name][0].strip("`")
            if each.default is not dataclasses.MISSING:
                meant = None if default in ("none", "None") else ast.literal_eval(default)
                assert meant == each.default, each.name
    worker = set(inspect.signature(rpc.Worker.__mro__[1]).parameters) - {"url", "service"}
    assert worker == rows(section("Options of a worker")).keys()
    client = set(inspect.signature(rpc.Client).parameters) - {"url", "service"}
    assert client <= rows(section("Options")).keys()


def test_every_exception_has_its_row() -> None:
    errors = {
        name
        for name in rpc.__all__
        if isinstance(getattr(rpc, name), type) and issubclass(getattr(rpc, name), rpc.RpcError)
    }
    assert (
        errors - {"RpcError"}
        == rows(section("What can go wrong")).keys()
        - {
            "TypeError",
            "ValueError",
            "sent",
        }
        & errors
    )
    assert "rpc.RpcError" in section("What can go wrong")


def test_links_lead_somewhere() -> None:
    titles = {
        re.sub(r"[^\w -]", "", title).strip().lower().replace(" ", "-")
        for title in re.findall(r"^#+ (.*)$", PAGE, re.MULTILINE)
    }
    for link in re.findall(r"\]\(([^)#:]*)(?:#([\w-]*))?\)", PAGE):
        file, anchor = link
        if file:
            assert (Path(__file__).parents[2] / "docs" / file).exists(), link
        elif anchor:
            assert anchor in titles, link


def test_a_wrong_example_is_noticed() -> None:
    """The tests above would say nothing if anything were right."""
    session: dict[str, Any] = {}
    for code in (
        "1 + 1  # 3",
        "1 / 0  # ValueError: division by zero",
        "int('x')  # ValueError: no",
    ):
        [said] = statements(code)
        with pytest.raises((AssertionError, pytest.fail.Exception)):
            run(said, session)
    [said] = statements("1 / 0  # ZeroDivisionError: division by zero")
    assert run(said, session)
