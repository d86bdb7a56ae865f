"""The `hoofbeat` command.

    hoofbeat run        the broker in the foreground
    hoofbeat start, stop, status, restart, reload
                        the broker as a daemon: `broker.angel`
    hoofbeat check, backup, compact, export, import
                        what it has stored, as a whole: `broker.keeping`
    hoofbeat settings   every setting with its default, as a file for `hoofbeat run --config`
    hoofbeat bench      how fast is it, or any other STOMP broker
    hoofbeat user       who may log in
    hoofbeat call, services, describe, track, worker, completion
                        remote calls, to the broker for one: `broker.commands`

Exit status: 0 it ended as asked, 1 it failed while running, 2 it could not start as asked.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from broker import __version__
from broker.commands.line import Parser, complain
from broker.options import (
    FIELDS,
    Options,
    OptionsError,
    change_options,
    read_options,
    settings_file,
)

if TYPE_CHECKING:
    from twisted.logger import Logger

    from broker.reload import Outcome

#: Settings that have a flag; the others live in a file.
FLAGS = ("host", "port", "dialect", "data", "store", "users", "auth", "insecure")
TYPES = {"port": int}
#: Commands with a module of their own (`main`, `parser`), loaded only when it is used: they bring libraries
#: that the broker does not need.
MODULES = {
    "start": ("broker.angel.start", "start the broker as a daemon, and again whenever it dies"),
    "stop": ("broker.angel.stop", "stop the daemon"),
    "status": ("broker.angel.status", "tell how the daemon is"),
    "restart": ("broker.angel.restart", "stop the daemon and start it as it was started"),
    "reload": ("broker.angel.reload", "let the daemon read its configuration anew"),
    "check": ("broker.keeping.check", "tell whether what is stored is whole"),
    "backup": ("broker.keeping.backup", "copy what is stored, while the broker runs"),
    "compact": ("broker.keeping.compact", "make the file of a stopped broker small"),
    "export": ("broker.keeping.exporting", "write what is stored as lines of JSON"),
    "import": ("broker.keeping.importing", "make a store of such lines"),
    "user": ("broker.commands.user", "say who may log in"),
    "bench": ("broker.bench.cli", "measure this or any other STOMP broker"),
    "call": ("broker.commands.call", "call a remote function"),
    "services": ("broker.commands.services", "list the services of a broker"),
    "describe": ("broker.commands.describe", "tell what a service offers"),
    "track": ("broker.commands.track", "tell what became of a message that was sent with report"),
    "worker": ("broker.commands.worker", "serve remote calls with the functions of a program"),
    "completion": ("broker.commands.completion", "print what makes a shell complete all this"),
}


def main(
    arguments: Sequence[str] | None = None, tell: Callable[[Outcome], None] | None = None
) -> int:
    """Run the command line; return the exit status. `tell`, if anybody asks, gets what became of each reload."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    completes = "_ARGCOMPLETE" in os.environ  # a shell asks what might come next
    if arguments and arguments[0] in MODULES and not completes:
        return int(importlib.import_module(MODULES[arguments[0]][0]).main(arguments[1:]))
    parser = Parser(prog="hoofbeat", description="A lightweight STOMP broker.")
    parser.add_argument("--version", action="version", version=f"hoofbeat {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run_parser = commands.add_parser("run", help="run the broker in the foreground")
    add_flags(run_parser)
    commands.add_parser("settings", help="print every setting with its default, as a TOML file")
    for name, (module, text) in MODULES.items():
        parents = [importlib.import_module(module).parser()] if completes else []
        commands.add_parser(name, help=text, parents=parents, add_help=False)
    if completes:
        from broker.commands.completion import complete

        complete(parser)
    parsed = parser.parse_args(arguments)
    if parsed.command == "settings":
        print(settings_file(), end="")
        return 0
    read = partial(options_from, parsed.config, vars(parsed))
    try:
        options = read()
    except OptionsError as error:
        return complain(str(error))
    return run(options, read, tell)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `hoofbeat run`."""
    for name in FLAGS:
        meta, default = FIELDS[name].metadata, FIELDS[name].default
        more: dict[str, Any] = {
            "type": TYPES.get(name, str),
            "metavar": (meta["unit"] or name).split()[-1].upper(),
        }
        if isinstance(default, tuple):
            more["action"] = "append"
        elif isinstance(default, bool):
            more = {"action": "store_const", "const": True}
        has_default = default not in ("", (), False)
        parser.add_argument(
            f"--{name}",
            help=meta["reason"] + (f" (default {default})" if has_default else ""),
            **more,
        )
    parser.add_argument("--config", metavar="FILE", help="TOML file with any setting")
    parser.add_argument("--help-auth", action=HelpAuth, nargs=0, help="list what --auth takes")


class HelpAuth(argparse.Action):
    """Says which checkers of logins there are, and ends."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        """Say it."""
        from broker.auth.checkers import help_text

        print(help_text(), end="")
        parser.exit()


def flags_of(given: Mapping[str, Any]) -> list[str]:
    """Return the words of a command line with these flags."""
    words = []
    for name in FLAGS:
        value = given[name]
        if value is True:
            words.append(f"--{name}")
        elif value is not None:
            words += [
                f"--{name}={each}" for each in (value if isinstance(value, list) else [value])
            ]
    return words


def options_from(config: str | None, flags: Mapping[str, Any]) -> Options:
    """Return the options of a command line: defaults, then the file, then the flags that were given.

    Raises `OptionsError`, also for a file that cannot be read.
    """
    options = Options()
    if config is not None:
        try:
            text = Path(config).read_text(encoding="utf-8")  # as TOML is
        except (OSError, UnicodeDecodeError) as error:
            raise OptionsError(f"cannot read {config}: {error}") from None
        options = read_options(text, config)
    given = {name: flags[name] for name in FLAGS if flags[name] is not None}
    return change_options(options, given, "command line")


def run(
    options: Options, read: Callable[[], Options], tell: Callable[[Outcome], None] | None = None
) -> int:
    """Run the broker until it is told to stop. `read` returns the options anew; for `tell` see `main`."""
    reactor = our_reactor()
    from broker.logs.observer import Log, begin_logging
    from broker.net.notify import notify_systemd
    from broker.reload import Keeper, Reloading
    from broker.service import make_service, tune_process
    from broker.virtualhost import CannotStart

    tune_process()
    try:
        service = make_service(options, reactor)
        urls = service.listen()
    except CannotStart as error:
        return complain(str(error))
    log_file = Log(sys.stderr, options, reactor.callLater)
    begin_logging(log_file)
    service.startService()
    reactor.addSystemEventTrigger("before", "shutdown", tell_stop, reactor)
    reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
    where = f"ready on {', '.join(urls)}, store {options.store_url}"
    if options.virtual_hosts:
        where += f", virtual hosts {', '.join(name for name, _ in options.virtual_hosts)}"
    # Ready is who can also be stopped: the reactor has taken over the signals by then.
    reactor.callWhenRunning(log().info, "{where}, process {pid}", where=where, pid=os.getpid())
    reactor.callWhenRunning(print, f"hoofbeat {__version__} {where}", flush=True)
    tell_systemd = notify_systemd(reactor)
    keepers = [*service.keepers, Keeper(("log_level", "log_format"), log_file.prepare)]
    reloading = Reloading(options, read, keepers)

    def reload() -> None:
        tell_systemd(True)
        outcome = reloading.reload()
        tell_systemd(False)
        if tell is not None:
            tell(outcome)

    obey_hang_up(reactor, reload)
    reactor.run()
    log().info("stopped")
    return 0


def log() -> Logger:
    """Return what says something to the operator."""
    from twisted.logger import Logger

    return Logger("broker.cli")


def tell_stop(reactor: Any) -> None:
    """Say why it stops."""
    number = getattr(reactor, "_exitSignal", None)
    why = "it was told to" if number is None else signal.Signals(number).name
    log().info("stopping: {signal}", signal=why)


def obey_hang_up(reactor: Any, reload: Callable[[], None]) -> None:
    """Reload with SIGHUP; but end in order if it says that our terminal is gone."""
    had_terminal = has_terminal()

    def hang_up() -> None:
        if had_terminal and not has_terminal():
            reactor.stop()
        else:
            reload()

    signal.signal(signal.SIGHUP, lambda *_: reactor.callFromThread(hang_up))


def has_terminal() -> bool:
    """Return whether somebody sits at a terminal that this process belongs to."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def our_reactor() -> Any:
    """Return the reactor: our own where there is epoll, unless one was chosen before. Its timers are steady."""
    if "twisted.internet.reactor" not in sys.modules:
        with contextlib.suppress(ImportError):
            from broker.net.reactor import install

            install()
    from twisted.internet import reactor

    from broker.net.wall import steady_timers

    steady_timers(reactor)
    return reactor
