"""Who finds out who a client is, without a socket: certificates, remembered logins, fair times."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from argon2 import extract_parameters
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from broker.auth.checkers import CannotCheck, OneAfterTheOther, Passcode, UsersChecker, make_checker
from broker.auth.hashing import Hashing
from broker.auth.reception import PATIENCE, Authentication, LoginGuard
from broker.auth.registry import Registry
from broker.errors import HandshakeError
from broker.options import Options
from broker.person import Person, anonymous, known
from broker.reception import Claim
from tests.harness import PASSCODE, write_users


class Here(Hashing):
    """Does at once what is asked, and counts."""

    def __init__(self) -> None:
        super().__init__(lambda call, *arguments: call(*arguments))
        self.asked = 0

    def run(self, address: str, work: Callable[[], bool]) -> Deferred[bool]:
        self.asked += 1
        return succeed(work())


class Later(Hashing):
    """Does nothing until it is told to."""

    def __init__(self) -> None:
        super().__init__(lambda call, *arguments: call(*arguments))
        self.all: list[tuple[Callable[[], bool], Deferred[bool]]] = []

    def run(self, address: str, work: Callable[[], bool]) -> Deferred[bool]:
        self.all.append((work, Deferred()))
        return self.all[-1][1]


class Stranger:
    """Somebody who comes."""

    address = "192.0.2.1:5000"

    def __init__(self, certificate: str = "") -> None:
        self._certificate = certificate
        self.aborted = False

    def certificate_name(self) -> str:
        return self._certificate

    def abort(self) -> None:
        self.aborted = True


class Reactor(Clock):
    """Time, and nothing from threads."""

    def callFromThread(self, call: Any, *arguments: Any) -> None:  # noqa: N802
        self.callLater(0, call, *arguments)


@pytest.fixture
def users(tmp_path: Path) -> Path:
    path = Path(write_users(tmp_path, alice="shops", bob=""))
    path.write_text(f"{path.read_text()}carol:-:shops\nmallory:!:\n")
    return path


@pytest.fixture
def reactor() -> Reactor:
    return Reactor()


def answer_to(guard: LoginGuard, claim: Claim) -> Person | HandshakeError | None:
    """Return what somebody hears at once."""
    answers: list[Person | HandshakeError] = []
    guard.let_in(claim, answers.append)
    return answers[0] if answers else None


def reception_of(
    users: Path, reactor: Reactor, stranger: Stranger, lets_anonymous_in: bool = False
) -> LoginGuard:
    shared = Authentication(Options(users=str(users)), reactor, lambda: None)
    return LoginGuard(shared, stranger, lets_anonymous_in)


# --- certificates ---------------------------------------------------------------------------------


@pytest.mark.parametrize("login", ["", "carol"])
def test_a_certificate_is_a_login(users: Path, reactor: Reactor, login: str) -> None:
    """Without a passcode; the header may say the same. Groups are those of the file."""
    guard = reception_of(users, reactor, Stranger("carol"))
    assert answer_to(guard, Claim(login, "")) == known("carol", ["shops"])


def test_a_certificate_of_somebody_who_is_in_no_file(users: Path, reactor: Reactor) -> None:
    """An authority has signed for him."""
    guard = reception_of(users, reactor, Stranger("Pump 7"))
    assert answer_to(guard, Claim("", "")) == known("Pump 7")


@pytest.mark.parametrize(
    "name", ["mallory", "anonymous", "peer:B", "@administrators", "*", "a,b", "a\x07", "x" * 300]
)
def test_certificates_that_let_nobody_in(users: Path, reactor: Reactor, name: str) -> None:
    """Of who is disabled, and with names that mean something else."""
    guard = reception_of(users, reactor, Stranger(name), lets_anonymous_in=True)
    answer = answer_to(guard, Claim("", ""))
    assert isinstance(answer, HandshakeError)
    assert answer.text.startswith("User name [")


def test_another_login_than_the_certificates_needs_its_passcode(
    users: Path, reactor: Reactor
) -> None:
    answers: list[Person | HandshakeError] = []
    shared = Authentication(Options(users=str(users)), reactor, lambda: None)
    guard = LoginGuard(shared, Stranger("carol"), False)
    checker = UsersChecker(Registry(str(users)), Here(), 0, reactor.seconds)
    assert shared.portal is not None
    shared.portal.registerChecker(checker)
    for claim in (Claim("alice", ""), Claim("alice", PASSCODE)):
        guard.let_in(claim, answers.append)
    assert isinstance(answers[0], HandshakeError)
    assert answers[1] == known("alice", ["shops"])


def test_anonymous(users: Path, reactor: Reactor) -> None:
    stranger = Stranger()
    assert answer_to(reception_of(users, reactor, stranger, True), Claim("", "x")) == anonymous()
    answer = answer_to(reception_of(users, reactor, stranger), Claim("", ""))
    assert isinstance(answer, HandshakeError)


def test_a_passcode_is_not_shown() -> None:
    assert PASSCODE not in repr(Claim("alice", PASSCODE))
    assert PASSCODE not in repr(Passcode("alice", PASSCODE, "a"))


# --- the users file as a checker ------------------------------------------------------------------


def is_right(checker: Any, login: str, passcode: str = PASSCODE) -> bool | None:
    """Return what a checker says; None: nothing yet."""
    said: list[bool] = []
    asked = checker.requestAvatarId(Passcode(login, passcode, "a"))
    asked.addCallbacks(
        lambda found: said.append(found == login.encode()),
        lambda failure: said.append(failure.trap(UnauthorizedLogin) is None),
    )
    return said[0] if said else None


def test_a_right_login_is_remembered_for_a_while(users: Path, reactor: Reactor) -> None:
    """A wrong one is not, nor is anything when the file has changed."""
    hashing = Here()
    checker = UsersChecker(Registry(str(users)), hashing, 60.0, reactor.seconds)
    assert [is_right(checker, "alice") for _ in range(5)] == [True] * 5
    assert hashing.asked == 1
    assert [is_right(checker, "alice", "x") for _ in range(3)] == [False] * 3
    assert [is_right(checker, "nobody") for _ in range(3)] == [False] * 3
    assert hashing.asked == 7
    reactor.advance(60.1)
    assert is_right(checker, "alice")
    assert hashing.asked == 8
    users.write_text(users.read_text() + "# changed\n")
    assert is_right(checker, "alice")
    assert hashing.asked == 9


def test_nothing_is_remembered_if_that_is_not_wanted(users: Path, reactor: Reactor) -> None:
    hashing = Here()
    checker = UsersChecker(Registry(str(users)), hashing, 0.0, reactor.seconds)
    assert [is_right(checker, "alice") for _ in range(3)] == [True] * 3
    assert hashing.asked == 3


def test_what_is_remembered_are_no_passcodes(users: Path, reactor: Reactor) -> None:
    checker = UsersChecker(Registry(str(users)), Here(), 60.0, reactor.seconds)
    is_right(checker, "alice")
    assert PASSCODE not in str(vars(checker))
    assert [len(key) for key in checker._right] == [32]


def test_many_who_ask_the_same_are_answered_at_once(users: Path, reactor: Reactor) -> None:
    """A hundred processes of a web server that begin together cost one look at the hash."""
    hashing = Later()
    checker = UsersChecker(Registry(str(users)), hashing, 60.0, reactor.seconds)
    found: list[bytes] = []
    for _ in range(100):
        asked: Any = checker.requestAvatarId(Passcode("alice", PASSCODE, "a"))
        asked.addCallback(found.append)
    assert is_right(checker, "alice", "x") is None
    assert len(hashing.all) == 2
    work, answer = hashing.all[0]
    answer.callback(work())
    assert found == [b"alice"] * 100


@pytest.mark.parametrize("login", ["nobody", "carol", "mallory"])
def test_who_has_no_passcode_takes_as_long_as_who_has(
    users: Path, reactor: Reactor, login: str
) -> None:
    """A hash is looked at that costs as much as those of the file."""
    hashing, registry = Here(), Registry(str(users))
    assert not is_right(UsersChecker(registry, hashing, 60.0, reactor.seconds), login)
    assert hashing.asked == 1
    alice = registry.find("alice")
    assert alice is not None
    assert extract_parameters(registry.nobody) == extract_parameters(alice.hash)


# --- other checkers -------------------------------------------------------------------------------


class Broken:
    """A checker that cannot be asked."""

    def requestAvatarId(self, credentials: Passcode) -> Deferred[bytes]:  # noqa: N802
        return fail(OSError(f"cannot connect as {credentials.password.decode()}"))


def test_a_checker_that_fails_says_nothing_of_anybody(
    capsys: pytest.CaptureFixture[str], reactor: Reactor
) -> None:
    """The others are asked; if none of them knows, it is not his fault. The log has no passcode."""
    from twisted.logger import LogPublisher

    told: list[dict[str, Any]] = []
    checkers = OneAfterTheOther([Broken(), make_checker("memory:dave:d")])
    checkers.log = type(checkers.log)(observer=LogPublisher(told.append))  # type: ignore[arg-type]
    assert is_right(checkers, "dave", "d")
    failures: list[Any] = []
    asked: Any = checkers.requestAvatarId(Passcode("dave", "secret", "a"))
    asked.addErrback(failures.append)
    assert failures[0].check(OSError)
    assert [event["error"] for event in told][1] == "cannot connect as …"


def test_a_checker_that_never_answers(users: Path, reactor: Reactor) -> None:
    """Somebody who waits for it is told to come again."""
    shared = Authentication(Options(auth=("memory:a:b",)), reactor, lambda: None)
    assert shared.portal is not None

    class Silent:
        credentialInterfaces = make_checker("memory").credentialInterfaces[:1]  # noqa: N815

        def requestAvatarId(self, credentials: Passcode) -> Deferred[bytes]:  # noqa: N802
            return Deferred()

    shared.portal.registerChecker(OneAfterTheOther([Silent()]))
    guard = LoginGuard(shared, Stranger(), False)
    answers: list[Any] = []
    guard.let_in(Claim("alice", "x"), answers.append)
    assert answers == []
    reactor.advance(PATIENCE)
    assert answers[0].headers == {"retry": "true"}


@pytest.mark.parametrize(
    ("description", "reason"),
    [
        ("ldap:x", "auth: unknown 'ldap'; there are: file, memory, unix"),
        ("", "auth: unknown ''; there are: "),
        ("anonymous", "auth: anonymous does not check passcodes"),
        ("memory:alice", "auth: memory does not take its argument: argstring must be"),
        ("file:", "auth: file does not take its argument"),
    ],
)
def test_checkers_that_cannot_be(description: str, reason: str) -> None:
    with pytest.raises(CannotCheck) as caught:
        make_checker(description)
    assert str(caught.value).startswith(reason)


# --- faults of ours -------------------------------------------------------------------------------


def test_a_fault_of_ours_ends_the_connection(users: Path, reactor: Reactor) -> None:
    stranger = Stranger("carol")
    guard = reception_of(users, reactor, stranger)

    def fail(answer: object) -> None:
        raise RuntimeError("a fault of ours")

    guard.let_in(Claim("", ""), fail)
    assert stranger.aborted
