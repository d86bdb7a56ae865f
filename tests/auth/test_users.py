"""The users file: what it says, what it may not say, and how it is changed."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.auth.passcodes import make_hash, matches, nobodys_hash
from broker.auth.users import (
    User,
    UsersError,
    change,
    check_passcode,
    load,
    read_users,
    with_user,
    without_user,
)
from broker.person import is_name

HASH = nobodys_hash()
TEXT = f"""# who may log in

alice:{HASH}:admins,shops
  bob : - : shops ,
carol:!{HASH}:
dave:!:
"""


def test_what_a_file_says() -> None:
    assert read_users(TEXT, "users") == {
        "alice": User("alice", HASH, ("admins", "shops")),
        "bob": User("bob", "", ("shops",)),
        "carol": User("carol", HASH, (), is_disabled=True),
        "dave": User("dave", "", (), is_disabled=True),
    }
    assert read_users("", "users") == {}
    assert read_users(TEXT.replace("\n", "\r\n"), "users").keys() == {
        "alice",
        "bob",
        "carol",
        "dave",
    }


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("alice", "a line reads NAME:HASH:GROUP,GROUP, with two colons"),
        (f"alice:{HASH}", "with two colons"),
        (f"alice:{HASH}:a:b", "with two colons"),
        ("alice::a", "without a passcode the hash is -"),
        ("alice:open sesame:a", "alice has no argon2 hash; `hoofbeat user` makes one"),
        ("alice:$2b$12$abc:a", "alice has no argon2 hash"),
        (":-:", "the name of a user has 1 to 255 visible characters"),
        ("a*:-:", "not 'a*'"),
        ("@a:-:", "not '@a'"),
        ("a\x07:-:", "not 'a\\x07'"),
        (f"{'x' * 256}:-:", "1 to 255"),
        ("anonymous:-:", "'anonymous' is a user of the broker's own"),
        ("a:-:peers", "'peers' is a group of the broker's own"),
        ("a:-:anonymous", "'anonymous' is a group of the broker's own"),
        ("a:-:@b", "the name of a group"),
        ("bob:-:", "there is a user bob above already"),
    ],
)
def test_what_it_may_not_say(line: str, reason: str) -> None:
    """The line is named; a hash, or what stands in its place, is not shown."""
    with pytest.raises(UsersError) as caught:
        read_users(f"# first\nbob:-:\n{line}\n", "users")
    assert str(caught.value).startswith("users, line 3: ")
    assert reason in str(caught.value)
    assert "sesame" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_one_line_is_changed_and_the_others_stay() -> None:
    bob = User("bob", HASH, ("a", "b"))
    changed = with_user(TEXT, bob)
    assert changed == TEXT.replace("  bob : - : shops ,", f"bob:{HASH}:a,b")
    assert with_user("", bob) == f"bob:{HASH}:a,b\n"
    assert with_user(TEXT, User("erin")) == TEXT + "erin:-:\n"
    assert without_user(TEXT, "alice") == TEXT.replace(f"alice:{HASH}:admins,shops\n", "")
    assert without_user(TEXT, "alic") == TEXT
    commented = f"#bob:-:x\n{TEXT}"
    assert without_user(commented, "bob") == commented.replace("  bob : - : shops ,\n", "")


def test_a_hash_is_shown_nowhere() -> None:
    assert HASH not in repr(User("alice", HASH))


words = st.text(
    st.characters(categories=["L", "N", "P", "S"], exclude_characters=":,@*#"),
    min_size=1,
    max_size=6,
)
names = st.lists(words, min_size=1, max_size=2).map(" ".join).filter(is_name)
people = st.builds(
    User,
    names,
    st.sampled_from(["", HASH]),
    st.lists(names, max_size=3).map(tuple),
    st.booleans(),
)
comments = st.text(st.characters(exclude_characters="\n\r", exclude_categories=["Cs"]), max_size=9)


@settings(deadline=None, max_examples=100)
@given(st.lists(people, unique_by=lambda user: user.name, max_size=5), comments, st.data())
def test_what_is_written_is_read(users: list[User], comment: str, data: st.DataObject) -> None:
    """Whatever the names, and whoever is changed or forgotten; and comments stay."""
    text = f"#{comment}\n"
    for user in users:
        text = with_user(text, user)
    assert text.split("\n")[0] == f"#{comment}"
    assert list(read_users(text, "users").values()) == users
    if users:
        number = data.draw(st.integers(0, len(users) - 1))
        other = data.draw(people)
        new = User(users[number].name, other.hash, other.groups, other.is_disabled)
        changed = read_users(with_user(text, new), "users")
        assert list(changed.values()) == [*users[:number], new, *users[number + 1 :]]
        left = read_users(without_user(text, new.name), "users")
        assert list(left.values()) == users[:number] + users[number + 1 :]
        assert without_user(text, new.name).startswith(f"#{comment}\n")


@settings(deadline=None, max_examples=100)
@given(st.text(max_size=60))
def test_any_text_is_users_or_an_error(text: str) -> None:
    try:
        users = read_users(text, "users")
    except UsersError:
        return
    assert all(is_name(name) for name in users)


# --- on the disk ----------------------------------------------------------------------------------


def test_a_new_file_is_its_owners_only(tmp_path: Path) -> None:
    path = tmp_path / "users"
    change(str(path), lambda text, users: with_user(text, User("alice")))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [*load(str(path))] == ["alice"]


@pytest.mark.parametrize(("before", "after"), [(0o600, 0o600), (0o640, 0o640), (0o666, 0o660)])
def test_the_group_may_go_on_reading_and_others_may_not(
    tmp_path: Path, before: int, after: int
) -> None:
    path = tmp_path / "users"
    path.touch()
    path.chmod(before)
    change(str(path), lambda text, users: "alice:-:\n")
    assert stat.S_IMODE(path.stat().st_mode) == after


def test_it_is_replaced_as_a_whole_where_it_lies(tmp_path: Path) -> None:
    """Through a link too, and nothing is left beside it; who has it open reads the old one to its end."""
    path, link = tmp_path / "users", tmp_path / "link"
    path.write_text("alice:-:\n")
    link.symlink_to(path)
    with path.open() as old:
        change(str(link), lambda text, users: without_user(text, "alice"))
        assert old.read() == "alice:-:\n"
    assert link.is_symlink()
    assert path.read_text() == ""
    assert sorted(os.listdir(tmp_path)) == ["link", "users"]


def test_what_cannot_be_done_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "users"
    path.write_text("broken\n")

    def edit(text: str, users: object) -> str:
        raise AssertionError("a broken file is not edited")

    with pytest.raises(UsersError, match="line 1"):
        change(str(path), edit)
    assert path.read_text() == "broken\n"
    with pytest.raises(UsersError, match=r"cannot write .*: No such file or directory"):
        change(str(tmp_path / "no" / "users"), edit)
    path.write_bytes(b"\xff\n")
    with pytest.raises(UsersError, match="is no text in UTF-8"):
        load(str(path))
    with pytest.raises(UsersError, match=r"cannot read .*: No such file"):
        load(str(tmp_path / "missing"))


def test_many_may_change_it_at_once(tmp_path: Path) -> None:
    path = str(tmp_path / "users")

    def add(number: int) -> None:
        change(path, lambda text, users: with_user(text, User(f"user-{number}")))

    threads = [threading.Thread(target=add, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert load(path).keys() == {f"user-{number}" for number in range(20)}


# --- passcodes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("passcode", ["", " x", "x ", "\t", "a\nb", "a\0b", "\x7f", " "])
def test_passcodes_that_a_header_cannot_carry(passcode: str) -> None:
    with pytest.raises(UsersError):
        check_passcode(passcode)


def test_a_hash_and_its_passcode() -> None:
    hash = make_hash("open: sésame")
    assert hash.startswith("$argon2id$v=19$m=20480,t=2,p=1$")
    assert hash != make_hash("open: sésame")
    assert matches(hash, "open: sésame")
    assert not matches(hash, "open: sesame")
    check_passcode("open: sésame")


def test_nobodys_hash_takes_as_long_as_somebodys() -> None:
    assert nobodys_hash("$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$YQ").startswith(
        "$argon2id$v=19$m=8,t=1,p=1$"
    )
    assert nobodys_hash().startswith("$argon2id$v=19$m=20480,t=2,p=1$")
    assert nobodys_hash() != nobodys_hash()
    assert not matches(nobodys_hash(), "")
