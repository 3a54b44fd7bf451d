"""Confidence intervals and p-values against known distributions."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.evaluation.significance import interval, p_value

CONTEXTS = [f"c{i // 6}" for i in range(600)]


def test_the_interval_is_that_of_the_binomial_for_independent_questions() -> None:
    draw = np.random.default_rng(1)
    values = (draw.random(600) < 0.3).astype(float)
    low, high = interval(values.tolist(), [str(i) for i in range(600)])
    spread = 1.96 * np.sqrt(values.mean() * (1 - values.mean()) / 600)
    assert (low, high) == pytest.approx((values.mean() - spread, values.mean() + spread), abs=0.006)


def test_correlated_questions_of_a_context_widen_the_interval() -> None:
    draw = np.random.default_rng(2)
    by_context = np.repeat(draw.random(100) < 0.5, 6).astype(float)
    narrow = interval(by_context.tolist(), [str(i) for i in range(600)])
    wide = interval(by_context.tolist(), CONTEXTS)
    assert (wide[1] - wide[0]) / (narrow[1] - narrow[0]) == pytest.approx(np.sqrt(6), rel=0.1)


def test_the_p_value_is_uniform_without_an_effect_and_small_with_one() -> None:
    draw = np.random.default_rng(3)
    below = 0
    for _ in range(60):
        one, other = ((draw.random(120) < 0.4).astype(float).tolist() for _ in range(2))
        below += p_value(one, other, CONTEXTS[:120]) < 0.2
    assert 4 <= below <= 22  # 12 of 60 are expected; this is the binomial's 99 % interval
    better = [min(1.0, value + 1.0 * (i % 3 == 0)) for i, value in enumerate(one)]
    assert p_value(better, one, CONTEXTS[:120]) < 0.001


def test_small_cases_by_hand() -> None:
    assert interval([1.0], ["c"]) == (1.0, 1.0)
    assert p_value([1.0], [0.0], ["c"]) == pytest.approx(1.0)  # one context: the swapped difference is as large
    assert p_value([1.0, 1.0], [1.0, 1.0], ["a", "b"]) == 1.0
    assert p_value([1.0, 1.0, 1.0], [0.0, 0.0, 0.0], ["a", "b", "c"]) == pytest.approx(
        0.25, abs=0.02
    )  # 2 of 8 permutations
    assert interval([0.0, 1.0, 0.5], list("abc")) == interval([0.0, 1.0, 0.5], list("abc"))
