"""The users file as it is now: looked at whenever somebody logs in, and read anew when it has changed.

So `hoofbeat user passwd` holds at once. What cannot be read changes nothing, and the log says so once.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from twisted.logger import Logger

from broker.auth.passcodes import nobodys_hash
from broker.auth.users import User, UsersError, is_for_others, load

Stamp = tuple[int, ...]


class Registry:
    """Who may log in."""

    log = Logger()

    def __init__(self, path: str) -> None:
        """Read the file. Raises `UsersError`. Without a path nobody is known."""
        self._path = path
        self._users: Mapping[str, User] = {}
        self._stamp: Stamp = ()
        self.nobody = ""  # a hash, for users who are not known
        self.age = 0  # how often the file was read anew
        if path:
            self._stamp = stamp_of(path)
            self._take(load(path))
            if is_for_others(path):
                self.log.warn("everybody on this machine can read the hashes in {path}", path=path)

    def find(self, name: str) -> User | None:
        """Return the user of a name, as the file says it now."""
        if self._path and (stamp := stamp_of(self._path)) != self._stamp:
            self._stamp = stamp
            try:
                self._take(load(self._path))
            except UsersError as error:
                self.log.error("the users stay as they were: {error}", error=str(error))
            else:
                self.log.info("{path} was read anew", path=self._path)
        return self._users.get(name)

    def _take(self, users: Mapping[str, User]) -> None:
        self._users = users
        self.age += 1
        self.nobody = nobodys_hash(next((user.hash for user in users.values() if user.hash), ""))


def stamp_of(path: str) -> Stamp:
    """Return what is another when the file was changed; nothing if it is not there."""
    try:
        found = os.stat(path)
    except OSError:
        return ()
    return found.st_ino, found.st_mtime_ns, found.st_size
