r"""Bytes to frames: `Parser.feed(bytes) -> [Frame]`, and nothing else.

Theory of operation. One call per chunk, however many frames it holds; a frame that is cut anywhere is
kept until the rest arrives, so the same bytes give the same frames however they were split. Four things
keep it fast and its cost linear in the bytes received:

- a producer mostly repeats itself: the last header block is remembered with what it meant, and the same
  bytes again are not parsed again;
- a block that differs from earlier ones only in a few values is read by a template, see
  `broker.stomp.template`;
- an unfinished frame is kept in one growing buffer, with the place from which to search for its end
  (`_scanned`); if only a body of known length is missing (`_awaiting`), nothing is searched or read again;
- limits are enforced while the frame grows, not once it is whole.

Errors do not escape as exceptions from `feed`, because frames that came before the error in the same
chunk are still good: it returns those and leaves the fault in `Parser.error`. After an error the parser
takes no more bytes.

Which lines of the specification decide what (STOMP 1.2 unless a version is named):

- EOL is LF; in 1.2 also CR LF, and in 1.0 as ActiveMQ takes it; in 1.1 a CR belongs to the line;
- `content-length` decides the body's length on any frame; without it the body ends at the first NUL;
- the first occurrence of a repeated header wins;
- 1.0 has no escapes; its values are trimmed at both ends; CONNECT and CONNECTED are never unescaped;
- EOLs between frames are heart-beats and are skipped, and so are stray NULs.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from broker.errors import FrameTooLarge, ProtocolError
from broker.stomp.frame import COMMANDS, UNESCAPED, Frame
from broker.stomp.template import KIND, Template, Templates

UNESCAPE = {
    "1.1": {"\\n": "\n", "\\c": ":", "\\\\": "\\"},
    "1.2": {"\\n": "\n", "\\c": ":", "\\\\": "\\", "\\r": "\r"},
}
ESCAPE = re.compile(r"\\.?", re.DOTALL)
BLANKS = " \t"  # what 1.0 trims; any other white space, U+00A0 for one, belongs to the value
BETWEEN = b"\n\r\0"  # what may stand between two frames
BACKSLASH, CR, NUL, SPACE, TAB = b"\\\r\0 \t"  # numbers: `in` is four times as fast with them
USUAL = 1024  # bytes that most bodies are shorter than
#: Their content-lengths, without a conversion, as headers have them and as templates do.
LENGTHS: dict[str | bytes, int] = {
    text: n for n in range(USUAL) for text in (str(n), str(n).encode())
}
NO_VALUES: tuple[bytes, ...] = ()
LENGTH_DIGITS = 10  # no honest content-length is longer; "9" * 1000 is not worth converting


#: A frame but for its body: length of the body, command, headers (none: by template), plain, template, values.
Awaited = tuple[int, str, dict[str, str] | None, bool, Template | None, tuple[bytes, ...]]


@dataclass(frozen=True, slots=True)
class Limits:
    """How large a frame may be. Enforced while it arrives."""

    command: int = 32  # bytes
    header_line: int = 64 * 1024  # bytes of one `name:value` line
    headers: int = 1000  # lines
    header_block: int = 256 * 1024  # bytes of all header lines together
    body: int = 100 * 1024 * 1024  # bytes
    receipt: int = 1000  # bytes: receipts wait for the disk by the thousand


class Parser:
    r"""An incremental STOMP parser for either end of a link.

    Until `version` is set it parses as the handshake demands (CR LF allowed, nothing unescaped) and
    stops after each frame, because the first frame decides how the next one reads: set `version`,
    then call `feed(b"")` for what is left.

    `strict_escapes` makes an undefined escape such as ``\t`` an error, as STOMP 1.1 and 1.2 ask; by
    default it is taken literally, as ActiveMQ does and as php-stomp needs, which never escapes.
    `strict_lines` makes a header line without a colon an error; by default it is a name without a value,
    as in ActiveMQ.
    """

    def __init__(
        self,
        limits: Limits | None = None,
        *,
        strict_escapes: bool = False,
        strict_lines: bool = False,
    ) -> None:
        self.limits = limits or Limits()
        self.strict_escapes = strict_escapes
        self.strict_lines = strict_lines
        self.version = None
        self.error: ProtocolError | None = None
        self.kept = 0  # bytes of an unfinished frame, as of the last `feed`
        self._rest = bytearray()  # an unfinished frame, or all that has come of its body
        self._awaiting: Awaited | None = None  # … of a body whose length is known
        self._ready = False  # _rest has not been looked at
        # Where in _rest to go on searching for the end of the headers or the body
        self._scanned = 0
        # What is searched for: the NUL after a body, or the end of the headers
        self._in_body = False
        self._limit = 0  # length of _rest at which it is too long, or worth a look why not
        self._templates = Templates()
        # The last header block and what it meant: command, headers, plain, content-length or -1.
        self._meaning: tuple[str, dict[str, str], bool, int] = ("", {}, True, -1)

    @property
    def version(self) -> str | None:
        """The negotiated version, or None during the handshake."""
        return self._version

    @version.setter
    def version(self, version: str | None) -> None:
        self._version = version
        # 1.2 allows CR LF; 1.0 and the handshake as ActiveMQ takes them
        self._crlf = version != "1.1"
        self._trims = version is None or version == "1.0"
        self._head = b""  # the same bytes may mean something else now

    @property
    def limits(self) -> Limits:
        """How large a frame may be; whoever was let in may be given others."""
        return self._limits

    @limits.setter
    def limits(self, limits: Limits) -> None:
        self._limits = limits
        # A block shorter than this cannot break a limit, but the command's.
        self._short = min(limits.header_line, limits.header_block, limits.headers, limits.receipt)
        # So many bytes hold a command that is not too long, and the CR LF after it.
        self._first_line = min(limits.command, limits.header_block) + 2
        self._lengths = LENGTHS if limits.body >= USUAL else {}
        self._head = b""  # the same bytes may be too large now

    def feed(self, data: bytes) -> list[Frame]:
        """Take a chunk and return the frames it completes; `self.error` is set if it makes no sense."""
        if self.error is not None:
            return []
        if self._awaiting is not None:
            return self._body_came(data, self._awaiting)
        if self._rest:
            self._rest += data
            if not self._may_be_complete():
                self.kept = len(self._rest)
                return []
            data = bytes(self._rest)
            self._rest.clear()
            self.kept = 0
            self._ready = False
            self._scanned = 0
        return self._frames(data)

    def forget(self) -> None:
        """Drop what was kept of an unfinished frame, and take no more bytes."""
        self.error = self.error or ProtocolError("The link is closed.")
        self._rest = bytearray()
        self.kept = 0
        self._awaiting = None

    @property
    def unfinished(self) -> bool:
        """True while the beginning of a frame waits for its end."""
        return bool(self._rest) or self._awaiting is not None

    def _may_be_complete(self) -> bool:
        """Tell whether the unfinished frame is worth another look, in time linear in what is new."""
        rest = self._rest
        if self._ready:
            return True
        # The end of the headers or of a body of unknown length: search only where nobody has looked.
        start, self._scanned = self._scanned, max(0, len(rest) - 2)
        if self._in_body:
            return rest.find(b"\0", start) >= 0 or len(rest) > self._limit
        return (
            rest.find(b"\n\n", start) >= 0
            or rest.find(b"\0", start) >= 0  # a fault, and nothing else may follow to show it
            or (self._crlf and rest.find(b"\n\r\n", start) >= 0)
            or len(rest) > self._limit
        )

    def _frames(self, data: bytes) -> list[Frame]:
        frames: list[Frame] = []
        size = len(data)
        find = data.find
        templates = self._templates.known
        carriage = self._crlf and CR in data
        blank = -1  # with CRs: where the next LF LF is, looked for once, for that keeps it linear
        pos = 0
        try:
            while True:
                while pos < size and data[pos] <= CR and data[pos] in BETWEEN:
                    pos += 1
                if pos == size:
                    return frames
                template = templates.get(data[pos : pos + KIND]) if templates else None
                if (
                    template is not None
                    and (match := template.match(data, pos)) is not None
                    and (start := match.end()) - pos < self._short
                ):
                    command, plain = template.command, True
                    headers: dict[str, str] | None = None
                    values = match.groups()
                    length = template.length
                    if length is None:
                        told = values[template.length_at]
                        known = self._lengths.get(told)
                        length = self._length(told.decode()) if known is None else known
                else:
                    template = None
                    values = NO_VALUES
                    if carriage:
                        if blank < pos:
                            blank = find(b"\n\n", pos)
                            if blank < 0:
                                blank = size
                        # An LF CR LF may share its last LF with an LF LF: the body then begins with an LF.
                        end = find(b"\n\r\n", pos, blank + 1)
                        start = end + 3
                        if end < 0 and blank < size:
                            end, start = blank, blank + 2
                    else:
                        end = find(b"\n\n", pos)
                        start = end + 2
                    if end < 0:
                        self._keep_headers(data, pos)
                        return frames
                    head = data[pos:end]
                    if head != self._head:
                        self._meaning = self._read_head(head)
                        self._head = head
                        command, headers, plain, length = self._meaning
                        if plain and self._version is not None:
                            self._templates.learn(head[:KIND], command, headers)
                    else:
                        command, headers, plain, length = self._meaning
                if length >= 0:
                    stop = start + length
                    if stop >= size:
                        self._rest += data[start:]
                        self.kept = len(self._rest)
                        self._awaiting = length, command, headers, plain, template, values
                        return frames
                    if data[stop]:
                        raise self._wrong_length(length)
                else:
                    stop = find(b"\0", start)
                    if stop < 0:
                        self._keep_body(data, pos, size - start)
                        return frames
                    if stop - start > self._limits.body:
                        raise self._too_large_body()
                frames.append(Frame(command, headers, data[start:stop], plain, template, values))
                pos = stop + 1
                if self._version is None and pos < size:
                    self._rest += data[pos:]
                    self._ready = True
                    return frames
        except ProtocolError as error:
            self.error = error
            return frames

    def _body_came(self, data: bytes, awaited: Awaited) -> list[Frame]:
        """More of a body whose length is known. However long it is, it is copied once."""
        length, command, headers, plain, template, values = awaited
        rest = self._rest
        rest += data
        if len(rest) <= length:
            self.kept = len(rest)
            return []
        self._awaiting = None
        self.kept = 0
        if rest[length]:
            self.error = self._wrong_length(length)
            self._rest = bytearray()
            return []
        with memoryview(rest) as view:
            frame = Frame(command, headers, bytes(view[:length]), plain, template, values)
            data = bytes(view[length + 1 :])
        self._rest = bytearray()
        if self._version is None and data:
            self._rest += data
            self._ready = True
            return [frame]
        return [frame, *self._frames(data)]

    def _wrong_length(self, length: int) -> ProtocolError:
        return ProtocolError(
            "The frame's body does not end where content-length says",
            f"After content-length:{length} octets of body a NUL octet must follow.",
        )

    def _keep_headers(self, data: bytes, pos: int) -> None:
        """Keep a frame whose headers have not ended, unless they are wrong already."""
        head = data[pos:]
        self._check_growing(head)
        self._rest += head
        self.kept = len(head)
        self._in_body = False
        in_command = b"\n" not in head
        self._limit = self._first_line - 1 if in_command else self.limits.header_block + 2
        self._scanned = max(0, len(head) - 2)

    def _check_growing(self, head: bytes) -> None:
        """Raise what is wrong with a header block whether its end has come or not.

        Of several faults the one whose bytes come first is named, and a block that is too long is judged
        by its beginning only: so the same bytes get the same error however they were split.
        """
        limit = self.limits.header_block
        first = head[: self._first_line]
        if len(first) == self._first_line and b"\n" not in first and b"\0" not in first:
            raise self._too_long_command()
        if head.find(b"\0", 0, limit + 3) >= 0:
            raise ProtocolError(
                "A NUL stands among the headers", "An empty line must end the headers of a frame."
            )
        if len(head) > limit + 2:  # the beginning of an empty line may be among them
            raise self._too_long_header()

    def _keep_body(self, data: bytes, pos: int, arrived: int) -> None:
        """Keep a frame whose body ends at a NUL that has not come."""
        limit = self.limits.body
        if arrived > limit:
            raise self._too_large_body()
        self._rest += data[pos:]
        self.kept = len(self._rest)
        self._in_body = True
        self._limit = len(self._rest) - arrived + limit
        self._scanned = len(self._rest)

    def _too_large_body(self) -> FrameTooLarge:
        return FrameTooLarge(
            "The maximum data length was exceeded",
            f"A body may have {self.limits.body} bytes.",
        )

    def _too_long_command(self) -> FrameTooLarge:
        return FrameTooLarge(
            "The maximum command length was exceeded",
            f"A command may have {self.limits.command} bytes.",
        )

    def _too_long_header(self) -> FrameTooLarge:
        limits = self.limits
        return FrameTooLarge(
            "The maximum header length was exceeded",
            f"A header line may have {limits.header_line} bytes,"
            f" all of them together {limits.header_block}.",
        )

    def _read_head(self, head: bytes) -> tuple[str, dict[str, str], bool, int]:
        """Return what a header block means: command, headers, plain, content-length or -1.

        The common block comes first: one colon a line, nothing to unescape, short, no name twice.
        """
        if (
            BACKSLASH not in head
            and CR not in head
            and NUL not in head
            and not (self._trims and (SPACE in head or TAB in head))
            and len(head) < self._short
        ):
            try:
                lines = head.decode().split("\n")
                command = lines[0]
                del lines[0]
                headers = {}
                for line in lines:
                    name, value = line.split(":")
                    headers[name] = value
            except ValueError:  # not UTF-8, or a line with no colon or with two
                pass
            else:
                if len(headers) == len(lines) and command in COMMANDS:
                    text = headers.get("content-length")
                    if text is None:
                        return command, headers, True, -1
                    length = self._lengths.get(text)
                    return command, headers, True, self._length(text) if length is None else length
        return self._read_uncommon_head(head)

    def _read_uncommon_head(self, head: bytes) -> tuple[str, dict[str, str], bool, int]:
        """The same for every block, whatever is in it; raise what is wrong with it."""
        limits = self.limits
        version = self._version
        self._check_growing(head)
        if len(head) > limits.header_block:
            raise self._too_long_header()
        try:
            lines = head.decode().split("\n")
        except UnicodeDecodeError:
            raise ProtocolError("The headers are not valid UTF-8") from None
        if b"\r" in head and self._crlf:
            lines = [line[:-1] if line.endswith("\r") else line for line in lines]
        command = lines.pop(0)
        if len(command.encode()) > limits.command:
            raise self._too_long_command()
        if len(lines) > limits.headers:
            raise FrameTooLarge(
                "The maximum number of headers was exceeded",
                f"A frame may have {limits.headers} headers.",
            )
        if any(len(line) > limits.header_line for line in head.split(b"\n")):
            raise self._too_long_header()
        if self.strict_lines and not all(":" in line for line in lines):
            raise ProtocolError("A header line has no colon", "Headers read name:value.")
        unescape: Callable[[str], str] | None = None
        if version in UNESCAPE and b"\\" in head and command not in UNESCAPED:
            unescape = self._unescaper(version)
        headers: dict[str, str] = {}
        for line in lines:
            name, _, value = line.partition(":")
            if self._trims:  # not the name: "content-length " is another header
                value = value.strip(BLANKS)
            elif unescape is not None:
                name, value = unescape(name), unescape(value)
            if name not in headers:  # STOMP 1.2, "Repeated Header Entries": the first one wins
                headers[name] = value
        plain = not any(c in text for pair in headers.items() for text in pair for c in "\\:\r\n")
        if len(headers.get("receipt", "").encode()) > limits.receipt:
            raise FrameTooLarge(
                f"The header receipt is longer than {limits.receipt} bytes", "A UUID has 36."
            )
        length = headers.get("content-length")
        return command, headers, plain, -1 if length is None else self._length(length)

    def _unescaper(self, version: str) -> Callable[[str], str]:
        table = UNESCAPE[version]

        def meaning(match: re.Match[str]) -> str:
            escape = match[0]
            if self.strict_escapes and escape not in table:
                raise ProtocolError(
                    f"Undefined escape {escape} in a header",
                    f"STOMP {version} defines {' '.join(table)}.",
                )
            return table.get(escape, escape)

        return lambda text: ESCAPE.sub(meaning, text) if "\\" in text else text

    def _length(self, text: str) -> int:
        if text.isascii() and text.isdecimal() and len(text) <= LENGTH_DIGITS:
            length = int(text)
            if length > self.limits.body:
                raise self._too_large_body()
            return length
        if text.startswith("-") and text[1:].isdecimal():
            raise ProtocolError("Specified content-length may not be negative")
        if text.isascii() and text.isdecimal():
            raise self._too_large_body()
        raise ProtocolError(
            "Specified content-length is not a valid integer",
            "content-length counts octets: 0, 1, 2 …",
        )
