"""Any selector over any message: the same answer as the slow, simple evaluator in `reference`.

And any text at all: it compiles or is refused as an `InvalidSelector`, nothing else.
"""

from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from broker.selector import InvalidSelector, Lookup, Value, compile_selector
from broker.selector.like import compile_like
from tests.selector.cases import CASES, INVALID
from tests.selector.reference import Message, Node, conditions, like, messages, texts, values, words

LONG = 100_000  # characters: how long the selector is, is not the question here

thoroughly = settings(max_examples=400, derandomize=True, database=None, deadline=None)


@thoroughly
@given(conditions, st.lists(messages, min_size=1, max_size=4))
def test_a_selector_means_what_the_reference_says(condition: Node, inbox: list[Message]) -> None:
    """TRUE selects; that it is FALSE, and that it is unknown, is asked by NOT and IS NULL."""
    text = condition.text()
    try:
        selector = compile_selector(text, LONG)
        opposite = compile_selector(f"NOT ({text})", LONG)
        unknown = compile_selector(f"({text}) IS NULL", LONG)
    except InvalidSelector as error:
        assume("deeper" not in error.text)
        raise
    for message in inbox:
        expected = condition.of(message)
        if expected:
            found = {name: message.get(name) for name in selector.texts}
            assert {n: v for n, v in found.items() if isinstance(v, str)}.items() <= (
                selector.texts.items()
            )
        assert selector.matches(message.get) is (expected is True)
        assert opposite.matches(message.get) is (expected is False)
        assert unknown.matches(message.get) is (expected is None)


@thoroughly
@given(
    st.text("ab_%", max_size=12),
    st.sampled_from(("", "a", "%", "_", "\\")),
    st.one_of(words, st.text("ab", max_size=30)),
)
@example("%a_%a_%_b%", "", "aaabaab")
@example("%_%_%", "", "a")
@example("a%a", "", "a")  # the beginning and the end may not overlap
@example("%ab%ab", "", "ab")
@example("%a__%bb", "", "abb")
def test_like_matches_what_trying_everything_matches(pattern: str, escape: str, text: str) -> None:
    assert compile_like(pattern, escape)(text) is like(text, pattern, escape)


PIECES = [
    *("a", "b", "a", "JMSPriority", '"x-y"', "`z`", "'x'", "'it''s'", "''", "'a%_'", "'\\'"),
    *("0", "5", "017", "0xFF", "1.5", ".5", "5E10", "5L", "9223372036854775808", "1E999", "09"),
    *("=", "<>", "<", "<=", ">", ">=", "+", "-", "*", "/", "%", "(", ")", "(", ")", ","),
    *("AND", "OR", "NOT", "IS", "NULL", "IS NULL", "IS NOT NULL", "TRUE", "FALSE", "LIKE"),
    *("ESCAPE '\\'", "BETWEEN", "IN", "IN ('x', 'y')", "BETWEEN 1 AND 2", "NOT LIKE", "NOT IN"),
    *("INLIST(", "MAKELIST(", "SPLIT(", "REPLACE(", "REGEX(", "XPATH 'x'", "XQUERY", "-- x\n"),
    *("/* x */", "/*", "--", "'", '"', "`", ".", "a.b", "!", "&", "\0", "é", "\ud800", "\n"),
    *("(" * 25, "NOT " * 25, "a = " * 25, "- " * 25, "INLIST(MAKELIST('x'), a)"),
]
MADE_OF_PIECES = st.lists(st.sampled_from(PIECES), max_size=14).map(" ".join)


@settings(thoroughly, max_examples=500)
@given(
    st.one_of(MADE_OF_PIECES, st.text(max_size=40), conditions.map(lambda c: c.text())),
    st.dictionaries(st.sampled_from(("a", "b", "JMSPriority", "x-y", "z")), values),
)
@example("(" * 5000, {})
@example("NOT " * 1000, {})
@example("- " * 1000 + "1 = a", {})
@example("a" + " + a" * 1000 + " = 1", {"a": "x"})
@example("a" + " OR a" * 1000, {})
@example("a" + " = a" * 1000, {})
@example("INLIST(MAKELIST(" * 100, {})
def test_any_text_compiles_or_is_refused(text: str, message: Message) -> None:
    try:
        selector = compile_selector(text, LONG)
    except InvalidSelector:
        return
    assert selector.matches(message.get) in (True, False)


ROWS_AND_INVALID = [
    *(row[0] for rows in CASES.values() for row in rows),
    *(selector for selector, _, _ in INVALID if len(selector) < LONG // 2),
]


@settings(thoroughly, max_examples=500)
@given(st.sampled_from(ROWS_AND_INVALID), st.integers(0, 60), texts, st.integers(0, 3))
def test_a_selector_with_a_slip_compiles_or_is_refused(
    text: str, at: int, slip: str, cut: int
) -> None:
    """What a user really writes, with something inserted or cut out."""
    try:
        selector = compile_selector(text[:at] + slip + text[at + cut :], LONG)
    except InvalidSelector:
        return

    def lookup(name: str) -> Value:
        return slip

    asked: Lookup = lookup
    assert selector.matches(asked) in (True, False)
