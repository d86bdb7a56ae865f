"""The configuration read anew while the broker runs: all of it is taken over, or nothing.

1. The file is read, with the flags of the command line over it, as at the start.
2. Everybody who can take something over prepares: reads what else it needs, checks it, and changes nothing.
3. Unless somebody has objected all commit, which cannot fail.

A setting that nobody takes over waits for the next start, and the log says so. What a virtual host says of a setting is
taken over if the setting is.

Knows no rooms: who takes over what is said by the `Keeper`s.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import fields, replace
from typing import NamedTuple

from twisted.logger import Logger

from broker.hosting import following
from broker.options import Options, OptionsError
from broker.sections import SECTIONS

log = Logger()

Commit = Callable[[], None]
#: How the file calls what `Options` calls otherwise.
NAMES = {place: f"[{name}]" for name, (_, place) in SECTIONS.items()}
NAMES["virtual_hosts"] = "[virtual_host]"


class Keeper(NamedTuple):
    """Somebody who can take over settings while the broker runs."""

    #: Those that it takes over: names of `Options`. Empty: only what is in files that these name, as certificates.
    settings: Collection[str]
    #: Is given all settings as they will be (those that nobody takes over as they were), and returns what makes
    #: them hold. Raises `OptionsError` with the text that the start would have said.
    prepare: Callable[[Options], Commit]


class Outcome(NamedTuple):
    """What became of it."""

    is_taken: bool
    text: str  # in one line, for the operator


class Reloading:
    """Reads the configuration anew, as often as it is told to."""

    def __init__(
        self, options: Options, read: Callable[[], Options], keepers: Sequence[Keeper]
    ) -> None:
        """`options` hold now; `read` returns those that are to hold, or raises `OptionsError`."""
        self._options = options
        self._read = read
        self._keepers = keepers

    def reload(self) -> Outcome:
        """Take over what has changed, or leave all as it was; tell the operator."""
        names = [name for keeper in self._keepers for name in keeper.settings]
        try:
            wanted = self._read()
            options = replace(
                self._options,
                virtual_hosts=following(self._options.virtual_hosts, wanted.virtual_hosts, names),
                **{name: getattr(wanted, name) for name in names},
            )
            commits = [keeper.prepare(options) for keeper in self._keepers]
        except OptionsError as error:
            log.error("the configuration stays as it was: {error}", error=str(error))
            return Outcome(False, str(error))
        for commit in commits:
            commit()
        said = [f"changed: {', '.join(differing(self._options, options)) or 'nothing'}"]
        log.info("the configuration was read anew; {said}", said=said[0])
        if waiting := ", ".join(differing(options, wanted)):
            said.append(f"waiting for a restart: {waiting}")
            log.warn("these settings wait for a restart: {settings}", settings=waiting)
        self._options = options
        return Outcome(True, "; ".join(said))


def reading_files(prepare: Callable[[], Commit], kind: type[Exception], where: str = "") -> Keeper:
    """Return who lets something read its files anew, whatever the settings.

    `prepare` returns what takes them over, and raises errors of a `kind` whose text belongs behind `where`.
    """

    def keep(options: Options) -> Commit:
        try:
            return prepare()
        except kind as error:
            raise OptionsError(f"{where}{error}") from None

    return Keeper((), keep)


def differing(options: Options, others: Options) -> list[str]:
    """Return the names of the settings in which two differ, as the file calls them."""
    names = [each.name for each in fields(Options)]
    return [
        NAMES.get(name, name) for name in names if getattr(options, name) != getattr(others, name)
    ]
