"""Every setting once: declared in full, checked, and refused in one line that says what would be right."""

from __future__ import annotations

import dataclasses
import json
import tomllib
from typing import Any

import pytest

from broker.options import (
    FIELDS,
    Options,
    OptionsError,
    change_options,
    read_options,
    settings_file,
)

NAMES = sorted(FIELDS)
NUMBERS = [name for name in NAMES if type(FIELDS[name].default) in (int, float)]
CHOICES = [name for name in NAMES if FIELDS[name].metadata["choices"]]
#: A value of each kind that a TOML file may hold.
KINDS: list[Any] = [1, 1.5, "text", True, [1], {"a": 1}]


def refused(**values: Any) -> str:
    """Return why settings are refused, which takes one line and names the source."""
    with pytest.raises(OptionsError) as caught:
        change_options(Options(), values, "hoof.toml")
    text = str(caught.value)
    assert text.startswith("hoof.toml: ")
    assert "\n" not in text
    return text


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_is_declared_in_full(name: str) -> None:
    each = FIELDS[name]
    assert each.default is not dataclasses.MISSING
    assert each.metadata["reason"]
    assert each.metadata["reason"] == each.metadata["reason"].strip()
    if name in NUMBERS:
        assert each.metadata["unit"], "a number without a unit says nothing"
    if name in CHOICES:
        assert each.default in each.metadata["choices"]


@pytest.mark.parametrize("name", NAMES)
def test_the_default_of_every_setting_can_be_written_down(name: str) -> None:
    """And reads as itself."""
    options = read_options(f"{name} = {json.dumps(FIELDS[name].default)}", "hoof.toml")
    assert options == Options()


@pytest.mark.parametrize("name", NAMES)
def test_a_wrong_type_is_told_the_right_one(name: str) -> None:
    default = FIELDS[name].default
    for value in KINDS:
        if type(value) is type(default) or (type(default) is float and type(value) is int):
            continue
        text = refused(**{name: value})
        assert name in text
        assert repr(value) in text
        assert repr(default) in text


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [-1, -(2**63)])
def test_no_number_is_negative(name: str, value: int) -> None:
    assert "must not be negative" in refused(**{name: value})


@pytest.mark.parametrize("name", [name for name in NUMBERS if type(FIELDS[name].default) is float])
@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_a_number_is_a_number(name: str, value: str) -> None:
    """TOML has words for those that are not."""
    with pytest.raises(OptionsError, match=name):
        read_options(f"{name} = {value}", "hoof.toml")


@pytest.mark.parametrize("name", CHOICES)
def test_a_choice_is_told_all_of_them(name: str) -> None:
    text = refused(**{name: "something else"})
    assert all(choice in text for choice in FIELDS[name].metadata["choices"])


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"port": 65536}, "at most 65535"),
        ({"prefetch": 0}, "at least 1"),
        ({"prot": 1}, "unknown setting 'prot'; there are: "),
        ({"port ": 1}, "unknown setting"),
        ({"Port": 1}, "unknown setting"),
    ],
)
def test_what_else_cannot_be(values: dict[str, Any], reason: str) -> None:
    assert reason in refused(**values)


def test_an_unknown_setting_is_told_the_known_ones() -> None:
    text = refused(speed="fast")
    assert all(name in text for name in NAMES)


def test_nothing_is_changed_when_one_of_several_is_wrong() -> None:
    options = Options(port=1)
    with pytest.raises(OptionsError):
        change_options(options, {"port": 2, "prefetch": "many"}, "here")
    assert options.port == 1


@pytest.mark.parametrize("text", ["port", "port = ", "port = 1\nport = 2", "[port", "\0"])
def test_a_file_that_is_no_toml(text: str) -> None:
    with pytest.raises(OptionsError) as caught:
        read_options(text, "hoof.toml")
    assert str(caught.value).startswith("hoof.toml: ")
    assert "\n" not in str(caught.value)


def test_a_table_is_no_setting() -> None:
    with pytest.raises(OptionsError, match="unknown setting 'broker'"):
        read_options("[broker]\nport = 1", "hoof.toml")


def test_the_later_source_wins_and_the_rest_stays() -> None:
    options = read_options('port = 1\nprefetch = 7\ndata = "/srv"', "hoof.toml")
    options = change_options(options, {"port": 0}, "command line")
    assert (options.port, options.prefetch, options.data) == (0, 7, "/srv")
    assert options.linger == Options().linger


def test_a_whole_number_is_a_number() -> None:
    options = read_options("linger = 3", "hoof.toml")
    assert options.linger == 3.0
    assert type(options.linger) is float


def test_options_cannot_be_changed_in_place() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Options().port = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("options", "url"),
    [
        (Options(), "lmdb:./data"),
        (Options(data="/srv/hoof"), "lmdb:/srv/hoof"),
        (Options(data="/srv/hoof", store="memory:"), "memory:"),
    ],
)
def test_the_store_is_lmdb_in_data_unless_another_is_named(options: Options, url: str) -> None:
    assert options.store_url == url


def test_the_settings_file_says_every_default_and_why() -> None:
    text = settings_file()
    assert read_options(text, "hoof.toml") == Options()
    assert list(tomllib.loads(text)) == list(FIELDS)
    for name, each in FIELDS.items():
        comment = next(
            before
            for before, line in zip(text.splitlines(), text.splitlines()[1:], strict=False)
            if line.startswith(f"{name} = ")
        )
        assert each.metadata["reason"] in comment


def test_by_default_nobody_outside_is_let_in() -> None:
    assert Options().host == "127.0.0.1"


def test_there_is_no_setting_that_makes_a_receipt_lie() -> None:
    assert not [name for name in NAMES if "sync" in name or "durab" in name]
