"""The users file: who may log in, with which passcode, and in which groups he is.

    # a comment
    alice:$argon2id$v=19$m=20480,t=2,p=1$…:admins,shops        NAME:HASH:GROUP,GROUP
    bob:-:shops                     no passcode: other checkers let him in, or a certificate does; here are his groups
    carol:!$argon2id$…:shops        disabled: nobody lets her in. `!` alone: without a passcode, too

What is written is a change of single lines: comments and order stay. Nobody ever sees half a file: the new one is
written beside it, and takes its place.

Knows no network, and of passcodes only what a hash looks like.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from argon2 import extract_parameters
from argon2.exceptions import InvalidHashError

from broker.person import ANONYMOUS, PEERS, is_name

NO_HASH, DISABLED = "-", "!"
PRIVATE = 0o600
SHAPE = "NAME:HASH:GROUP,GROUP"
RESERVED = {"user": (ANONYMOUS,), "group": (ANONYMOUS, PEERS)}
NAMES = "has 1 to 255 visible characters and blanks between them, without : , or *, and without # or @ in front"


class UsersError(Exception):
    """A users file, or what is to be written into it, makes no sense; in one line that says where and why."""


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who is named in the file."""

    name: str
    hash: str = field(default="", repr=False)  # of his passcode; "": he has none here
    groups: tuple[str, ...] = ()
    is_disabled: bool = False

    @property
    def line(self) -> str:
        """Return him as a line of the file."""
        mark = DISABLED if self.is_disabled else ""
        return f"{self.name}:{mark}{self.hash or ('' if mark else NO_HASH)}:{','.join(self.groups)}"


def check_user(user: User) -> None:
    """Raise `UsersError` if a user cannot be written down."""
    for kind, name in (("user", user.name), *(("group", group) for group in user.groups)):
        if not is_name(name):
            raise UsersError(f"the name of a {kind} {NAMES}, not {name!r}")
        if name in RESERVED[kind]:
            raise UsersError(f"{name!r} is a {kind} of the broker's own")
    if user.hash:
        try:
            extract_parameters(user.hash)
        except InvalidHashError:
            raise UsersError(f"{user.name} has no argon2 hash; `hoofbeat user` makes one") from None


def read_users(text: str, source: str) -> dict[str, User]:
    """Return the users in a text, by name. Raises `UsersError`, which names `source` and the line."""
    users: dict[str, User] = {}
    for number, line in enumerate(text.split("\n"), 1):
        try:
            user = read_line(line)
            if user is None:
                continue
            if user.name in users:
                raise UsersError(f"there is a user {user.name} above already")
        except UsersError as error:
            raise UsersError(f"{source}, line {number}: {error}") from None
        users[user.name] = user
    return users


def read_line(line: str) -> User | None:
    """Return the user of a line, None if it is empty or a comment. Raises `UsersError`."""
    line = line.strip()
    if not line or line.startswith("#"):
        return None
    parts = line.split(":")
    if len(parts) != 3:  # the line is not shown: it holds a hash
        raise UsersError(f"a line reads {SHAPE}, with two colons")
    name, hash, listed = (part.strip() for part in parts)
    is_disabled = hash.startswith(DISABLED)
    hash = hash.removeprefix(DISABLED)
    if not hash and not is_disabled:
        raise UsersError(f"a line reads {SHAPE}; without a passcode the hash is {NO_HASH}")
    groups = tuple(filter(None, (group.strip() for group in listed.split(","))))
    user = User(name, "" if hash == NO_HASH else hash, groups, is_disabled)
    check_user(user)
    return user


def with_user(text: str, user: User) -> str:
    """Return a text with the line of a user changed, or added at its end. Raises `UsersError`."""
    check_user(user)
    lines = _lines(text)
    place = next((at for at, line in enumerate(lines) if is_of(line, user.name)), len(lines))
    return "".join(f"{line}\n" for line in [*lines[:place], user.line, *lines[place + 1 :]])


def without_user(text: str, name: str) -> str:
    """Return a text without the line of a user."""
    return "".join(f"{line}\n" for line in _lines(text) if not is_of(line, name))


def is_of(line: str, name: str) -> bool:
    """Tell whether a line is a user's."""
    return not line.lstrip().startswith("#") and line.partition(":")[0].strip() == name


def _lines(text: str) -> list[str]:
    return text.removesuffix("\n").split("\n") if text else []


def load(path: str) -> dict[str, User]:
    """Return the users of a file. Raises `UsersError`."""
    return read_users(_text(path), path)


def change(path: str, edit: Callable[[str, Mapping[str, User]], str]) -> None:
    """Let `edit` make a new text of the old one and of the users in it; a file that is not there is made.

    Several may do so at once: each waits for the one before. The owner and group stay, so that a broker that could
    read the file still can, and others cannot. Raises `UsersError`.
    """
    place = Path(path)
    try:
        with _alone_in(place.resolve().parent):
            old = place.stat() if place.exists() else None
            text = "" if old is None else _text(path)
            new = edit(text, read_users(text, path))
            _replace(place.resolve(), new.encode(), old)
    except OSError as error:
        raise UsersError(f"cannot write {path}: {error.strerror}") from None


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise UsersError(
            f"cannot read {path}: {error.strerror}; `hoofbeat user add` makes it"
        ) from None
    except OSError as error:
        raise UsersError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsersError(f"{path} is no text in UTF-8") from None


@contextlib.contextmanager
def _alone_in(directory: Path) -> Iterator[None]:
    """Be the only one who changes files here; those who ask so, too, wait."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
        os.fsync(descriptor)  # the new name, too, is on the disk
    finally:
        os.close(descriptor)


def _replace(place: Path, data: bytes, old: os.stat_result | None) -> None:
    owner = old
    if (
        old is None and os.geteuid() == 0
    ):  # most brokers do not run as root, who is to make them a file
        owner = place.parent.stat()
    descriptor, beside = tempfile.mkstemp(prefix=f".{place.name}.", dir=place.parent)  # 0600
    try:
        with open(descriptor, "wb") as file:
            if owner is not None and (owner.st_uid, owner.st_gid) != (os.geteuid(), os.getegid()):
                os.fchown(descriptor, owner.st_uid, owner.st_gid)
            if old is not None:
                os.fchmod(descriptor, (stat.S_IMODE(old.st_mode) & 0o660) | PRIVATE)
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        os.replace(beside, place)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(beside)
        raise


def is_for_others(path: str) -> bool:
    """Tell whether a file can be read or written by everybody on the machine."""
    return bool(os.stat(path).st_mode & (stat.S_IROTH | stat.S_IWOTH))


PASSCODE = re.compile(r"[^\s\x00-\x1f\x7f]([^\x00-\x1f\x7f]*[^\s\x00-\x1f\x7f])?")


def check_passcode(passcode: str) -> None:
    """Raise `UsersError` for a passcode that a CONNECT cannot carry: blanks around a header's value are not part of it."""
    if not PASSCODE.fullmatch(passcode):
        raise UsersError(
            "a passcode is not empty, and has no blanks around it and no control characters"
        )
