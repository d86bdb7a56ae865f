"""`hoofbeat describe`: what a service's functions are called, what they take, what they are for.

Exit status: 0 it was described, 1 nobody describes it or it has no such method, 2 the command line makes no
sense.
"""

from __future__ import annotations

import argparse
import json
import textwrap
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, TypeAlias

from broker.commands.asking import Asker, connection, ended, is_terminal, make_options, show
from broker.commands.completion import complete_method, complete_service, offer
from broker.commands.line import DONE, FAILED, Parser, add_asking, add_url, complain, in_one_line
from rpc.calling.broadcast import Answer
from rpc.calling.caller import broadcast
from rpc.calling.options import BROADCAST_TIMEOUT
from rpc.errors import RpcError, ServiceUnavailable

DESCRIBE = "rpc.describe"
INDENT = "    "
OPTIONS = ("streams", "idempotent")  # of a method, as workers call them

Object: TypeAlias = dict[str, Any]


def main(words: list[str]) -> int:
    """Describe; return the exit status."""
    parsed = parser().parse_args(words)
    return ended(lambda: describe(parsed))


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = Parser(
        prog="hoofbeat describe",
        description="Ask the workers of a service what they offer.",
    )
    offer(made.add_argument("service", metavar="SERVICE"), complete_service)
    offer(made.add_argument("method", nargs="?", metavar="METHOD"), complete_method)
    add_url(made)
    awaited = "gather the workers' answers"
    add_asking(made, BROADCAST_TIMEOUT, awaited, "what each worker says, as JSON")
    return made


def describe(parsed: argparse.Namespace) -> int:
    """Ask and print. Raises `UsageError` and `RpcError`."""
    options = make_options(timeout=parsed.timeout, no_worker="fail")
    with connection(parsed.url, parsed.service, options) as asker:
        answers = gather(asker)
    methods = offered(answers)
    if parsed.method is not None:
        names = dict.fromkeys(method["name"] for method, _ in methods)
        methods = [(each, workers) for each, workers in methods if each["name"] == parsed.method]
        if not methods:
            there = ", ".join(names) or "none"
            text = f"MethodNotFound: {parsed.service} has no {parsed.method!r}; there are: {there}"
            return complain(text, FAILED)
    if parsed.json:
        found = [each for each, _ in methods] if parsed.method is not None else answers
        show(found, pretty=is_terminal())
        return DONE
    lines = [] if parsed.method is not None else list(heading(parsed.service, answers))
    for method, workers in methods:
        lines += body(method, full=parsed.method is not None)
        if len(workers) < len(answers):
            lines.append(f"{INDENT}only at: {', '.join(workers)}")
        lines.append("")
    print("\n".join(map(in_one_line, lines)).rstrip("\n"))
    return DONE


def gather(asker: Asker) -> list[Object]:
    """Return what each worker answers. Raises `RpcError` if none does."""
    found: list[Object] = []
    answers: list[Answer] = []
    with suppress(ServiceUnavailable):  # to be asked again below
        answers = asker.ask(DESCRIBE, (), broadcast(None, asker.options.timeout))
    for answer in answers:
        try:
            found.append(answer.result())
        except RpcError as error:
            complain(f"{answer.worker}: {type(error).__name__}: {error}")
    # A worker of another language may listen to the queue only; and nobody there is told at once.
    return found or [asker.ask(DESCRIBE)]


def offered(answers: list[Object]) -> list[tuple[Object, list[str]]]:
    """Return the methods, each with the workers that offer just that; by name, differing ones in a row."""
    found: dict[str, tuple[Object, list[str]]] = {}
    for answer in answers:
        for method in answer.get("methods") or ():
            key = json.dumps(method, sort_keys=True)
            found.setdefault(key, (method, []))[1].append(str(answer.get("worker", "?")))
    return sorted(found.values(), key=lambda each: str(each[0]["name"]))


def heading(service: str, answers: list[Object]) -> Iterator[str]:
    """Yield what is said about the service as a whole."""
    docs = dict.fromkeys(str(answer["doc"]) for answer in answers if answer.get("doc"))
    yield f"{service}: {' / '.join(docs)}" if docs else service
    workers = [str(answer.get("worker", "?")) for answer in answers]
    number = f"{len(workers)} worker{'s' if len(workers) > 1 else ''}"
    yield f"{number}: {', '.join(workers)}"
    yield ""


def body(method: Object, *, full: bool) -> Iterator[str]:
    """Yield what is said about a method: in a list its signature and what it is for, else everything."""
    yield f"{method['name']}{method.get('signature', '')}"
    doc = str(method.get("doc") or "")
    for line in textwrap.dedent(doc).strip().splitlines() if full else doc.splitlines()[:1]:
        yield f"{INDENT}{line}".rstrip()
    if options := [name for name in OPTIONS if method.get(name)]:
        yield f"{INDENT}{', '.join(options)}"
    if full:
        schemas = dict(method.get("params") or {})
        if method.get("returns"):
            schemas["returns"] = method["returns"]
        for name, schema in schemas.items():
            yield f"{INDENT}{name}: {json.dumps(schema, ensure_ascii=False)}"
