"""Who may do what, by the operator's sections alone: a table, and a model that says the same slowly."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.clearance import Clearance
from broker.core.broker import Broker
from broker.core.pattern import is_pattern
from broker.errors import NotAuthorized
from broker.options import OptionsError, read_options
from broker.person import PEERS, Person, anonymous, known, people, unchecked
from broker.rights import (
    ADMINISTER,
    BROWSE,
    CREATE,
    KNOWN,
    LONGEST,
    READ,
    ROAM,
    WRITE,
    Rights,
    check_people,
)
from tests.outside import outside

ALICE, BOB = known("alice", ["shops"]), known("bob", ["shops", "clerks"])
BOSS, PEER = known("boss", ["administrators"]), known("peer:B", [PEERS])
EVERY = (ALICE, BOB, anonymous(), unchecked("alice"))


def rights(*sections: tuple[str, dict[str, str]]) -> Rights:
    """Return the rights at a broker that checks logins."""
    return Rights(sections, "@administrators", is_open=False)


# --- what sections mean ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("section", "meant", "not_meant"),
    [
        (">", ["/queue/a", "/topic/a.b"], ["/queue/ActiveMQ.DLQ", "/peer/B/queue/a", "/queue/rpc.broker"]),
        ("a.*", ["/queue/a.b", "/topic/a.b"], ["/queue/a", "/queue/a.b.c", "/queue//queue/a.b"]),
        ("/queue/a", ["/queue/a"], ["/topic/a"]),
        ("ActiveMQ.>", ["/queue/ActiveMQ.DLQ", "/topic/ActiveMQ.Advisory.Connection"], ["/queue/a"]),
        ("ActiveMQ.DLQ", ["/queue/ActiveMQ.DLQ"], ["/queue/ActiveMQ.DLQ.a"]),
        ("*.DLQ", ["/queue/x.DLQ"], ["/queue/ActiveMQ.DLQ"]),
        ("rpc.>", ["/queue/rpc.shop"], ["/queue/rpc.reply.1", "/queue/rpc.broker"]),
        ("rpc.reply.>", ["/queue/rpc.reply.1"], ["/queue/rpc.shop"]),
        ("/temp-queue/>", ["/remote-temp-queue/s-1"], ["/remote-temp-topic/s-1", "/peer/B/remote-temp-queue/s"]),
        ("/peer/B/queue/a.>", ["/peer/B/queue/a.b"], ["/peer/C/queue/a.b", "/peer/B/topic/a.b", "/queue/a.b"]),
        ("/peer/*/queue/a", ["/peer/B/queue/a", "/peer/C/queue/a"], ["/peer/B/peer/C/queue/a"]),
        ("/peer/B/>", ["/peer/B/queue/a", "/peer/B/peer/C/topic/a"], ["/peer/C/queue/a", "/peer/B/queue/ActiveMQ.DLQ"]),
        ("/peer/>", ["/peer/B/queue/a", "/peer/C/peer/B/topic/a"], ["/queue/a", "/queue/peer/B"]),
        ("/peer/temp-queue/temp-queue/>", ["/peer/temp-queue/remote-temp-queue/s"], ["/remote-temp-queue/s"]),
    ],
)  # fmt: skip
def test_what_a_section_means(section: str, meant: list[str], not_meant: list[str]) -> None:
    [(pattern, table)] = read_options(f"[rights.'{section}']\nadminister='alice'", "here").rights
    said = rights((pattern, table))
    assert [each for each in meant if not said.may(ALICE, ADMINISTER, each)] == []
    assert [each for each in not_meant if said.may(ALICE, ADMINISTER, each)] == []


@pytest.mark.parametrize(
    ("destination", "may"),
    [
        ("/remote-temp-queue/s", {WRITE, CREATE}),
        ("/peer/B/remote-temp-topic/s", {WRITE, CREATE}),
        ("/queue/rpc.reply.x", {READ, WRITE, CREATE}),
        ("/peer/B/peer/C/queue/rpc.reply.x", {READ, WRITE, CREATE}),
        ("/queue/rpc.broker", {WRITE, CREATE}),
        ("/topic/rpc.broker", {WRITE, CREATE}),
        ("/queue/hoofbeat.reports", set()),
        ("/queue/a", set()),
        ("/topic/ActiveMQ.Advisory.Connection", set()),
        ("/queue/ActiveMQ.DLQ", set()),
    ],
)
def test_what_everybody_may_whatever_is_said_of_others(destination: str, may: set[str]) -> None:
    said = rights(("elsewhere", {READ: "*"}), (">", {}))
    everything = (READ, WRITE, CREATE, BROWSE, ADMINISTER, ROAM)
    for person in EVERY:
        assert {right for right in everything if said.may(person, right, destination)} == may
    assert all(said.may(BOSS, right, destination) for right in everything)


def test_it_can_be_taken_from_them() -> None:
    said = rights(
        ("rpc.reply.>", {READ: "@clerks", WRITE: "@shops"}), ("/temp-queue/>", {CREATE: ""})
    )
    assert not said.may(ALICE, READ, "/queue/rpc.reply.x")
    assert said.may(BOB, ROAM, "/queue/rpc.reply.x")
    assert not said.may(ALICE, CREATE, "/remote-temp-queue/s")
    assert said.may(ALICE, WRITE, "/remote-temp-queue/s")


def test_brokers_report_to_each_other() -> None:
    said = rights(("a", {READ: "*"}))
    assert said.may(PEER, WRITE, "/queue/hoofbeat.reports")
    assert said.may(PEER, WRITE, "/peer/C/queue/hoofbeat.reports")
    assert not said.may(PEER, WRITE, "/queue/b")


def test_who_may_everything() -> None:
    """Without sections everybody, but to administer; that, where logins are checked, only administrators."""
    nothing = Rights((), "@administrators", is_open=False)
    for person in EVERY:
        assert nothing.may(person, READ, "/queue/ActiveMQ.DLQ")
        assert not nothing.may(person, ADMINISTER, "/queue/a")
        assert not nothing.is_administrator(person)
    assert nothing.is_administrator(BOSS)
    assert Rights().is_administrator(unchecked("alice"))
    assert not Rights([("a", {READ: "*"})]).is_administrator(unchecked("alice"))


def test_at_an_open_broker_nobody_is_named() -> None:
    check_people([("a", {READ: "*", WRITE: "", CREATE: " * , "})])
    for text in ("alice", "@shops", "*, alice", "anonymous"):
        with pytest.raises(OptionsError, match="nobody's login is checked"):
            check_people([("a", {READ: text})])
        with pytest.raises(OptionsError, match="nobody's login is checked"):
            Rights([("a", {READ: text})])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[rights.a]\nreed = '*'", "unknown setting 'reed'; there are: administer, browse"),
        ("[rights.a]\nread = ['*']", 'read reads "alice, @shops", not'),
        ("[rights.'a.>.b']\nread = '*'", "> for the rest at the end"),
        ("[rights.'a,b']", "a section has one pattern"),
        ("[rights.'/remote-temp-queue/>']", "begins with /queue/, /topic/, /temp-queue/"),
        ("[rights.'/peer/B']", "begins with /queue/"),
        ("[rights.'/peer/B/queue/']", "a pattern reads"),
        ("[rights.'/queue/']", "a pattern reads"),
        ("[rights.'']", "a pattern reads"),
        ("rights = 1", "must stand in a section"),
        ("[rights]\nread = '*'", "must stand in a section"),
    ],
)
def test_sections_that_make_no_sense(text: str, said: str) -> None:
    with pytest.raises(OptionsError) as caught:
        read_options(text, "hoof.toml")
    assert said in str(caught.value)


def test_what_is_remembered_is_bounded() -> None:
    said = rights(("a.>", {READ: "*"}))
    for number in range(KNOWN + 10):
        assert said.may(ALICE, READ, f"/queue/a.{number}")
    assert not said.may(ALICE, READ, "/queue/" + "b" * LONGEST)
    assert len(said._known) <= KNOWN
    assert max(map(len, said._known)) <= LONGEST


# --- the same, slowly -------------------------------------------------------------------------------

NAMES = [".".join(parts) for parts in [("a",), ("b",), ("a", "a"), ("a", "b"), ("b", "a"), ("a", "b", "a")]]  # fmt: skip
PATTERNS = [*NAMES, ">", "*", "a.*", "*.a", "a.>", "*.>", "a.*.a", "*.b.>", "b.>"]
PERSONS = (ALICE, BOB, anonymous(), BOSS)
LISTS = ["", "*", "alice", "@clerks", "bob, anonymous", "@shops"]
RIGHTS = (READ, WRITE, CREATE, BROWSE, ADMINISTER)
some_sections = st.lists(
    st.tuples(
        st.tuples(st.sampled_from(["", "/queue/", "/topic/"]), st.sampled_from(PATTERNS)).map(
            "".join
        ),
        st.dictionaries(st.sampled_from(RIGHTS), st.sampled_from(LISTS)),
    ),
    min_size=1,
    max_size=5,
)


def is_meant(pattern: str, destination: str) -> bool:
    """Tell whether a section means a destination, element by element."""
    _, kind, name = destination.split("/", 2)
    if pattern.startswith("/"):
        _, its_kind, pattern = pattern.split("/", 2)
        if its_kind != kind:
            return False
    wanted, elements = pattern.split("."), name.split(".")
    if wanted[-1] == ">":
        wanted = wanted[:-1]
        elements = elements[: len(wanted)]
    return len(wanted) == len(elements) and all(
        one in ("*", other) for one, other in zip(wanted, elements, strict=True)
    )


def decided(
    sections: Sequence[tuple[str, dict[str, str]]], person: Person, right: str, destination: str
) -> bool:
    """Decide by looking through all sections backwards."""
    if person is BOSS:
        return True
    for pattern, table in reversed(sections):
        if right in table and is_meant(pattern, destination):
            return bool(people(table[right]) & person.names)
    if right == BROWSE:
        return decided(sections, person, READ, destination)
    if right == CREATE:
        return any(decided(sections, person, each, destination) for each in (READ, WRITE))
    return False


@given(some_sections)
def test_it_decides_as_the_model_does(sections: list[tuple[str, dict[str, str]]]) -> None:
    said = rights(*sections)
    for destination in [kind + name for kind in ("/queue/", "/topic/") for name in NAMES]:
        for person in PERSONS:
            for right in RIGHTS:
                wanted = decided(sections, person, right, destination)
                assert said.may(person, right, destination) == wanted, (person, right, destination)


@given(some_sections, st.sampled_from([each for each in PATTERNS if is_pattern(each)]))
def test_of_a_wildcard_some_or_all(sections: list[tuple[str, dict[str, str]]], name: str) -> None:
    """Some are never denied that may be read; all are never said that may not."""
    said, pattern = rights(*sections), f"/topic/{name}"
    for person in PERSONS:
        meant = [f"/topic/{each}" for each in NAMES if is_meant(name, f"/topic/{each}")]
        may = [said.may(person, READ, each) for each in meant]
        assert said.may_read_some(person, pattern) or not any(may)
        assert all(may) or not said.may_read_all(person, pattern)


def test_of_a_wildcard_the_brokers_own_are_no_part() -> None:
    said = rights((">", {READ: "*"}))
    assert said.may_read_some(ALICE, "/topic/>")
    assert not said.may_read_some(ALICE, "/topic/ActiveMQ.Advisory.>")
    assert not said.may_read_all(ALICE, "/topic/>")  # advisories are among them
    assert said.may_read_all(ALICE, "/topic/news.>")


# --- what one client may ------------------------------------------------------------------------------


def clearance(person: Person, *sections: tuple[str, dict[str, str]]) -> Clearance:
    """Return that of a client at a broker without destinations."""
    return Clearance(rights(*sections), person, Broker(outside()).routes)


def test_a_peers_clients_are_at_home() -> None:
    """Replies go back over the link that the question came by; elsewhere the rights of the link are asked."""
    peer = clearance(PEER, ("a", {WRITE: "@peers"}))
    for by_broker in (False, True):
        peer.check_reply_to("/peer/B/queue/secret", "/queue/a", by_broker)
        with pytest.raises(NotAuthorized):
            peer.check_reply_to("/peer/C/queue/secret", "/queue/a", by_broker)
    impostor = clearance(unchecked("peer:B"), ("a", {WRITE: "*"}))
    with pytest.raises(NotAuthorized):
        impostor.check_reply_to("/peer/B/queue/secret", "/queue/a", False)


def test_a_refusal_says_who_and_what() -> None:
    for destination, told in (
        ("/queue/a", "queue://a"),
        ("/topic/a", "topic://a"),
        ("/remote-temp-queue/s-1", "temp-queue://s-1"),
        ("/peer/B/queue/a", "/peer/B/queue/a"),
    ):
        with pytest.raises(NotAuthorized) as caught:
            clearance(ALICE, ("b", {READ: "*"}), ("/temp-queue/>", {WRITE: ""})).check_put(
                destination
            )
        assert caught.value.text == f"User alice is not authorized to write to: {told}"
        assert not caught.value.fatal
