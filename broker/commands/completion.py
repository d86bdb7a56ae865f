"""What a shell may offer at the next TAB: options, services, methods, names of arguments.

The shell calls `hoofbeat` itself at each TAB (argcomplete), and that asks the broker, for a moment: a
broker that is slow or away offers nothing. `hoofbeat completion bash` prints what the shell must know.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from typing import Any

from broker.commands.line import DONE, Parser

PATIENCE = 1.0  # seconds; nobody waits longer at a TAB
SHELLS = ("bash", "zsh", "fish", "tcsh", "powershell")
HELP = """\
Put into the file that your shell reads when it begins:

  bash   eval "$(hoofbeat completion bash)"
  zsh    eval "$(hoofbeat completion zsh)"      behind `autoload -U compinit && compinit`
  fish   hoofbeat completion fish | source
"""

Completer = Callable[..., Iterable[str]]


def main(words: list[str]) -> int:
    """Print what a shell must know; return the exit status."""
    # Only here and in `complete`: every `hoofbeat call` imports this module.
    from argcomplete.shell_integration import shellcode

    parsed = parser().parse_args(words)
    print(shellcode(["hoofbeat"], shell=parsed.shell), end="")
    return DONE


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = Parser(
        prog="hoofbeat completion",
        description="Print what makes a shell complete commands, options, services and methods.",
        epilog=HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("shell", choices=SHELLS, metavar=f"{{{','.join(SHELLS)}}}")
    return made


def complete(whole: argparse.ArgumentParser) -> None:
    """Answer the shell that has called us, and end the process. `whole` has all commands."""
    import argcomplete
    from argcomplete.completers import ChoicesCompleter

    nothing = ChoicesCompleter({})  # else they would be offered where nothing is known
    argcomplete.autocomplete(whole, always_complete_options=False, default_completer=nothing)


def offer(argument: argparse.Action, completer: Completer) -> None:
    """Let a completer offer values of an argument."""
    argument.completer = completer  # type: ignore[attr-defined]  # that is how argcomplete has it


def complete_service(prefix: str, parsed_args: argparse.Namespace, **asked: Any) -> list[str]:
    """Offer the names of services."""
    return [name for name in _services(parsed_args) if name.startswith(prefix)]


def complete_method(prefix: str, parsed_args: argparse.Namespace, **asked: Any) -> list[str]:
    """Offer the methods of the service that stands before."""
    methods = _methods(parsed_args, parsed_args.service)
    return [name for name in methods if name.startswith(prefix)]


def complete_target(prefix: str, parsed_args: argparse.Namespace, **asked: Any) -> list[str]:
    """Offer `SERVICE.METHOD`: the services' names first, and methods once there is one service only."""
    from broker.commands.arguments import join_target

    if "/" in prefix:
        asked_for = [prefix.partition("/")[0]]
    else:  # a broker that is not hoofbeat knows no services
        services = _services(parsed_args) or [name for name in [prefix.rpartition(".")[0]] if name]
        asked_for = [name for name in services if prefix.startswith(f"{name}.")]
        longer = [name for name in services if name.startswith(prefix)]
        if not asked_for and len(longer) == 1:
            asked_for = longer
        elif longer:
            return [f"{name}." for name in longer]
    join: Callable[[str, str], str] = "{}/{}".format if "/" in prefix else join_target
    found = [
        join(service, method) for service in asked_for for method in _methods(parsed_args, service)
    ]
    return [target for target in found if target.startswith(prefix)]


def complete_arguments(prefix: str, parsed_args: argparse.Namespace, **asked: Any) -> list[str]:
    """Offer the names of a method's arguments, `NAME=`, that are not there yet."""
    from broker.commands.arguments import split_target
    from broker.commands.line import UsageError

    try:
        service, method = split_target(parsed_args.target or "")
    except UsageError:
        return []
    given = {word.partition("=")[0] for word in parsed_args.arguments or ()}
    names = _methods(parsed_args, service).get(method, ())
    return [f"{name}=" for name in names if name.startswith(prefix) and name not in given]


def _services(parsed: argparse.Namespace) -> list[str]:
    found = _ask(parsed, "broker", "services")
    return [str(each["name"]) for each in found or ()]


def _methods(parsed: argparse.Namespace, service: str) -> dict[str, list[str]]:
    """Return the methods of a service, each with the names of its arguments."""
    found = _ask(parsed, service, "rpc.describe") or {}
    return {
        str(each["name"]): [name for name in each.get("params") or {} if not name.startswith("*")]
        for each in found.get("methods") or ()
    }


def _ask(parsed: argparse.Namespace, service: str, method: str) -> Any:
    """Call a function; None if there is no result soon."""
    from broker.commands.asking import connection, make_options
    from broker.commands.line import UsageError
    from rpc.errors import RpcError

    options = make_options(timeout=PATIENCE, no_worker="fail")
    try:
        with connection(getattr(parsed, "url", None), service, options) as asker:
            return asker.ask(method)
    except (RpcError, UsageError):
        return None
