"""Every setting once: declared in full, checked, and refused in one line that says what would be right."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from broker.core.composite import CompositeRule
from broker.core.policy import Policies, Policy
from broker.dialect import DIALECTS
from broker.hosting import EXAMPLE, HOSTED
from broker.options import (
    FIELDS,
    Listener,
    Options,
    OptionsError,
    change_options,
    read_options,
    settings_file,
)
from broker.sections import LISTENER, PEER, POLICY, PeerSection

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


def refused_file(text: str) -> str:
    """Return why a file is refused, which takes one line and names the file."""
    with pytest.raises(OptionsError) as caught:
        read_options(text, "hoof.toml")
    reason = str(caught.value)
    assert reason.startswith("hoof.toml: ")
    assert "\n" not in reason
    return reason


# --- plain settings -------------------------------------------------------------------------------

DECLARED = [*FIELDS.values(), *POLICY.values(), *LISTENER.values()]


@pytest.mark.parametrize("each", DECLARED, ids=[each.name for each in DECLARED])
def test_every_setting_is_declared_in_full(each: dataclasses.Field[Any]) -> None:
    assert each.default is not dataclasses.MISSING
    assert each.metadata["reason"]
    assert each.metadata["reason"] == each.metadata["reason"].strip()
    if type(each.default) in (int, float):
        assert each.metadata["unit"], "a number without a unit says nothing"
        assert each.metadata["least"] <= each.default <= each.metadata["most"]
    if each.metadata["choices"]:
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
        is_secret = FIELDS[name].metadata["secret"]
        assert (repr(value) in text) is not is_secret
        assert (repr(default) in text) is not is_secret


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [-2, -(2**63)])
def test_no_number_is_less_than_it_may_be(name: str, value: int) -> None:
    """Mostly not negative; -1 can mean that there is no limit."""
    least = FIELDS[name].metadata["least"]
    assert (f"at least {least}" if least else "must not be negative") in refused(**{name: value})
    if least != -1:
        refused(**{name: -1})


@pytest.mark.parametrize("name", [name for name in NUMBERS if type(FIELDS[name].default) is float])
@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_a_number_is_a_number(name: str, value: str) -> None:
    """TOML has words for those that are not."""
    with pytest.raises(OptionsError, match=name):
        read_options(f"{name} = {value}", "hoof.toml")


@pytest.mark.parametrize("each", DECLARED, ids=[each.name for each in DECLARED])
def test_what_can_be_chosen_is_said_beside_the_setting(each: dataclasses.Field[Any]) -> None:
    others = {*each.metadata["choices"]} - {each.default}  # which stands there anyway
    assert all(choice in each.metadata["reason"] for choice in others)


@pytest.mark.parametrize("name", CHOICES)
def test_a_choice_is_told_all_of_them(name: str) -> None:
    text = refused(**{name: "something else"})
    assert all(choice in text for choice in FIELDS[name].metadata["choices"])


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"port": 65536}, "at most 65535"),
        ({"prefetch": 0}, "at least 1"),
        ({"host": ""}, "host must not be empty"),  # to Twisted that is every address
        ({"data": ""}, "data must not be empty"),
        ({"prot": 1}, "unknown setting 'prot'; there are: "),
        ({"port ": 1}, "unknown setting"),
        ({"Port": 1}, "unknown setting"),
        ({"dialect": "openwire"}, "must be one of activemq, rabbitmq, strict"),
        ({"error_policy": "no"}, 'must be one of "", activemq, strict'),
    ],
)
def test_what_else_cannot_be(values: dict[str, Any], reason: str) -> None:
    assert reason in refused(**values)


def test_a_list_of_texts() -> None:
    """And of nothing else; what is wrong with it is said without showing it, for it may hold a passcode."""
    assert read_options('auth = ["unix", "memory:a:b"]', "x").auth == ("unix", "memory:a:b")
    for value in ("memory:alice:12345", ["unix", 12345], {"a": 12345}):
        assert "12345" not in refused(auth=value)


def test_no_passcode_is_shown() -> None:
    options = read_options(
        'name = "a"\nauth = ["memory:alice:12345"]\n[peer.b]\npasscode = "12345"', "x"
    )
    assert "12345" not in repr(options)


def test_an_unknown_setting_is_told_the_nearest() -> None:
    """There are too many for one line."""
    text = refused(max_conections=5)
    assert "; there are: max_connections, " in text
    assert "`hoofbeat settings` prints all" in text
    assert len(text) < 200


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


def test_a_setting_of_destinations_is_told_its_section() -> None:
    said = refused_file('dead_letter_queue = "dead"')
    assert said == (
        'hoof.toml: dead_letter_queue stands in a section, [destination.">"] for all destinations'
    )


def test_a_table_is_no_setting() -> None:
    reason = refused_file("[broker]\nport = 1")
    assert "unknown section [broker]; there are: composite, destination, listener" in reason


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


# --- sections: what a file says about destinations -------------------------------------------------


def test_sections_of_destinations_keep_their_order() -> None:
    options = read_options(
        """
        port = 0
        [destination.">"]
        prefetch = 10
        redelivery_delay = 2
        [destination."orders.>"]
        at_limit = "drop-oldest"
        [destination."/queue/orders.urgent"]
        prefetch = 1
        exclusive = true
        """,
        "hoof.toml",
    )
    assert options.port == 0
    assert options.policies == (
        (">", {"prefetch": 10, "redelivery_delay": 2.0}),
        ("orders.>", {"at_limit": "drop-oldest"}),
        ("/queue/orders.urgent", {"prefetch": 1, "exclusive": True}),
    )
    policies = Policies(options.policies)
    assert policies.for_queue("orders.urgent") == Policy(
        prefetch=1, exclusive=True, at_limit="drop-oldest", redelivery_delay=2.0
    )
    assert policies.for_topic("orders.urgent").prefetch == 10


@pytest.mark.parametrize("name", sorted(POLICY))
def test_a_destination_may_say_every_setting(name: str) -> None:
    text = f'[destination."a"]\n{name} = {json.dumps(POLICY[name].default)}'
    assert read_options(text, "hoof.toml").policies == (("a", {name: POLICY[name].default}),)


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("/queue/dead", "dead"),
        ("dead", "dead"),
        ("", ""),
        ("/queue/{name}.dead", "{name}.dead"),
    ],
)
def test_a_dead_letter_queue_is_named_as_operators_like(written: str, name: str) -> None:
    text = f'[destination."a"]\ndead_letter_queue = "{written}"'
    policies = Policies(read_options(text, "hoof.toml").policies)
    assert policies.for_queue("a").dead_letter_queue == name


#: A file, and the beginning and a part of what is said about it.
WRONG_DESTINATIONS = [
    ("destination = 5", "destination", 'must stand in a section [destination."orders.>"]'),
    ("[destination]\nprefetch = 5", "prefetch", 'must stand in a section [destination."orders.>"]'),
    ("[[destination]]\nprefetch = 5", "destination", "must stand in a section"),
    (
        "[destination.orders.new]\nprefetch = 5",
        '[destination."orders"]',
        'a name with dots stands in quotes: [destination."orders.new"]',
    ),
    ('[destination."a"]\nspeed = 5', '[destination."a"]', "unknown setting 'speed'; there are: "),
    ('[destination."a"]\nport = 5', '[destination."a"]', "unknown setting 'port'"),
    ('[destination."a"]\nprefetch = "5"', '[destination."a"]', "prefetch must be a whole number"),
    ('[destination."a"]\nprefetch = -1', '[destination."a"]', "prefetch must not be negative"),
    ('[destination."a"]\nexclusive = 1', '[destination."a"]', "exclusive must be true or false"),
    (
        '[destination."a"]\nat_limit = "page"',
        '[destination."a"]',
        "at_limit must be one of block, error, drop-oldest, not 'page'",
    ),
    (
        '[destination."a"]\nmax_redeliveries = -2',
        '[destination."a"]',
        "max_redeliveries must be at least -1",
    ),
    (
        '[destination."a"]\nredelivery_backoff = 0.5',
        '[destination."a"]',
        "redelivery_backoff must be at least 1",
    ),
    (
        '[destination."a"]\nredelivery_backoff = 1000',
        '[destination."a"]',
        "redelivery_backoff must be at most 100",
    ),
    ('[destination."a"]\ndedup_seconds = inf', '[destination."a"]', "must be finite"),
    *(
        (f"[destination.\"a\"]\ndead_letter_queue = '{name}'", '[destination."a"]', reason)
        for name, reason in [
            ("/topic/dead", "dead_letter_queue must name one queue, not '/topic/dead'"),
            ("/temp-queue/dead", "must name one queue"),
            ("/queu/dead", "must name one queue"),
            ("a,b", "must name one queue"),
            ("dead.>", "must name one queue"),
            ("{queue}.dead", "only {name} is put in its place"),
            ("{name}}", "only {name} is put in its place"),
        ]
    ),
    *(
        (f"[destination.'{pattern}']\nprefetch = 5", f'[destination."{pattern}"]', reason)
        for pattern, reason in [
            ("", "a pattern reads"),
            ("/queue/", "a pattern reads"),
            (" a", "a pattern reads"),
            ("a,b", "a section has one pattern"),
            ("/temp-queue/a", "temporary destinations have no settings"),
            ("/queu/a", "what begins with a slash begins with /queue/ or /topic/"),
            ("/Topic/>", "what begins with a slash begins with /queue/ or /topic/"),
            ("orders*", "* stands for one whole element"),
            ("orders.new>", "> for the rest at the end"),
            ("a.>.b", "> for the rest at the end"),
            ("/topic/a.**", "* stands for one whole element"),
        ]
    ),
]


@pytest.mark.parametrize(("text", "where", "reason"), WRONG_DESTINATIONS)
def test_what_a_destination_cannot_be(text: str, where: str, reason: str) -> None:
    said = refused_file(text)
    assert said.startswith(f"hoof.toml: {where}")
    assert reason in said


# --- sections: composite destinations --------------------------------------------------------------


def test_composites_as_they_are_written() -> None:
    options = read_options(
        """
        [composite."/queue/orders"]
        forward_to = ["/queue/billing", "/topic/orders.new"]
        filters = { "/queue/billing" = "amount > 100" }
        [composite."/topic/all"]
        forward_to = ["/queue/orders"]
        forward_only = false
        """,
        "hoof.toml",
    )
    assert options.composites == (
        CompositeRule(
            "/queue/orders",
            ("/queue/billing", "/topic/orders.new"),
            True,
            {"/queue/billing": "amount > 100"},
        ),
        CompositeRule("/topic/all", ("/queue/orders",), False, {}),
    )


def composite(destination: str = "/queue/a", **table: Any) -> str:
    """Return a section; what is not said is right."""
    lines = {"forward_to": ["/queue/b"]} | table
    said = "".join(f"{name} = {json.dumps(value)}\n" for name, value in lines.items())
    return f'[composite."{destination}"]\n{said}'


A = '[composite."/queue/a"]'
#: A file, and the beginning and a part of what is said about it.
WRONG_COMPOSITES = [
    ("composite = 5", "composite", 'must stand in a section [composite."/queue/orders"]'),
    ("[composite]\nforward_to = []", "forward_to", "must stand in a section"),
    (composite("a"), '[composite."a"]', "a destination reads /queue/NAME or /topic/NAME, not 'a'"),
    (composite("/queue/"), '[composite."/queue/"]', "a destination reads"),
    (composite("/queue/a.>"), '[composite."/queue/a.>"]', "a destination reads"),
    (composite("/queue/a,/queue/b"), "[composite.", "a destination reads"),
    (composite("/temp-queue/a"), "[composite.", "a destination reads"),
    (
        composite(speed=1),
        A,
        "unknown setting 'speed'; there are: filters, forward_only, forward_to",
    ),
    ('[composite."/queue/a"]', A, "forward_to must be a list of destinations"),
    (composite(forward_to=[]), A, "forward_to must be a list of destinations"),
    (composite(forward_to="/queue/b"), A, "forward_to must be a list of destinations"),
    (composite(forward_to=[1]), A, "forward_to must be a list of destinations"),
    (composite(forward_to=["b"]), A, "forward_to: a destination reads"),
    (composite(forward_to=["/queue/*"]), A, "forward_to: a destination reads"),
    (composite(forward_to=["/queue/b", "/queue/b"]), A, "names a destination twice"),
    (composite(forward_only=1), A, "forward_only must be true or false, not 1"),
    (composite(filters="a = 1"), A, "filters must be a table of selectors"),
    (composite() + 'filters = { "/queue/b" = 1 }', A, "filters must be a table of selectors"),
    (
        composite() + 'filters = { "/queue/c" = "a = 1" }',
        A,
        "'/queue/c', which is not in forward_to",
    ),
    (
        composite() + 'filters = { "/queue/b" = "amount >" }',
        A,
        "filters: /queue/b: Invalid selector: expected a value at character 9",
    ),
    (
        composite() + 'filters = { "/queue/b" = "XPATH a" }',
        A,
        "filters: /queue/b: Invalid selector",
    ),
    (composite(forward_to=["/queue/a"]), "composites", "forward in a ring: /queue/a to /queue/a"),
    (
        composite(forward_to=["/queue/b"]) + composite("/queue/b", forward_to=["/queue/a"]),
        "composites forward in a ring: ",
        "/queue/a to /queue/b",
    ),
]


@pytest.mark.parametrize(("text", "where", "reason"), WRONG_COMPOSITES)
def test_what_a_composite_cannot_be(text: str, where: str, reason: str) -> None:
    said = refused_file(text)
    assert said.startswith(f"hoof.toml: {where}")
    assert reason in said


# --- sections: listeners ---------------------------------------------------------------------------


def test_the_plain_settings_are_the_first_listener() -> None:
    options = read_options(
        """
        port = 1
        dialect = "strict"
        [[listener]]
        port = 2
        dialect = "rabbitmq"
        [[listener]]
        host = "::1"
        """,
        "hoof.toml",
    )
    options = change_options(options, {"port": 0, "host": "0.0.0.0"}, "command line")
    assert options.listeners == (
        Listener("0.0.0.0", 0, 4096, "strict"),
        Listener("127.0.0.1", 2, 4096, "rabbitmq"),
        Listener("::1", 61614, 4096, "activemq"),
    )
    assert Options().listeners == (Listener("127.0.0.1", 61613, 4096, "activemq"),)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[listener]\nport = 1", "listeners stand in sections [[listener]], in two brackets"),
        ("listener = 1", "listeners stand in sections [[listener]]"),
        ("listener = [1]", "listeners stand in sections [[listener]]"),
        ("[[listener]]\n[[listener]]\nspeed = 1", "[[listener]] 2: unknown setting 'speed'"),
        ("[[listener]]\nport = 65536", "[[listener]] 1: port must be at most 65535"),
        ("[[listener]]\nport = '1'", "[[listener]] 1: port must be a whole number"),
        ("[[listener]]\ntls_key = 'a'", "[[listener]] 1: tls_key needs tls_certificate beside it"),
        ("tls_certificate = 'a'", "hoof.toml: tls_certificate needs tls_key beside it"),
        ("[[listener]]\ndialect = 'jms'", "[[listener]] 1: dialect must be one of activemq, "),
    ],
)
def test_what_a_listener_cannot_be(text: str, reason: str) -> None:
    assert reason in refused_file(text)


# --- the printed file ------------------------------------------------------------------------------


def test_the_examples_of_the_settings_file_say_every_default() -> None:
    """Without the signs before them they are sections that say what holds anyway."""
    lines = settings_file().splitlines()
    text = "\n".join(line.removeprefix("#") for line in lines if not line.startswith("# "))
    text = text.replace('passcode = ""', 'passcode = "secret"')  # it has no default
    options = read_options(text.replace('name = ""', 'name = "here"', 1), "hoof.toml")
    ((pattern, changes),) = options.policies
    assert (pattern, Policy(**changes)) == ("orders.>", Policy())
    assert list(changes) == list(POLICY)
    assert options.more_listeners == (Listener(),)
    (rule,) = options.composites
    assert (rule.forward_only, bool(rule.filters)) == (True, True)
    assert options.peers == (PeerSection("NAME", passcode="secret"),)
    assert options.virtual_hosts == (("NAME", {"names": "", "people": "*", "store": ""}),)
    ((pattern, people),) = options.rights
    assert (pattern, list(people)) == (
        "orders.>",
        ["read", "write", "create", "browse", "administer"],
    )
    assert Options(name="here") == dataclasses.replace(
        options,
        policies=(),
        rights=(),
        composites=(),
        more_listeners=(),
        peers=(),
        virtual_hosts=(),
    )


@pytest.mark.parametrize(
    "each", [*POLICY.values(), *LISTENER.values(), *PEER.values()], ids=lambda each: each.name
)
def test_the_examples_of_the_settings_file_say_why(each: dataclasses.Field[Any]) -> None:
    lines = settings_file().splitlines()
    comments = [
        before for before, line in itertools.pairwise(lines) if line.startswith(f"#{each.name} = ")
    ]
    assert comments
    assert each.metadata["reason"] in comments[-1] or each.metadata["reason"] in comments[0]


def test_a_file_that_says_nothing_of_sections_leaves_them() -> None:
    base = read_options("[destination.a]\nprefetch = 1\n[[listener]]", "hoof.toml")
    options = read_options("port = 1", "other.toml", base)
    assert (options.policies, options.more_listeners) == (base.policies, base.more_listeners)
    assert options.port == 1


# --- dialects --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(DIALECTS))
@pytest.mark.parametrize(
    ("setting", "value"),
    [("error_policy", "strict"), ("undefined_escapes", "error"), ("server_header", "mine")],
)
def test_an_operator_may_want_otherwise_than_the_dialect(
    name: str, setting: str, value: str
) -> None:
    """On all listeners; what is not said is the dialect's."""
    options = change_options(Options(), {setting: value}, "here")
    assert options.dialect_named(name) == dataclasses.replace(DIALECTS[name], **{setting: value})  # type: ignore[arg-type]
    assert Options().dialect_named(name) == DIALECTS[name]


# --- peers -----------------------------------------------------------------------------------------

NAMED = 'name = "here"\n'


def test_a_peer_is_another_broker_with_a_name_and_a_passcode() -> None:
    text = NAMED + '[peer.there]\nurl = "stomp+ssl://there.example:61614"\npasscode = "secret"\n'
    (peer,) = read_options(text, "hoof.toml").peers
    assert (peer.name, peer.url, peer.passcode) == (
        "there",
        "stomp+ssl://there.example:61614",
        "secret",
    )
    assert (peer.send, peer.accept) == (">", ">")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('[peer.there]\npasscode = "s"', "name must say what peers call this broker"),
        ('name = "a b"', "name must say what peers call this broker"),
        (NAMED + '[peer.here]\npasscode = "s"', "that is this broker's own name"),
        (NAMED + "[peer.there]", "[peer.there]: passcode is missing"),
        (NAMED + '[peer."a/b"]\npasscode = "s"', "a name has 1 to 64 letters"),
        (NAMED + '[peer.there]\npasscode = "s"\nurl = "there:1"', "url reads stomp://HOST:PORT"),
        (NAMED + '[peer.there]\npasscode = "s"\nurl = "stomp://"', "url reads stomp://HOST:PORT"),
        (NAMED + '[peer.there]\npasscode = "s"\nurl = "stomp://a:b@c"', "url reads stomp://HOST"),
        (NAMED + '[peer.there]\npasscode = "s"\nwindow = 0', "window must be at least 1"),
        (NAMED + '[peer.there]\npasscode = "s"\nuri = ""', "unknown setting 'uri'"),
        (NAMED + "peer = 1", "peer must stand in a section [peer.NAME]"),
    ],
)
def test_a_peer_that_cannot_be_is_refused_in_one_line(text: str, complaint: str) -> None:
    with pytest.raises(OptionsError) as error:
        read_options(text, "hoof.toml")
    assert complaint in str(error.value)
    assert "\n" not in str(error.value)


# --- virtual hosts ---------------------------------------------------------------------------------

HOSTS = """
name = "here"
prefetch = 5
max_body = 100
people = "@staff"
[destination.">"]
max_messages = 1
[composite."/queue/a"]
forward_to = ["/queue/b"]
[peer.far]
passcode = "x"
[virtual_host.shop]
prefetch = 7
names = "shop.example.com"
[virtual_host.shop.destination."orders.>"]
max_messages = 2
[virtual_host.shop.composite."/queue/c"]
forward_to = ["/queue/d"]
[virtual_host.shop.peer.near]
passcode = "y"
[virtual_host."b.example"]
people = "*"
"""


def test_a_virtual_host_says_what_differs() -> None:
    """All else is as at the top, but composites and peers are of one host only, and so are names."""
    options = read_options(HOSTS, "hoof.toml")
    assert [*options.hosts] == ["shop", "b.example"]
    shop, other = options.hosts.values()
    assert (shop.virtual_host, shop.prefetch, shop.max_body) == ("shop", 7, 100)
    assert (shop.names, shop.people) == ("shop.example.com", "@staff")
    # The later one wins: that of the host.
    assert [pattern for pattern, _ in shop.policies] == [">", "orders.>"]
    assert [rule.destination for rule in shop.composites] == ["/queue/c"]
    assert [peer.name for peer in shop.peers] == ["near"]
    assert (other.prefetch, other.names, other.people) == (5, "", "*")
    assert (other.policies, other.composites, other.peers) == (options.policies, (), ())
    assert shop.hosts == other.hosts == {}


@pytest.mark.parametrize(
    ("flags", "stores"),
    [
        ({}, ["lmdb:./data/virtual_hosts/a", "memory:"]),
        ({"data": "/srv"}, ["lmdb:/srv/virtual_hosts/a", "memory:"]),
        ({"store": "lmdb:/srv/store"}, ["lmdb:/srv/store/virtual_hosts/a", "memory:"]),
        ({"store": "sqlite:x.db"}, ["sqlite:x.db.virtual_hosts/a.db", "memory:"]),
        ({"store": "memory:"}, ["memory:", "memory:"]),
    ],
)
def test_where_a_virtual_host_has_its_store(flags: dict[str, str], stores: list[str]) -> None:
    """Beside that of the broker, wherever the command line puts that, unless its section says where."""
    text = '[virtual_host.a]\n[virtual_host.b]\nstore = "memory:"'
    options = change_options(read_options(text, "hoof.toml"), flags, "command line")
    assert [host.store_url for host in options.hosts.values()] == stores


def test_where_a_store_of_another_driver_is_must_be_said() -> None:
    options = read_options('store = "raft:x"\n[virtual_host.a]', "hoof.toml")
    with pytest.raises(OptionsError, match=r"^\[virtual_host\.a\]: store is missing: .* raft "):
        options.hosts  # noqa: B018  # it is asked


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("virtual_host = 1", "virtual hosts stand in sections [virtual_host.NAME]"),
        ("[virtual_host]\nnames = 'a'", "virtual hosts stand in sections [virtual_host.NAME]"),
        ("[[virtual_host]]\nnames = 'a'", "virtual hosts stand in sections [virtual_host.NAME]"),
        ("[virtual_host.'a/b']", "[virtual_host.a/b]: a name has 1 to 64 letters, digits"),
        ("[virtual_host.'..']", "[virtual_host...]: a name has 1 to 64 letters, digits"),
        ("[virtual_host.'']", "[virtual_host.]: a name has 1 to 64 letters, digits"),
        ("[virtual_host.a]\nport = 1", "[virtual_host.a]: port is the whole broker's and stands"),
        ("[virtual_host.a]\nunknown_host = 'refuse'", "unknown_host is the whole broker's"),
        ("[virtual_host.a]\nprefetsch = 1", "[virtual_host.a]: unknown setting 'prefetsch'; there"),
        ("[virtual_host.a]\nprefetch = 0", "[virtual_host.a]: prefetch must be at least 1"),
        (
            "[virtual_host.a.listener]",
            "[virtual_host.a]: unknown section [listener]; there are: com",
        ),
        ("[[virtual_host.a.listener]]", "[virtual_host.a]: unknown section [listener]"),
        ("[virtual_host.a.virtual_host.b]", "unknown section [virtual_host]"),
        (
            "[virtual_host.b.example]",
            "unknown section [example]; there are: composite, destination",
        ),
        (
            "[virtual_host.a.destination.x]\nprefetsch = 1",
            "[virtual_host.a]: [destination.\"x\"]: unknown setting 'prefetsch'",
        ),
        ("[virtual_host.a]\n[virtual_host.A]", "[virtual_host.A]: 'A' means [virtual_host.a]"),
        (
            "[virtual_host.a]\nnames = 'x, B'\n[virtual_host.b]",
            "[virtual_host.b]: 'b' means [virtual_host.a] already",
        ),
        (
            "[virtual_host.a.peer.b]\npasscode = 'x'",
            "[virtual_host.a]: name must say what peers call this broker",
        ),
        (
            "name = 'b'\n[virtual_host.a.peer.b]\npasscode = 'x'",
            "[virtual_host.a]: [peer.b]: that is this broker's own name",
        ),
        (
            "\n".join(f"[virtual_host.a{number}]" for number in range(257)),
            "there may be 256 sections [virtual_host.NAME], not 257",
        ),
    ],
)
def test_virtual_hosts_that_cannot_be(text: str, reason: str) -> None:
    assert reason in refused_file(text)


def test_what_a_virtual_host_may_say_exists() -> None:
    assert set(NAMES) >= HOSTED
    assert {*EXAMPLE} <= HOSTED


def test_the_page_about_virtual_hosts() -> None:
    """It names all that one may say, and its example can be used."""
    page = (Path(__file__).parents[1] / "docs" / "security.md").read_text()
    part = page.partition("## Virtual hosts\n")[2].partition("\n## ")[0]
    assert {name for name in HOSTED if f"`{name}`" not in part} == set()
    [example] = re.findall(r"```toml\n(.*?)```", part, re.DOTALL)
    assert [*read_options(example, "docs/security.md").hosts] == ["shop", "bank"]
