"""Arithmetic as a model writes it: numbers, + - * /, parentheses. A small parser with limits computes it exactly.

No names, no calls, no powers: nothing that an answer could make run, or make run long.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal, localcontext
from fractions import Fraction
from typing import TypeGuard

LENGTH = 400  # characters; the longest derivation of TAT-QA's dev and test_gold has 62
DEPTH = 40  # parentheses and signs inside each other
DIGITS = 20  # of one number


class Unreadable(ValueError):
    """A text that is no such equation, or one without a value; says why in a few words."""


@dataclass(frozen=True)
class Number:
    """Digits as they were written, without separators; `percent` where a % stood behind them."""

    digits: str
    percent: bool = False


@dataclass(frozen=True)
class Negative:
    """Minus `of`."""

    of: Equation


@dataclass(frozen=True)
class Operation:
    """`left` `sign` `right`, the sign one of + - * /."""

    sign: str
    left: Equation
    right: Equation


Equation = Number | Negative | Operation

_TOKEN = re.compile(r"\s*(?:(\d+(?:\.\d*)?|\.\d+)(\s*%)?|([-+*/()]))", re.ASCII)
_WIDE = {chr(0xFEE0 + code): chr(code) for code in range(0x21, 0x7F)} | {
    "\u3000": " "
}  # full-width forms, as Chinese text has them
_SAME = str.maketrans(
    _WIDE
    | {
        "−": "-",
        "–": "-",
        "—": "-",
        "‐": "-",
        "×": "*",
        "÷": "/",
        "[": "(",
        "]": ")",
        "{": "(",
        "}": ")",
        "$": " ",
        "£": " ",
        "€": " ",
        "¥": " ",
        "\u00a0": " ",
    }
)
_TIMES = re.compile(r"(?<=[\s)])[xX](?=[\s(])")
_THOUSANDS = re.compile(r"(?<![\d.,])[1-9]\d{0,2}(?:,\d{3})+(?![\d,])", re.ASCII)


def tidy(text: str) -> str:
    """One way of writing: signs, brackets, no currency, no separators between thousands."""
    return _THOUSANDS.sub(lambda found: found.group().replace(",", ""), _TIMES.sub("*", text.translate(_SAME))).strip()


def parse(text: str) -> Equation:
    """An equation's tree.

    Raises:
        Unreadable: something else than numbers, + - * / and parentheses, or over a limit.
    """
    if len(text) > LENGTH:
        raise Unreadable(f"{len(text)} characters, more than {LENGTH}")
    reader = _Reader(list(_tokens(text.rstrip())))
    tree = reader.sum(0)
    if reader.next is not None:
        raise Unreadable(f"{_shown(reader.next)!r} after the end")
    return tree


Token = Number | str


def _tokens(text: str) -> Iterator[Token]:
    at = 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if not found:
            raise Unreadable(f"{text[at : at + 12].strip()!r} is neither a number nor a sign")
        digits, percent, sign = found.groups()
        if digits and len(digits) > DIGITS:
            raise Unreadable(f"a number of {len(digits)} digits, more than {DIGITS}")
        whole, point, part = (digits or "").partition(".")
        yield sign or Number((whole or "0") + (point + part if part else ""), bool(percent))
        at = found.end()


def _shown(token: Token | None) -> str:
    return token.digits if isinstance(token, Number) else token or "the end"


class _Reader:
    """Recursive descent over tokens; `next` is the one not yet taken."""

    def __init__(self, tokens: list[Token]) -> None:
        self._rest = tokens[::-1]

    @property
    def next(self) -> Token | None:
        return self._rest[-1] if self._rest else None

    def sum(self, depth: int) -> Equation:
        tree = self._product(depth)
        while self.next in ("+", "-"):
            tree = Operation(str(self._rest.pop()), tree, self._product(depth))
        return tree

    def _product(self, depth: int) -> Equation:
        tree = self._signed(depth)
        while self.next in ("*", "/"):
            tree = Operation(str(self._rest.pop()), tree, self._signed(depth))
        return tree

    def _signed(self, depth: int) -> Equation:
        if depth > DEPTH:
            raise Unreadable(f"nested deeper than {DEPTH}")
        if self.next in ("-", "+"):
            sign, tree = self._rest.pop(), self._signed(depth + 1)
            return Negative(tree) if sign == "-" else tree
        token = self._rest.pop() if self._rest else None
        if isinstance(token, Number):
            return token
        if token != "(":
            raise Unreadable(f"a number was expected, found {_shown(token)!r}")
        tree = self.sum(depth + 1)
        if self.next != ")":
            raise Unreadable(f"a closing parenthesis was expected, found {_shown(self.next)!r}")
        self._rest.pop()
        return tree


def value(tree: Equation) -> Fraction:
    """The exact value of an equation.

    Raises:
        Unreadable: a division by zero.
    """
    if isinstance(tree, Number):
        return Fraction(tree.digits) / (100 if tree.percent else 1)
    if isinstance(tree, Negative):
        return -value(tree.of)
    left, right = value(tree.left), value(tree.right)
    if tree.sign == "/" and not right:
        raise Unreadable("a division by zero")
    return {"+": left.__add__, "-": left.__sub__, "*": left.__mul__, "/": left.__truediv__}[tree.sign](right)


def written(tree: Equation) -> str:
    """The equation with single spaces, as few parentheses as it needs, and percents as hundredths.

    A negative number is in parentheses, as `read` takes it: a model copies it as the report prints it.
    """
    if isinstance(tree, Number):
        return f"{tree.digits} / 100" if tree.percent else tree.digits
    if isinstance(tree, Negative):
        return f"({tree.of.digits})" if _is_plain(tree.of) else f"-{_inside(tree.of, 3)}"
    level = _level(tree)
    right = _inside(tree.right, level + (tree.sign in "-/"))
    return f"{_inside(tree.left, level)} {tree.sign} {f'({right})' if right.startswith('-') else right}"


def _is_plain(tree: Equation) -> TypeGuard[Number]:
    return isinstance(tree, Number) and not tree.percent


def read(text: str) -> Equation:
    """The tree of an equation as a model writes it: a lone number in parentheses is negative, as reports print it.

    Raises:
        Unreadable: as `parse`.
    """
    return parse(_accounting(tidy(text)))


def _accounting(text: str) -> str:
    return re.sub(r"\(\s*(\d[\d.]*|\.\d+)\s*(%?)\s*\)", r"(-\1\2)", text)


def _inside(tree: Equation, least: int) -> str:
    return written(tree) if _level(tree) >= least else f"({written(tree)})"


def _level(tree: Equation) -> int:
    """How tightly it binds: 1 sums, 2 products, 3 signs and numbers."""
    if isinstance(tree, Operation):
        return 1 if tree.sign in "+-" else 2
    return 2 if isinstance(tree, Number) and tree.percent else 3


def numbers(tree: Equation) -> Iterator[str]:
    """The digits of its operands, left to right, without small integer factors such as an average's 2."""
    if (
        isinstance(tree, Operation)
        and tree.sign in "*/"
        and isinstance(tree.right, Number)
        and _is_constant(tree.right.digits)
    ):
        yield from numbers(tree.left)
    elif isinstance(tree, Operation):
        yield from numbers(tree.left)
        yield from numbers(tree.right)
    else:
        yield from numbers(tree.of) if isinstance(tree, Negative) else operands(tree)


def operands(tree: Equation) -> Iterator[str]:
    """The digits of all operands, from left to right."""
    if isinstance(tree, Number):
        yield tree.digits
    elif isinstance(tree, Negative):
        yield from operands(tree.of)
    else:
        yield from operands(tree.left)
        yield from operands(tree.right)


def _is_constant(digits: str) -> bool:
    return digits.isdigit() and (int(digits) <= 12 or int(digits) in (100, 1000, 1_000_000))


def answer(exact: Fraction) -> str:
    """A value as an answer: digits, rounded half up to two decimals like gold answers, or to four digits below 0.01."""
    with localcontext() as context:
        context.prec, context.rounding = 60, ROUND_HALF_UP
        number = Decimal(exact.numerator) / Decimal(exact.denominator)
        step = (
            Decimal("0.01")
            if not number or abs(number) >= Decimal("0.01")
            else Decimal(1).scaleb(number.adjusted() - 3)
        )
        try:
            number = number.quantize(step)
        except ArithmeticError:  # more digits than the context holds
            raise Unreadable("a number too large to be an answer") from None
    text = format(number, "f")
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text in ("-0", "") else text


def readings(derivation: str) -> Iterator[Equation]:
    """What a written derivation may mean, likeliest first: parentheses are groups or negatives, percents hundredths.

    Raises:
        Unreadable: as `parse`, where no reading is an equation.
    """
    text = tidy(derivation).replace("'", "")
    tried, why = [], "nothing is written"
    for candidate in dict.fromkeys((text, _accounting(text))):
        try:
            tried.append(parse(candidate))
        except Unreadable as error:
            why = str(error)
    if not tried:
        raise Unreadable(why)
    for tree in tried:
        yield _without_percents(tree)
    yield from (tree for tree in tried if tree != _without_percents(tree))


def _without_percents(tree: Equation) -> Equation:
    if isinstance(tree, Number):
        return Number(tree.digits)
    if isinstance(tree, Negative):
        return Negative(_without_percents(tree.of))
    return Operation(tree.sign, _without_percents(tree.left), _without_percents(tree.right))


def times(tree: Equation, factor: str) -> Equation:
    """The equation times a whole factor; a division by just that factor is dropped instead."""
    if tree == Number("0") or (isinstance(tree, Operation) and tree.sign == "/" and tree.right == Number(factor)):
        return tree.left if isinstance(tree, Operation) else tree
    return Operation("*", tree, Number(factor))


def over(tree: Equation, divisor: str) -> Equation:
    """The equation by a whole divisor; a factor of just that is dropped instead."""
    if isinstance(tree, Operation) and tree.sign == "*" and tree.right == Number(divisor):
        return tree.left
    return Operation("/", tree, Number(divisor))
