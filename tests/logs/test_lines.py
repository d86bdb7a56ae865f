"""An event becomes a line: whoever wrote it, nothing in it moves a cursor, begins another line, or is a secret."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from twisted.logger import Logger, LogPublisher, globalLogPublisher
from twisted.python import log as older_log
from twisted.python.failure import Failure

from broker.logs.observer import MOST, Log
from broker.options import Options, change_options

SECRET = "hunter2"
NASTY = "a\nb\rc\0d\x1b[2Je\x9b2Jf\u202eg\u2028h\ud800i\u200bj"
SHOWN = r"a\nb\rc\x00d\x1b[2Je\x9b2Jf\u202eg\u2028h\ud800i\u200bj"


class Written:
    """A log, and what it has written; time passes when it is told to."""

    def __init__(self, **settings: str) -> None:
        self.file = io.StringIO()
        self.due: list[Callable[[], None]] = []
        options = change_options(Options(), settings, "test")
        self.log = Log(self.file, options, lambda seconds, call: self.due.append(call))
        self.publisher = LogPublisher(self.log)
        self.say = Logger("broker.test", observer=self.publisher)

    @property
    def text(self) -> str:
        return self.file.getvalue()

    @property
    def lines(self) -> list[str]:
        return self.text.splitlines()

    @property
    def objects(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines]


def test_a_line_of_text() -> None:
    written = Written()
    written.say.info("linked to {peer}", peer="B")
    time = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d"
    assert re.fullmatch(rf"{time} \[broker\.test#info\] linked to B\n", written.text)


def test_a_line_of_json() -> None:
    """An object with the time, the level, who says it, what it says, and the fields that are known."""
    written = Written(log_format="json")
    written.say.warn("hung up on {address}", address="127.0.0.1:1", login="bob", passcode=SECRET)
    [told] = written.objects
    assert re.fullmatch(r"\d{4}-.*\.\d{3}[+-]\d\d:\d\d", told.pop("time"))
    assert told == {
        "level": "warn",
        "namespace": "broker.test",
        "message": "hung up on 127.0.0.1:1",
        "address": "127.0.0.1:1",
        "login": "bob",
    }


@pytest.mark.parametrize("format", ["text", "json"])
def test_what_cannot_be_seen_is_written_so_that_it_can(format: str) -> None:
    written = Written(log_format=format)
    written.say.info("{login}", login=NASTY)
    assert len(written.lines) == 1
    assert written.text.removesuffix("\n").isprintable()
    if format == "json":
        assert written.objects[0]["message"] == written.objects[0]["login"] == SHOWN
    else:
        assert written.text.endswith(f"] {SHOWN}\n")


def test_letters_of_all_languages_are_letters() -> None:
    written = Written()
    written.say.info("{login}", login="Zoë 山田")
    assert written.text.endswith("] Zoë 山田\n")


@pytest.mark.parametrize("format", ["text", "json"])
def test_what_is_long_is_cut(format: str) -> None:
    """Each value, so that what stands behind it can still be read."""
    written = Written(log_format=format)
    written.say.info("{login} did {error}", login="x" * 10**6, error="this")
    written.say.info("{error!r}", error=["y" * 10**6])
    assert "… did this" in written.text.replace(r"\u2026", "…")
    assert all(len(line) < 3000 for line in written.lines)


def fault(error: BaseException) -> Failure:
    try:
        raise error
    except BaseException:
        return Failure()  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("format", ["text", "json"])
@pytest.mark.parametrize(
    "error",
    [
        KeyError(SECRET),
        ValueError(f"invalid literal for int() with base 10: {SECRET!r}"),
        UnicodeDecodeError("utf-8", SECRET.encode() + b"\xff", 7, 8, SECRET),
        AssertionError(f"passcode:{SECRET}"),
    ],
)
def test_a_traceback_tells_nothing_that_was_sent(error: Exception, format: str) -> None:
    """It tells where, and of which kind: also of the errors that an error came from."""
    written = Written(log_format=format)
    later = RuntimeError("the second")
    later.__cause__ = error
    for each in (error, later):
        written.say.failure("a fault of ours", failure=fault(each))
    assert SECRET not in written.text
    assert written.text.count("test_lines.py") >= 2
    assert "RuntimeError: the second" in written.text
    assert type(error).__name__ in written.text
    if format == "json":
        assert [told["message"] for told in written.objects] == ["a fault of ours"] * 2
        assert "\n" in written.objects[0]["traceback"]


def test_what_the_older_log_says() -> None:
    """Its errors bring a text with the whole traceback in it; ours is written instead."""
    written = Written(log_format="json")
    globalLogPublisher.addObserver(written.log)
    try:
        for why in ("while stopping", None):
            older_log.err(fault(KeyError(SECRET)), why)  # type: ignore[no-untyped-call]
        older_log.msg("Starting factory")  # at the level info
    finally:
        globalLogPublisher.removeObserver(written.log)
    assert [told["message"] for told in written.objects] == [
        "while stopping",
        "an error that nobody has seen to",
    ]
    assert "KeyError" in written.objects[0]["traceback"]
    assert SECRET not in written.text


def test_an_event_that_cannot_be_told_keeps_its_secrets() -> None:
    written = Written()
    written.say.info("{login.nothing} {missing}", login="bob", passcode=SECRET)
    assert "an event that cannot be told" in written.text
    assert SECRET not in written.text


@pytest.mark.parametrize(
    ("level", "told"),
    [
        ("debug", "debug info warn error critical"),
        ("info", "info warn error critical"),
        ("warn", "warn error critical"),
        ("error", "error critical"),
    ],
)
def test_levels(level: str, told: str) -> None:
    written = Written(log_level=level, log_format="json")
    others = Logger("twisted.web", observer=written.publisher)
    for each in ("debug", "info", "warn", "error", "critical"):
        getattr(written.say, each)("ours")
        getattr(others, each)("theirs")
    ours = [each["level"] for each in written.objects if each["message"] == "ours"]
    theirs = [each["level"] for each in written.objects if each["message"] == "theirs"]
    assert ours == told.split()
    assert theirs == [each for each in told.split() if each not in ("debug", "info")]


def test_of_one_kind_so_many_lines_are_written() -> None:
    """The others are counted, and told of in one; another kind has its own lines."""
    written = Written()
    for number in range(1000):
        written.say.warn("hung up on {address}", address=number)
        if number < 5:
            written.say.info("linked to {peer}", peer=number)
    assert len(written.lines) == MOST + 5
    [end] = written.due
    end()
    [more] = written.lines[MOST + 5 :]
    assert f"{1000 - MOST} more lines like this were not written: broker.test: hung up on" in more
    written.say.warn("hung up on {address}", address="later")
    assert written.lines[-1].endswith("hung up on later")
    assert len(written.due) == 2


def test_at_the_level_debug_all_is_written() -> None:
    written = Written(log_level="debug")
    for number in range(1000):
        written.say.debug("{address} has connected", address=number)
    assert len(written.lines) == 1000


def test_level_and_format_change_while_it_runs() -> None:
    written = Written()
    written.say.debug("not written")
    options = change_options(Options(), {"log_level": "debug", "log_format": "json"}, "test")
    commit = written.log.prepare(options)
    written.say.debug("nor this")
    commit()
    written.say.debug("written")
    assert [told["message"] for told in written.objects] == ["written"]
