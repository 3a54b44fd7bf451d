"""Confidence intervals and a test of scores, over contexts: the questions of one context are not independent.

Interval: percentile bootstrap (Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 13), contexts drawn
with replacement. Test: paired randomisation (Noreen 1989, Computer-Intensive Methods for Testing Hypotheses), base and
tuned swapped context by context, two-sided; Dror et al. 2018 (ACL, P18-1128) recommend it for such scores.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

DRAWS = 10_000
_SEED = 20210801
_AT_ONCE = 1000  # draws held in memory together

Floats = npt.NDArray[np.float64]


def interval(values: Sequence[float], contexts: Sequence[str]) -> tuple[float, float]:
    """The 95 % confidence interval of the mean of `values`, one per question; `contexts` names each one's context."""
    sums, counts = _by_context(values, contexts)
    draw = np.random.default_rng(_SEED)
    means = []
    for _ in range(DRAWS // _AT_ONCE):
        drawn = draw.integers(0, len(sums), (_AT_ONCE, len(sums)))
        means.append(sums[drawn].sum(1) / counts[drawn].sum(1))
    low, high = np.percentile(np.concatenate(means), (2.5, 97.5))
    return float(low), float(high)


def p_value(one: Sequence[float], other: Sequence[float], contexts: Sequence[str]) -> float:
    """The probability of a difference of means at least this large by chance; questions in the same order in both."""
    differences, _ = _by_context([a - b for a, b in zip(one, other, strict=True)], contexts)
    draw = np.random.default_rng(_SEED)
    least = abs(differences.sum()) - 1e-9
    reached = 0
    for _ in range(DRAWS // _AT_ONCE):
        signs = draw.integers(0, 2, (_AT_ONCE, len(differences))) * 2 - 1
        reached += int((np.abs(signs @ differences) >= least).sum())
    return (reached + 1) / (DRAWS + 1)


def _by_context(values: Sequence[float], contexts: Sequence[str]) -> tuple[Floats, Floats]:
    """Sum and number of values of each context."""
    number = {name: i for i, name in enumerate(dict.fromkeys(contexts))}
    places = [number[name] for name in contexts]
    return np.bincount(places, weights=values, minlength=len(number)).astype(np.float64), np.bincount(
        places, minlength=len(number)
    ).astype(np.float64)
