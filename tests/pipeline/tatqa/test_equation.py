"""Equations: parsed within limits, evaluated exactly, and never executed."""

from __future__ import annotations

import ast
import re
import time
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.tatqa import equation
from pipeline.tatqa.equation import Unreadable


def evaluated(text: str) -> str:
    return equation.answer(equation.value(equation.parse(equation.tidy(text))))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("44.1 - 56.7", "-12.6"),
        ("(44.1 - 56.7) / 56.7 * 100", "-22.22"),
        ("($1,234.5 + £2) * 2", "2473"),
        ("2 × (3 ÷ 4)", "1.5"),
        ("[1 + 2] / {3}", "1"),
        ("−5 – 3", "-8"),
        ("50% * 4", "2"),
        ("1 - 5%", "0.95"),
        ("--5", "5"),
        ("0.1 + 0.2", "0.3"),
        ("1 / 3", "0.33"),
        ("1 / 3000", "0.0003333"),
        ("0.125 * 100 / 100", "0.13"),  # rounded half up, as the gold answers are
        ("2.675 * 1", "2.68"),  # binary floating point gives 2.67
        (".5 + 1.", "1.5"),
        ("-0.001 * 0", "0"),
        ("100", "100"),
        ("10 x 2", "20"),
        ("（１２．５－２）／２＊１００％", "5.25"),
    ],
)
def test_an_equation_evaluates_to_its_answer(text: str, wanted: str) -> None:
    assert evaluated(text) == wanted


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "a number was expected"),
        ("abs(-1)", "neither a number nor a sign"),
        ("__import__('os')", "neither a number nor a sign"),
        ("2 ** 3", "a number was expected, found '*'"),
        ("2 ^ 3", "neither a number nor a sign"),
        ("9" * 21, "digits"),
        ("1 / 0", "a division by zero"),
        ("1 / (2 - 2)", "a division by zero"),
        ("1 +", "a number was expected"),
        ("(1", "a closing parenthesis was expected"),
        ("1)", "after the end"),
        ("1 2", "after the end"),
        ("1,2,3", "neither a number"),
        ("1e5", "neither a number"),
        ("inf", "neither a number"),
        ("1\u0662", "neither a number"),
        ("10²", "neither a number"),
        ("(" * 10_000 + "1" + ")" * 10_000, "characters, more than"),
        ("(" * 100 + "1" + ")" * 100, "nested deeper"),
        ("-" * 100 + "1", "nested deeper"),
        ("1 = 1", "neither a number"),
    ],
)
def test_a_malformed_equation_is_refused_with_the_reason(text: str, why: str) -> None:
    with pytest.raises(Unreadable, match=why.replace("*", r"\*")):
        evaluated(text)


def test_the_longest_and_deepest_equations_take_no_time() -> None:
    started = time.monotonic()
    with pytest.raises(Unreadable):
        evaluated("*".join(["9" * 20] * 19))  # 380 digits are too many for an answer
    for depth in (1, equation.DEPTH - 1):
        evaluated("(" * depth + "1/7" + ")" * depth)
    assert time.monotonic() - started < 1


@given(st.text(max_size=500))
def test_any_text_gives_a_number_or_a_reason(text: str) -> None:
    try:
        float(evaluated(text))
    except Unreadable as why:
        assert str(why)
    for reading in _readings(text):
        assert equation.parse(equation.written(reading))


def _readings(text: str) -> list[equation.Equation]:
    try:
        return list(equation.readings(text))
    except Unreadable:
        return []


NUMBERS = st.decimals(0, 10**6, places=2).map(lambda number: equation.Number(str(number)))
ACCOUNTING = re.compile(r"\(([\d.]+)\)")
TREES = st.recursive(
    NUMBERS,
    lambda inner: st.one_of(
        inner.map(equation.Negative), st.builds(equation.Operation, st.sampled_from("+-*/"), inner, inner)
    ),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("(22,888) - 5", -22893),
        ("8 - (5)", 13),
        ("(8 + (5)) / 2", 1.5),
        ("(8)", -8),
        ("((8) + 9)", 1),
        ("(.5) + 1", 0.5),
        ("(50%) + 1", 0.5),
    ],
)
def test_a_lone_number_in_parentheses_is_negative_as_reports_print_it(text: str, value: float) -> None:
    assert equation.value(equation.read(text)) == value


@given(TREES)
def test_a_written_equation_parses_to_the_same_value(tree: equation.Equation) -> None:
    text = equation.written(tree)
    again = equation.read(text)
    try:
        wanted = equation.value(tree)
    except Unreadable:
        with pytest.raises(Unreadable):
            equation.value(again)
        return
    assert equation.value(again) == wanted
    assert float(wanted) == pytest.approx(_by_python(ACCOUNTING.sub(r"(-\1)", text)), rel=1e-9, abs=1e-9)


def _by_python(text: str) -> float:
    """The value by Python's own grammar, with fractions instead of floats: the oracle."""
    tree = ast.parse(text, mode="eval")

    class Exact(ast.NodeTransformer):
        def visit_Constant(self, node: ast.Constant) -> ast.expr:
            return ast.Call(ast.Name("Fraction", ast.Load()), [ast.Constant(ast.unparse(node))], [])

    exact = ast.fix_missing_locations(Exact().visit(tree))
    return float(eval(compile(exact, "oracle", "eval"), {"Fraction": Fraction}))
