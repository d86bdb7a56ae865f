"""The grammar of selectors: text in, tree out, or an error that says where and what would be right.

    or          := and (OR and)*
    and         := equality (AND equality)*
    equality    := comparison ( ('=' | '<>') comparison | IS [NOT] NULL )*
    comparison  := sum ( ('>' | '>=' | '<' | '<=') sum | [NOT] LIKE text [ESCAPE text]
                       | [NOT] BETWEEN sum AND sum | [NOT] IN '(' text (',' text)* ')' )*
    sum         := product (('+' | '-') product)*
    product     := unary (('*' | '/' | '%') unary)*
    unary       := ('+' | '-' | NOT) unary | function '(' sum (',' sum)* ')' | primary
    primary     := text | number | TRUE | FALSE | NULL | name | '(' or ')'

It is ActiveMQ's (`SelectorParser.jj`), with its odd place of NOT: `NOT a = 1` is `(NOT a) = 1`. What ActiveMQ
refuses when it has parsed, is refused here too: a text compared with `<`, a number joined with AND.

The parser descends, so it counts how deep: whatever its own stack and that of the evaluation must bear is
at most `DEPTH`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from broker.selector import tree
from broker.selector.errors import InvalidSelector, shown
from broker.selector.tokens import END, NAME, NUMBER, TEXT, Token, tokenize
from broker.selector.tree import Condition, Literal, Property, Tree
from broker.selector.values import INTEGERS

Made = TypeVar("Made", bound=Tree)

DEPTH = 20  # parentheses, signs, NOT and functions, one in another, and comparisons of conditions

ORDERINGS = frozenset((">", ">=", "<", "<="))

# Unsupported word → what to use instead.
REFUSED = {
    "XPATH": "This broker does not read bodies: put what you select by into a header.",
    "XQUERY": "This broker does not read bodies: put what you select by into a header.",
    "REGEX": "Use LIKE: % is any run of characters, _ any one. a LIKE 'x%' OR a LIKE '%y'.",
}
SPECIAL = frozenset(".[]{}()*+?^$|")  # in a regular expression
CONDITIONS = "A condition is a comparison, a bare property, TRUE or FALSE: a = 'x'."
FIRST_LIST = "Its first argument is a list: INLIST(MAKELIST('x', 'y'), a)."


def parse(text: str) -> Condition:
    """Return what a selector says. Raises `InvalidSelector`."""
    parser = Parser(tokenize(text))
    if parser.token.kind == END:
        raise InvalidSelector("it is empty", "Leave the header out to get every message.")
    start = parser.token
    selector = as_condition(parser.either(), start)
    if parser.token.kind != END:
        raise parser.unexpected("the end, AND or OR")
    return selector


class Parser:
    """Reads tokens from left to right; a method per rule of the grammar."""

    def __init__(self, tokens: list[Token]) -> None:
        self._tokens = tokens
        self._at = 0
        self._depth = 0  # how many of what DEPTH counts are open
        self._compared = 0  # conditions that were compared, anywhere
        self.token = tokens[0]  # the one to be read next

    # --- conditions -------------------------------------------------------------------------------

    def either(self) -> Tree:
        """Read conditions joined with OR, or any value: the whole, or what stands in parentheses."""
        return self._joined("OR", self._both, tree.Or)

    def _both(self) -> Tree:
        return self._joined("AND", self._equality, tree.And)

    def _joined(
        self,
        keyword: str,
        rule: Callable[[], Tree],
        node: Callable[[tuple[Condition, ...]], Condition],
    ) -> Tree:
        start = self.token
        first = rule()
        if self.token.kind != keyword:
            return first
        parts = [as_condition(first, start)]
        while self._take(keyword):
            start = self.token
            parts.append(as_condition(rule(), start))
        return node(tuple(parts))

    def _equality(self) -> Tree:
        start = self.token
        left = self._comparison()
        while self.token.kind in ("=", "<>", "IS"):
            self._check_compared(left)
            sign = self._next()
            if sign.kind == "IS":
                opposite = self._take("NOT")
                self._need("NULL", "NULL or NOT NULL")
                left = _unless(tree.IsNull(left), opposite)
            else:
                second = self.token
                right = self._comparison()
                _check_equal(left, start)
                _check_equal(right, second)
                if isinstance(left, Literal) and isinstance(right, Literal):
                    _check_literals(left, right, start)
                left = tree.Comparison(sign.kind, left, right)
        return left

    def _comparison(self) -> Tree:
        start = self.token
        left = self._sum()
        while True:
            opposite = self._take("NOT")
            kind = self.token.kind
            if kind in COMPARING:
                self._check_compared(left)
                left = COMPARING[kind](self, left, start, opposite)
            elif opposite:
                raise self.unexpected("LIKE, IN or BETWEEN after NOT")
            elif kind in ORDERINGS:
                _check_ordered(left, start)
                self._next()
                left = tree.Comparison(kind, left, self._ordered())
            else:
                return left

    def _ordered(self) -> Tree:
        start = self.token
        operand = self._sum()
        _check_ordered(operand, start)
        return operand

    def _like(self, left: Tree, start: Token, opposite: bool) -> Condition:
        self._next()
        pattern = self._text()
        escape = ""
        if self._take("ESCAPE"):
            at = self.token.position
            escape = self._text()
            if len(escape) != 1:
                raise InvalidSelector(
                    f"ESCAPE at character {at} takes exactly one character, not {shown(escape)}",
                    r"a LIKE '100\%' ESCAPE '\'",
                )
        return _unless(tree.Like(left, pattern, escape), opposite)

    def _between(self, left: Tree, start: Token, opposite: bool) -> Condition:
        self._next()
        _check_ordered(left, start)
        low = self._ordered()
        self._need("AND", "AND and the upper bound")
        return tree.Between(left, low, self._ordered(), opposite)

    def _in(self, left: Tree, start: Token, opposite: bool) -> Condition:
        if not isinstance(left, Property):
            raise InvalidSelector(
                f"IN at character {self.token.position} needs a property before it",
                "a IN ('x', 'y'), or a NOT IN ('x', 'y').",
            )
        self._next()
        self._need("(", "( and a list of texts")
        choices = [self._text()]
        while self._take(","):
            choices.append(self._text())
        self._need(")", "',' or ')'")
        return _unless(tree.In(left, frozenset(choices)), opposite)

    # --- values -----------------------------------------------------------------------------------

    def _sum(self) -> Tree:
        return self._steps(("+", "-"), self._product)

    def _product(self) -> Tree:
        return self._steps(("*", "/", "%"), self._unary)

    def _steps(self, signs: tuple[str, ...], rule: Callable[[], Tree]) -> Tree:
        first = rule()
        steps = []
        while self.token.kind in signs:
            sign = self._next().kind
            steps.append(tree.Step(sign, rule()))
        return tree.Arithmetic(first, tuple(steps)) if steps else first

    def _unary(self) -> Tree:
        kind = self.token.kind
        if kind in REFUSED:
            raise _refused(self.token)
        if kind not in ("+", "-", "NOT"):
            return self._primary()
        self._next()
        self._enter()
        start = self.token
        if kind == "-" and isinstance(start.value, int | float):
            self._next()
            operand: Tree = Literal(-start.value)  # the smallest integer has no positive twin
        else:
            operand = self._unary()
            if kind == "NOT":
                operand = tree.Not(as_condition(operand, start))
            elif kind == "-":
                operand = tree.Negation(operand)
        self._leave()
        return operand

    def _primary(self) -> Tree:
        token = self.token
        if token.kind not in (TEXT, NUMBER, NAME, "TRUE", "FALSE", "NULL", "("):
            raise self.unexpected("a value")
        self._next()
        if token.kind == NAME:
            if self.token.kind == "(":
                return self._function(token)
            return Property(str(token.value))
        if token.kind == "(":
            self._enter()
            inner = self.either()
            self._need(")", "')'")
            self._leave()
            return inner
        if isinstance(token.value, int) and token.value not in INTEGERS:
            raise InvalidSelector(
                f"the number {shown(token.source)} at character {token.position} is too large",
                "An integer has 64 bits; a larger number: 1E20.",
            )
        return Literal(CONSTANTS.get(token.kind, token.value))

    # --- functions --------------------------------------------------------------------------------

    def _function(self, name: Token) -> Tree:
        if name.source in REFUSED:
            raise _refused(name)
        read = FUNCTIONS.get(name.source)
        if read is None:
            what = "makes a list, which only INLIST takes" if name.source in LISTS else "is unknown"
            raise InvalidSelector(
                f"the function {shown(name.source)} at character {name.position} {what}",
                "There are INLIST(MAKELIST('x', 'y'), a), INLIST(SPLIT(a, ','), 'x') and "
                "REPLACE(a, 'x', 'y'), all in capitals.",
            )
        return self._called(read)

    def _called(self, read: Callable[[Parser], Made]) -> Made:
        """Read the arguments, parentheses included."""
        self._enter()
        self._need("(", "'('")
        call = read(self)
        self._need(")", "')'")
        self._leave()
        return call

    def _inlist(self) -> Tree:
        read = LISTS.get(self.token.source)
        if read is None:
            raise self.unexpected("MAKELIST or SPLIT", FIRST_LIST)
        self._next()
        choices = self._called(read)
        self._need(",", "',' and what may be in the list")
        return tree.InList(choices, self._sum())

    def _makelist(self) -> tree.MakeList:
        items = [self._sum()]
        while self._take(","):
            items.append(self._sum())
        return tree.MakeList(tuple(items))

    def _split(self) -> tree.Split:
        of = self._sum()
        self._need(",", "',' and a separator")
        separator = self._plain(SPECIAL)
        limit = 0
        if self._take(","):
            start = self.token
            third = self._sum()
            if not isinstance(third, Literal) or type(third.value) is not int:
                raise InvalidSelector(
                    f"SPLIT at character {start.position} takes an integer",
                    "SPLIT(a, ',', 2) makes two parts at most.",
                )
            limit = third.value
        return tree.Split(of, separator, limit)

    def _replace(self) -> Tree:
        of = self._sum()
        self._need(",", "',' and what is to be replaced")
        old = self._plain(SPECIAL)
        self._need(",", "',' and what replaces it")
        return tree.Replace(of, old, self._plain(frozenset("$"), may_be_empty=True))

    def _plain(self, special: frozenset[str], *, may_be_empty: bool = False) -> str:
        """Read a text that ActiveMQ takes for a regular expression, if it means only itself there."""
        start = self.token
        text = self._text()
        plain = []
        characters = iter(text)
        for character in characters:
            if character == "\\":
                character = next(characters, "")
                if not character or character.isalnum():
                    break
            elif character in special:
                break
            plain.append(character)
        else:
            if plain or may_be_empty:
                return "".join(plain)
        raise InvalidSelector(
            f"{shown(start.source)} at character {start.position} is a regular expression",
            r"Only plain text is taken here, not empty; \ before . | * and the like: '\|'.",
        )

    # --- tokens -----------------------------------------------------------------------------------

    def _next(self) -> Token:
        token = self.token
        self._at += 1
        self.token = self._tokens[self._at]
        return token

    def _take(self, kind: str) -> bool:
        if self.token.kind != kind:
            return False
        self._next()
        return True

    def _need(self, kind: str, expected: str) -> None:
        if not self._take(kind):
            raise self.unexpected(expected)

    def _text(self) -> str:
        if self.token.kind != TEXT:
            raise self.unexpected("a text such as 'x'")
        return str(self._next().value)

    def unexpected(self, expected: str, hint: str = "") -> InvalidSelector:
        """Return the error that `expected` does not stand where it should."""
        token = self.token
        found = token.source if token.kind == END else shown(token.source)
        return InvalidSelector(
            f"expected {expected} at character {token.position}, found {found}",
            hint or HINTS.get(token.kind, ""),
        )

    # --- depth ------------------------------------------------------------------------------------

    def _enter(self) -> None:
        self._depth += 1
        self._check_depth(self._depth)

    def _leave(self) -> None:
        self._depth -= 1

    def _check_compared(self, left: Tree) -> None:
        """Count a condition that is compared itself: `a = b = c` is as deep as `(a = b) = c`."""
        if isinstance(left, Condition):
            self._compared += 1
            self._check_depth(self._depth + self._compared)

    def _check_depth(self, depth: int) -> None:
        if depth > DEPTH:
            raise InvalidSelector(
                f"it is nested deeper than {DEPTH} at character {self.token.position}",
                "AND, OR, + and * may stand in a row without parentheses.",
            )


CONSTANTS = {"TRUE": True, "FALSE": False, "NULL": None}

COMPARING = {"LIKE": Parser._like, "BETWEEN": Parser._between, "IN": Parser._in}
LISTS: dict[str, Callable[[Parser], tree.MakeList | tree.Split]] = {
    "MAKELIST": Parser._makelist,
    "SPLIT": Parser._split,
}
FUNCTIONS: dict[str, Callable[[Parser], Tree]] = {
    "INLIST": Parser._inlist,
    "REPLACE": Parser._replace,
}

# What stands where it should not → what may have been meant.
HINTS = {
    "=": "Equal is =, unequal <>, and >= and <= are written so.",
    ">": "Unequal is <>, not less >=.",
    TEXT: "A text is compared: a = 'x', a LIKE 'x%', a IN ('x', 'y').",
    NAME: 'A name with - or . or blanks is written in quotes: "my-header" = 1.',
}


def as_condition(node: Tree, start: Token) -> Condition:
    """Return a node where a condition is wanted. `start`: its first token."""
    if isinstance(node, Condition):
        return node
    if isinstance(node, Property) or (
        isinstance(node, Literal) and (node.value is None or isinstance(node.value, bool))
    ):
        return tree.Cast(node)
    raise InvalidSelector(
        f"{shown(start.source)} at character {start.position} begins no condition", CONDITIONS
    )


def _unless(condition: Condition, opposite: bool) -> Condition:
    return tree.Not(condition) if opposite else condition


def _refused(token: Token) -> InvalidSelector:
    return InvalidSelector(
        f"{token.source.upper()} at character {token.position} is not supported",
        REFUSED[token.source.upper()],
    )


def _check_equal(operand: Tree, start: Token) -> None:
    if isinstance(operand, Literal) and operand.value is None:
        raise InvalidSelector(
            f"NULL at character {start.position} cannot be compared", "a IS NULL, a IS NOT NULL."
        )


def _check_literals(left: Literal, right: Literal, start: Token) -> None:
    if isinstance(left.value, bool) and not isinstance(right.value, bool):
        raise InvalidSelector(
            f"{start.kind} at character {start.position} is compared with another type",
            "A property is compared: a = TRUE.",
        )


def _check_ordered(operand: Tree, start: Token) -> None:
    """Refuse what ActiveMQ does: only numbers, properties and arithmetic are in an order."""
    if isinstance(operand, Condition):
        raise InvalidSelector(
            f"the condition that begins at character {start.position} is no number",
            "1 < a AND a < 5. NOT needs parentheses: NOT (a > 1).",
        )
    if isinstance(operand, Literal) and type(operand.value) not in (int, float):
        raise InvalidSelector(
            f"{shown(start.source)} at character {start.position} is no number",
            "<, <=, >, >= and BETWEEN compare numbers; texts are compared by =, <>, LIKE and IN.",
        )
