"""`hoofbeat call`: one remote call, its result as JSON.

Exit status: 0 there is a result, 1 there is an error instead (its name and text on standard error), 2 the
command line makes no sense; 130, 141 and 143 after Ctrl-C, a closed pipe and SIGTERM.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from broker.commands.arguments import Params, read_params, split_target
from broker.commands.asking import (
    Asker,
    connection,
    describe_error,
    ended,
    is_terminal,
    make_options,
    show,
)
from broker.commands.completion import complete_arguments, complete_target, offer
from broker.commands.line import DONE, FAILED, Parser, UsageError, add_url, complain, seconds
from rpc.blocking import Stream
from rpc.calling.caller import CALL, NOTIFICATION, broadcast, stream
from rpc.calling.options import BROADCAST_TIMEOUT, TIMEOUT
from rpc.codec import CODECS
from rpc.errors import ErrorReply, RpcError

EXAMPLES = f"""\
arguments:
  hoofbeat call demo.whee Hello          one, by position: JSON if it is, else text
  hoofbeat call demo.add 1 2             several
  hoofbeat call demo.add a=1 b=2         by name
  hoofbeat call demo.add '{{"a": 1}}'      one JSON object: all of them by name
  hoofbeat call demo.whee '["Hello"]'    one JSON array: all of them by position
  hoofbeat call demo.whee -              JSON from standard input

Every service has rpc.ping, rpc.describe and rpc.stats: hoofbeat call demo.rpc.ping
SERVICE/METHOD is for methods with dots in their names: hoofbeat call demo/math.add
Default timeouts: {TIMEOUT:g} s, with --all {BROADCAST_TIMEOUT:g} s.
"""


def main(words: list[str]) -> int:
    """Call, print, and return the exit status."""
    parsed = parser().parse_intermixed_args(words)
    return ended(lambda: call(parsed))


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = Parser(
        prog="hoofbeat call",
        description="Call a remote function and print its result as JSON.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    offer(made.add_argument("target", metavar="SERVICE.METHOD"), complete_target)
    offer(made.add_argument("arguments", nargs="*", metavar="ARGUMENT"), complete_arguments)
    add_url(made)
    made.add_argument(
        "--timeout",
        type=seconds,
        default=argparse.SUPPRESS,
        metavar="SECONDS",
        help="how long to wait, with --stream for each item; “none”: for ever",
    )
    way = made.add_mutually_exclusive_group()
    for name, text in (
        ("notify", "do not wait for a result: the broker has the call, a worker will"),
        ("stream", "print items as they come, a line each"),
        ("all", "call every worker of the service, and print a line for each that answers"),
    ):
        way.add_argument(f"--{name}", dest="way", action="store_const", const=name, help=text)
    made.add_argument(
        "--wait",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="wait for a worker if none is there, instead of failing at once",
    )
    made.add_argument("--raw", action="store_true", help="print text without quotes")
    made.add_argument(
        "--codec", choices=sorted(CODECS), default="json", help="how the call travels (json)"
    )
    made.add_argument(
        "--header",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a header of the request, for the function to read; may be given several times",
    )
    return made


def call(parsed: argparse.Namespace) -> int:
    """Make the call of a command line. Raises `UsageError` and `RpcError`."""
    service, method = split_target(parsed.target)
    if parsed.raw and parsed.way in ("all", "notify"):
        raise UsageError(f"--raw has no meaning with --{parsed.way}")
    params = read_params(parsed.arguments, sys.stdin.read)
    options = make_options(
        timeout=getattr(parsed, "timeout", BROADCAST_TIMEOUT if parsed.way == "all" else TIMEOUT),
        no_worker="wait" if parsed.wait else "fail",
        codec=parsed.codec,
        headers=read_headers(parsed.header),
    )
    with connection(parsed.url, service, options, durable=True) as asker:
        return WAYS[parsed.way](asker, method, params, parsed.raw)


def read_headers(texts: list[str]) -> dict[str, str]:
    """Return headers by name. Raises `UsageError` for what is none."""
    headers = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise UsageError(f"a header is NAME=VALUE, not {text!r}")
        headers[name] = value
    return headers


def _once(asker: Asker, method: str, params: Params, raw: bool) -> int:
    show(asker.ask(method, params, CALL), pretty=is_terminal(), raw=raw)
    return DONE


def _notify(asker: Asker, method: str, params: Params, raw: bool) -> int:
    asker.ask(method, params, NOTIFICATION)
    return DONE


def _stream(asker: Asker, method: str, params: Params, raw: bool) -> int:
    call = asker.begin(method, params, stream(asker.options))
    with Stream(asker.line, call) as items:
        for item in items:
            show(item, raw=raw)
    return DONE


def _all(asker: Asker, method: str, params: Params, raw: bool) -> int:
    timeout = asker.options.timeout
    if timeout is None:
        raise UsageError("nobody knows when all have answered: --all needs a --timeout")
    status, answers = DONE, asker.ask(method, params, broadcast(None, timeout))
    for answer in answers:
        line: dict[str, Any] = {"worker": answer.worker}
        try:
            line["result"] = answer.result()
        except RpcError as error:
            line["error"] = {"name": type(error).__name__, "message": str(error)}
            if isinstance(error, ErrorReply):
                line["error"] |= {"code": error.code, "data": error.data}
            complain(f"{answer.worker}: {describe_error(error)}")
            status = FAILED
        show(line)
    if not answers:
        return complain(f"ServiceUnavailable: no worker answered within {timeout:g} s", FAILED)
    return status


WAYS = {None: _once, "notify": _notify, "stream": _stream, "all": _all}
