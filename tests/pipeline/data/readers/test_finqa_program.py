"""FinQA's programs as equations."""

from __future__ import annotations

import pytest

from pipeline.data.readers import finqa_program
from pipeline.tatqa.equation import Unreadable

ROWS = [["", "2019", "2018"], ["net sales", "$ 10.5", "$ -2.5 ( 2.5 )"], ["notes", "n/a", "3"]]


@pytest.mark.parametrize(
    ("program", "result", "percent", "equation"),
    [
        ("subtract(5829, 5735)", 94, False, "5829 - 5735"),
        ("subtract(5829, 5735), divide(#0, 5735)", 0.01639, False, "(5829 - 5735) / 5735"),
        ("subtract(5829, 5735), divide(#0, 5735)", 0.01639, True, "(5829 - 5735) / 5735 * 100"),
        ("divide(60, const_100)", 0.6, True, "60"),
        ("multiply(const_m1, 5)", -5, False, "(1) * 5"),
        ("add(1,000, 2)", None, False, ""),
        ("add(8.1%, const_1)", 1.081, False, "8.1 / 100 + 1"),
        ("exp(1.1, const_3)", 1.331, False, "1.1 * 1.1 * 1.1"),
        ("table_sum(net sales, none)", 8, False, "10.5 + (2.5)"),
        ("table_average(net sales, none)", 4, False, "(10.5 + (2.5)) / 2"),
        ("table_max(net sales, none), subtract(#0, const_1)", 9.5, False, "10.5 - 1"),
        ("60.94", 60.94, False, "60.94"),
    ],
)
def test_programs_by_hand(program: str, result: float | None, percent: bool, equation: str) -> None:
    if result is None:  # more arguments than two
        with pytest.raises(Unreadable):
            finqa_program.equation_of(program, ROWS, 0, percent)
    else:
        assert finqa_program.equation_of(program, ROWS, result, percent) == equation


@pytest.mark.parametrize(
    "program",
    [
        "",
        "subtract(5, 3",
        "power(2, 3)",
        "add(#0, 3)",
        "exp(2, 99)",
        "exp(2, 0.5)",
        "table_sum(gross sales, none)",
        "table_sum(notes, none)",
        "divide(1, 0)",
        "subtract(5, 3)",  # is 2, not 7
    ],
)
def test_what_is_no_equation_of_the_result_is_unreadable(program: str) -> None:
    with pytest.raises(Unreadable):
        finqa_program.equation_of(program, ROWS, 7, False)
