"""FinQA's programs as equations: `subtract(5829, 5735), divide(#0, 5735)` is (5829 - 5735) / 5735.

Operations as in czyssrs/FinQA at 0f16e28, code/evaluate/evaluate.py: add, subtract, multiply, divide, exp, and sum,
average, max and min of a table's row. `#0` is the result of the first step, `const_100` the number 100.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from pipeline.tatqa import equation
from pipeline.tatqa.equation import Equation, Negative, Number, Operation, Unreadable

_SIGNS = {"add": "+", "subtract": "-", "multiply": "*", "divide": "/"}
_STEP = re.compile(r"\s*(\w+)\((.*?)\)\s*(?:,\s*(?=\w+\()|$)", re.DOTALL)
_LARGEST_POWER = 10
_CLOSE = 1e-3  # relative: the authors round results to five digits


def equation_of(program: str, rows: Sequence[Sequence[str]], result: float, percent: bool) -> str:
    """The equation of a program, times 100 with `percent`.

    Args:
        rows: the table, for operations on a row.
        result: what the program gives, by the authors' execution.

    Raises:
        Unreadable: another operation, or the equation does not give `result`.
    """
    tree = _tree(program, rows)
    value = float(equation.value(tree))
    if abs(value - result) > _CLOSE * max(abs(result), 1e-2):
        raise Unreadable(f"{equation.written(tree)} = {value:g}, not {result:g}")
    return equation.written(equation.times(tree, "100") if percent else tree)


def _tree(program: str, rows: Sequence[Sequence[str]]) -> Equation:
    if "(" not in program:
        return _number(program)  # a turn that looks a figure up
    steps: list[Equation] = []
    at = 0
    while at < len(program.rstrip()):
        found = _STEP.match(program, at)
        if not found:
            raise Unreadable(f"{program[at : at + 40]!r} is no step")
        steps.append(_step(found.group(1), found.group(2), steps, rows))
        at = found.end()
    return steps[-1]


def _step(name: str, arguments: str, steps: list[Equation], rows: Sequence[Sequence[str]]) -> Equation:
    if name.startswith("table_"):
        return _of_row(name, arguments.rpartition(",")[0].strip() or arguments.strip(), rows)
    left, comma, right = arguments.partition(",")
    if not comma:
        raise Unreadable(f"{name} of one argument")
    first, second = (_argument(each.strip(), steps) for each in (left, right))
    if name == "exp":
        power = equation.value(second)
        if power.denominator != 1 or not 1 <= power <= _LARGEST_POWER:
            raise Unreadable(f"a power of {power}")
        tree = first
        for _ in range(int(power) - 1):
            tree = Operation("*", tree, first)
        return tree
    if name not in _SIGNS:
        raise Unreadable(f"the operation {name}")
    return Operation(_SIGNS[name], first, second)


def _argument(text: str, steps: list[Equation]) -> Equation:
    if text.startswith("#"):
        number = text[1:]
        if not number.isdigit() or int(number) >= len(steps):
            raise Unreadable(f"{text}, of {len(steps)} steps")
        return steps[int(number)]
    return _number(text.removeprefix("const_").replace("m1", "-1") if text.startswith("const_") else text)


def _number(text: str) -> Equation:
    return equation.parse(equation.tidy(text))


def _of_row(name: str, row: str, rows: Sequence[Sequence[str]]) -> Equation:
    cells = next((each[1:] for each in rows if each and each[0].strip() == row), None)
    if cells is None:
        raise Unreadable(f"no row {row!r}")
    figures = [_cell(cell) for cell in cells]
    if name in ("table_max", "table_min"):
        return (max if name == "table_max" else min)(figures, key=equation.value)
    total = figures[0]
    for each in figures[1:]:
        total = Operation("+", total, each)
    if name == "table_sum":
        return total
    if name == "table_average":
        return Operation("/", total, Number(str(len(figures))))
    raise Unreadable(f"the operation {name}")


def _cell(cell: str) -> Equation:
    """A cell's figure: "$ -12 ( 12 )" is -12, as the authors read it."""
    bare = cell.replace("$", "").split("(")[0].strip().replace(" ", "")
    tree = _number(bare)
    if not isinstance(tree, Number | Negative):
        raise Unreadable(f"the cell {cell!r}")
    return tree
