"""`hoofbeat user`: who may log in, which is what the users file says (`broker.auth.users`).

A broker that runs looks at the file whenever somebody logs in, so that a change holds at once. A passcode is asked for on
a terminal, twice; else it is one line of standard input. It is never an argument: other users of the machine see those.

Exit status: 0 it is done, 1 it cannot be done, 2 the command line makes no sense.
"""

from __future__ import annotations

import argparse
import getpass
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from broker.auth.users import (
    User,
    UsersError,
    change,
    check_passcode,
    load,
    with_user,
    without_user,
)
from broker.commands.line import DONE, FAILED, Parser, complain, in_one_line
from broker.options import OptionsError, read_options

#: What there is to do: a text for --help.
ACTIONS = {
    "add": "a new user",
    "passwd": "give one another passcode",
    "groups": "put one into the groups that are given with --group, and no others",
    "disable": "let nobody in under this name, not even with a certificate",
    "enable": "undo that",
    "remove": "forget one",
    "list": "all of them, with their groups",
}


def main(words: list[str]) -> int:
    """Do it and return the exit status."""
    made = parser()
    parsed = made.parse_args(words)
    if (parsed.name is None) != (parsed.action == "list"):
        made.error("list takes no NAME" if parsed.name else f"{parsed.action} needs a NAME")
    if parsed.group and parsed.action not in ("add", "groups"):
        made.error("--group is for add and groups")
    if parsed.no_passcode and parsed.action != "add":
        made.error("--no-passcode is for add")
    try:
        path = find_file(parsed.users, parsed.config)
        if parsed.action == "list":
            show(load(path))
        else:
            obey(parsed, path)
    except OptionsError as error:
        return complain(str(error))
    except UsersError as error:
        return complain(str(error), FAILED)
    return DONE


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = Parser(
        prog="hoofbeat user",
        description="Say who may log in.",
        epilog="A passcode is asked for, or without a terminal read from standard input: one line.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    told = "; ".join(f"{name}: {text}" for name, text in ACTIONS.items())
    made.add_argument("action", metavar="ACTION", choices=ACTIONS, help=told)
    made.add_argument("name", metavar="NAME", nargs="?", help="of the user")
    made.add_argument(
        "--group", action="append", default=[], metavar="GROUP", help="may be given several times"
    )
    made.add_argument(
        "--no-passcode",
        action="store_true",
        help="add one who logs in otherwise (auth, a certificate) and has groups here",
    )
    place = made.add_mutually_exclusive_group(required=True)
    place.add_argument("--users", metavar="FILE", help="the file; add makes it if it is not there")
    place.add_argument(
        "--config", metavar="FILE", help="the broker's, whose `users` names the file"
    )
    return made


def find_file(users: str | None, config: str | None) -> str:
    """Return the path of the users file. Raises `OptionsError`."""
    if users is not None:
        return users
    try:
        text = Path(config or "").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise OptionsError(f"cannot read {config}: {error}") from None
    found = read_options(text, str(config)).users
    if not found:
        raise OptionsError(f"{config}: users is not set: it names the file")
    return found


def obey(parsed: argparse.Namespace, path: str) -> None:
    """Change the file. Raises `UsersError`."""
    name, action, groups = parsed.name, parsed.action, tuple(parsed.group)
    if action != "add":
        find(load(path), name)  # before anybody is asked for a passcode
    hash = ""
    if action == "passwd" or (action == "add" and not parsed.no_passcode):
        hash = make_hash(ask_passcode(name))

    def add(text: str, users: Mapping[str, User]) -> str:
        if name in users:
            raise UsersError(f"there is a user {name} already")
        return with_user(text, User(name, hash, groups))

    def to(new: Callable[[User], User]) -> Callable[[str, Mapping[str, User]], str]:
        return lambda text, users: with_user(text, new(find(users, name)))

    edits: dict[str, Callable[[str, Mapping[str, User]], str]] = {
        "add": add,
        "passwd": to(lambda user: replace(user, hash=hash)),
        "groups": to(lambda user: replace(user, groups=groups)),
        "disable": to(lambda user: replace(user, is_disabled=True)),
        "enable": to(lambda user: replace(user, is_disabled=False)),
        "remove": lambda text, users: without_user(text, find(users, name).name),
    }
    change(path, edits[action])


def find(users: Mapping[str, User], name: str) -> User:
    """Return a user. Raises `UsersError`."""
    if name not in users:
        raise UsersError(f"there is no user {name}")
    return users[name]


def ask_passcode(name: str) -> str:
    """Return the passcode that somebody types, or that comes from standard input. Raises `UsersError`."""
    if not sys.stdin.isatty():
        passcode = sys.stdin.readline().removesuffix("\n").removesuffix("\r")
    else:
        passcode = getpass.getpass(f"Passcode of {in_one_line(name)}: ")
        if getpass.getpass("Once more: ") != passcode:
            raise UsersError("the two are not the same; nothing was changed")
    check_passcode(passcode)
    return passcode


def make_hash(passcode: str) -> str:
    """Return its hash."""
    from broker.auth import passcodes  # brings argon2's C library

    return passcodes.make_hash(passcode)


def show(users: Mapping[str, User]) -> None:
    """Print a line for each user: name, groups, and what is unusual."""
    width = max((len(name) for name in users), default=0)
    for user in users.values():
        unusual = [
            text
            for text, holds in (("disabled", user.is_disabled), ("no passcode", not user.hash))
            if holds
        ]
        listed = ",".join(user.groups) or "-"
        print(
            f"{user.name:<{width}}  {listed}{'  (' + ', '.join(unusual) + ')' if unusual else ''}"
        )
