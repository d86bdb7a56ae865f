"""A broker's URL."""

import pytest

from rpc.address import Address, Tls, parse_address


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
        ("stomp+ssl://h", Address("h", tls=Tls())),
        ("stomp+ssl://me:x@h:7/shop", Address("h", 7, "me", "x", "shop", Tls())),
        ("stomp+ssl://h?tls_authorities=a/b.pem", Address("h", tls=Tls("a/b.pem"))),
        ("stomp+ssl://h/v?tls_certificate=c", Address("h", vhost="v", tls=Tls("", "c"))),
        (
            "stomp+ssl://h?tls_key=k%26%3F%23+k&tls_certificate=c&tls_authorities=/a",
            Address("h", tls=Tls("/a", "c", "k&?#+k")),
        ),
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
        "stomps://h",
        "stomp+ssl://",
        "stomp+ssl://h/a/b",
        "stomp+ssl://h#x",
    ],
)
def test_anything_else_says_what_would_be_right(url: str) -> None:
    with pytest.raises(ValueError, match=r"stomp://\[login:passcode@\]host\[:61613\]\[/vhost\]"):
        parse_address(url)


@pytest.mark.parametrize(
    ("url", "wrong"),
    [
        ("stomp://h?tls_authorities=a", "only stomp\\+ssl:// has"),
        ("stomp+ssl://h?verify=no", "no 'verify' in a query"),
        ("stomp+ssl://h?TLS_KEY=k", "no 'TLS_KEY' in a query"),
        ("stomp+ssl://h?tls_authorities=a&", "no '' in a query"),
        ("stomp+ssl://h?tls_authorities=a&tls_authorities=b", "two of tls_authorities"),
        ("stomp+ssl://h?tls_authorities=", "tls_authorities names no file"),
        ("stomp+ssl://h?tls_authorities", "tls_authorities names no file"),
        ("stomp+ssl://h?tls_key=k", "tls_key without its tls_certificate"),
    ],
)
def test_a_wrong_query_is_told(url: str, wrong: str) -> None:
    right = r"stomp\+ssl://… with \[\?tls_authorities=FILE&tls_certificate=FILE&tls_key=FILE\]"
    with pytest.raises(ValueError, match=f"{wrong}.*{right}"):
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
