r"""Header blocks that repeat but for a few values: learned once, then read by one regular expression.

A client writes the same frame again and again: same command, same headers in the same order, and only a
receipt, a correlation-id or an acknowledged id differs. A `Template` is such a block with holes::

    SEND\ndestination:/queue/a\ncorrelation-id:(…)\ncontent-length:100

What matches it is `plain` (the holes take only characters that no version escapes or trims), means the
same as if it had been read line by line, and is read several times as fast. Whoever interprets frames may
remember by template what its fixed part means to them.

`Templates` learns for one link. Learning costs as much as reading a hundred blocks, so it begins only once
a block of its kind has been read `PATIENCE` times, and a link whose blocks have no common form is soon left
alone.
"""

from __future__ import annotations

import re

HOLE = rb"([A-Za-z0-9_./@+=,;-]*)"
HOLES = 8  # values that may differ: 7 do where a worker has several clients
PATIENCE = 16  # blocks of a kind that are read line by line before a template is made
ATTEMPTS = 6  # templates a link may make
KIND = 6  # so many bytes of a block tell its kind: the command, and how its first header begins


class Template:
    """A header block with holes."""

    __slots__ = ("command", "headers", "holes", "length", "length_at", "match", "only")

    def __init__(self, command: str, headers: dict[str, str], holes: list[str]) -> None:
        """`headers` are those of any block of this form, `holes` the names whose values differ."""
        self.command = command
        self.headers = headers
        self.holes = holes
        pattern = re.escape(command.encode())
        for name, value in headers.items():
            pattern += b"\n" + re.escape(name.encode()) + b":"
            pattern += HOLE if name in holes else re.escape(value.encode())
        #: Matches a block where it begins, with the empty line that ends it; groups: the values of the holes.
        self.match = re.compile(pattern + b"\n\n").match
        #: The name of the header, if there is but one and it is a hole.
        self.only = holes[0] if len(headers) == len(holes) == 1 else None
        # What content-length says: octets, -1 without one, None if it is a hole, and which.
        length = headers.get("content-length", "-1")
        self.length_at = holes.index("content-length") if "content-length" in holes else -1
        self.length = None if self.length_at >= 0 else int(length)

    def fill(self, values: tuple[bytes, ...]) -> dict[str, str]:
        """Return the headers of a block that matched with these values."""
        headers = self.headers.copy()
        for name, value in zip(self.holes, values):  # noqa: B905 -- a group a hole
            headers[name] = value.decode()
        return headers


class Templates:
    """The templates of one link."""

    __slots__ = ("_attempts", "_last", "_read", "known")

    def __init__(self) -> None:
        self.known: dict[bytes, Template] = {}  # by kind, see KIND
        self._last: dict[bytes, tuple[str, dict[str, str]]] = {}  # a block of that kind
        self._read: dict[bytes, int] = {}  # how often one was read line by line
        self._attempts = ATTEMPTS

    def learn(self, kind: bytes, command: str, headers: dict[str, str]) -> None:
        """Note a plain block that had to be read line by line, and make a template when it is time."""
        if not self._attempts:
            return
        read = self._read[kind] = self._read.get(kind, 0) + 1
        if read == PATIENCE - 1:
            self._last[kind] = command, headers
        elif read == PATIENCE:
            self._read[kind] = 0
            self._attempts -= 1
            holes = self._differences(kind, command, headers)
            if 0 < len(holes) <= HOLES:
                self.known[kind] = Template(command, headers, holes)

    def _differences(self, kind: bytes, command: str, headers: dict[str, str]) -> list[str]:
        """Return the names whose values differ between blocks of one form; none if the form differs."""
        before, last = self._last.pop(kind)
        if before != command or list(last) != list(headers):
            return []
        known = self.known.get(kind)
        if known is None or list(known.headers) != list(headers):
            return [name for name, value in headers.items() if value != last[name]]
        # It did not match what is known of its form: what it has not in common with that varies too.
        return [
            name
            for name, value in headers.items()
            if name in known.holes or not value == last[name] == known.headers[name]
        ]
