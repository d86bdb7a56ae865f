"""A broker's URL."""

import pytest

from rpc.address import Address, parse_address


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("stomp://127.0.0.1", Address("127.0.0.1")),
        ("stomp://127.0.0.1:61613", Address("127.0.0.1", 61613)),
        ("stomp://broker.example:7000/", Address("broker.example", 7000)),
        ("stomp://h/shop", Address("h", vhost="shop")),
        ("stomp://h/%2Fshop", Address("h", vhost="/shop")),
        ("stomp://me:se%3Acret@h", Address("h", login="me", passcode="se:cret")),
        ("stomp://me@h:1", Address("h", 1, login="me")),
        ("stomp://[::1]:61614", Address("::1", 61614)),
    ],
)
def test_read(url: str, address: Address) -> None:
    assert parse_address(url) == address


@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1:61613",
        "localhost",
        "http://h",
        "stomp:h",
        "stomp://",
        "stomp://:61613",
        "stomp://h:port",
        "stomp://h:99999",
        "stomp://h:0",
        "stomp://h/a/b",
        "stomp://h?x=1",
        "stomp://h#x",
        "stomp://[::1",
    ],
)
def test_anything_else_says_what_would_be_right(url: str) -> None:
    with pytest.raises(ValueError, match=r"stomp://\[login:passcode@\]host\[:61613\]\[/vhost\]"):
        parse_address(url)


def test_a_passcode_is_never_shown() -> None:
    assert "secret" not in repr(parse_address("stomp://me:secret@h"))
    assert "secret" not in str(parse_address("stomp://me:secret@h"))
    with pytest.raises(ValueError) as raised:  # noqa: PT011  # the text is looked at below
        parse_address("http://me:secret@h")
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("host", "shown"), [("127.0.0.1", "127.0.0.1:61613"), ("::1", "[::1]:61613")]
)
def test_as_a_log_line_shows_it(host: str, shown: str) -> None:
    assert str(Address(host)) == shown
