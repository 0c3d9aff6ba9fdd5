"""The tests that questions share: a linear model of a cost, a t-test for folds that share rows, ranks over datasets."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special, stats
from statsmodels.regression.linear_model import OLS
from statsmodels.tools.sm_exceptions import SingularMatrixWarning

from entrypoints.limits.noise import SMALL_MB

Array = NDArray[np.float64]
ORDER = "start order"  # a term that no hyperparameter is called
MAX_LEVELS = 12  # of a number; with more, or with more than trials have halves, it counts as a continuous one
MIN_DEGREES = 3  # of freedom, for a model to have an interaction,
MIN_OF_ORDER = 8  # and for the order of the starts, which in a study of eight trials hides what they show
ENDS = 0.9  # of the largest effect of a number: where its lowest and highest level differ by as much, they are named
LEVEL = 0.05
REPORTED = 0.01  # the level at which effects and trends are reported, after Holm's correction within one metric
DRAWS = 9999  # of rankings by chance
APART = 1.2  # times as much, if a hyperparameter changes a cost so at one level of another one, it depends on that


class Estimate(NamedTuple):
    """A value, the ends of its 95 % interval, and the p-value of the test that it is 0; NaN where not known."""

    value: float
    low: float
    high: float
    p_value: float


def by_chance(scores: pd.DataFrame) -> float:
    """The p-value of Friedman's test by permutation within each block, ties as they are.

    With few blocks the F distribution is too generous: of 4 blocks and 4 configurations, two neighbours swapped in one
    block have p = 2e-5 by it, and 9e-4 by counting.

    Args:
        scores: a row per block, a column per configuration, without gaps.
    """
    within = scores.rank(axis=1).to_numpy()
    drawn = np.random.default_rng(0).permuted(np.broadcast_to(within, (DRAWS, *within.shape)), axis=2)
    reached = (drawn.sum(axis=1) ** 2).sum(axis=1) >= (within.sum(axis=0) ** 2).sum() - 1e-6
    return float(1 + reached.sum()) / (1 + DRAWS)


def over_folds(differences: Array, error_rate: float = LEVEL) -> Estimate:
    """The corrected resampled t-test of differences between models, one a fold of a cross-validation.

    Nadeau and Bengio (Machine Learning 52, 2003) add to 1/n, for n folds, the share of test rows to training rows,
    since the folds' training rows overlap; Bouckaert and Frank (PAKDD 2004) use it with cross-validation.

    Returns:
        The mean difference, with an interval that fails to hold the true one at the error rate. Its ends and the
        p-value are NaN where all differences are equal, so that their error is not known.
    """
    folds, mean = len(differences), float(differences.mean())
    spread = float(differences.std(ddof=1))
    if spread <= 1e-12 * float(np.abs(differences).max()):
        return Estimate(mean, math.nan, math.nan, math.nan)
    error = spread * math.sqrt(1 / folds + 1 / (folds - 1))
    return _by_t(mean, error, folds - 1, error_rate)


def mean_of(values: Array) -> Estimate:
    """The mean of independent values, by their t-test."""
    error = max(float(stats.sem(values)), 1e-12)
    return _by_t(float(values.mean()), error, len(values) - 1)


def _by_t(value: float, error: float, degrees: float, error_rate: float = LEVEL) -> Estimate:
    # scipy.stats takes as long for thousands of trials as all else that is asked of them.
    reach = -float(special.stdtrit(degrees, error_rate / 2)) * error
    return Estimate(value, value - reach, value + reach, 2 * float(special.stdtr(degrees, -abs(value) / error)))


def by_noise(noise: float, degrees: float, error_rate: float) -> float:
    """By how much one of two equal costs exceeds the other, as a share, in no more than this share of cases."""
    return math.expm1(min(math.sqrt(2) * noise * float(stats.t.isf(error_rate, degrees)), 100.0))


@dataclass(frozen=True, eq=False)
class Term:
    """What a hyperparameter has in a linear model.

    Attributes:
        name: of the hyperparameter.
        levels: its values, in order; of a number with many the lowest and the highest.
        columns: of the design, a row per trial; of one that lacks the hyperparameter the mean over the levels.
        at: the same of each level.
        is_categorical: whether each level has an effect of its own.
    """

    name: str
    levels: Sequence[Any]
    columns: Array
    at: Array
    is_categorical: bool = False


def term_of(name: str, values: pd.Series[Any]) -> Term | None:
    """A hyperparameter's; None where all values are one, or each trial has its own text."""
    if not is_number(values):
        values = values.dropna().astype(str).reindex(values.index)
    codes, levels = pd.factorize(values, sort=True)
    is_many = is_number(values) and len(levels) > min(MAX_LEVELS, len(values) / 2)
    if len(levels) < 2 or (len(levels) == len(values) and not is_many):
        return None
    if not is_many:
        at = np.eye(len(levels))[:, 1:]
        columns = np.vstack([at, at.mean(axis=0)])[codes]  # what is missing has the code -1
        return Term(name, list(levels), columns, at, is_categorical=True)
    numbers = values.to_numpy(float)
    if np.nanmin(numbers) > 0:
        numbers = np.log(numbers)
    # A cost such as `a + b / rows` bends in the logarithm of its rows.
    return _bent(name, [values.min(), values.max()], numbers)


def _bent(name: str, ends: Sequence[Any], numbers: Array, degree: int = 2) -> Term:
    """That of a number, whose effect is a parabola."""
    lowest, highest = np.nanmin(numbers), np.nanmax(numbers)
    scaled = np.nan_to_num((numbers - lowest) / (highest - lowest), nan=0.5)
    powers = range(1, degree + 1)
    at = np.array([[0.0] * degree, [1.0] * degree])
    return Term(name, ends, np.column_stack([scaled**power for power in powers]), at)


def terms_of(trials: pd.DataFrame, hyperparameters: Sequence[str]) -> dict[str, Term]:
    """Those of all hyperparameters that differ, by name."""
    found = [term_of(name, trials[name]) for name in hyperparameters]
    return {term.name: term for term in found if term is not None}


def order_of(trials: pd.DataFrame, degree: int) -> Term:
    """That of the order of the starts, in which trials are given.

    Memory grows in the first trials most; and a level that meets them more often than others would look cheap.
    """
    return _bent(ORDER, ["the first trial", "the last"], trials.index.to_numpy(float), degree)


def design(blocks: Mapping[str, Array], interactions: Sequence[tuple[str, str]] = ()) -> Array:
    """These columns, by the names of their terms, and those of these interactions, behind one for the mean."""
    rows = len(next(iter(blocks.values())))
    products = [(blocks[one][:, :, None] * blocks[other][:, None, :]).reshape(rows, -1) for one, other in interactions]
    return np.hstack([np.ones((rows, 1)), *blocks.values(), *products])


def p_of(fit: Any, without: Any) -> float:
    """Of the F test that the columns that another fit lacks do nothing; NaN where they say what others do."""
    if without.df_resid == fit.df_resid or not fit.df_resid:
        return math.nan
    with np.errstate(divide="ignore", invalid="ignore"):  # a size in bytes has no noise
        return float(fit.compare_f_test(without)[1])


def fitted(columns: Array, values: Array) -> Any:
    """Results of statsmodels. Few or confounded trials leave some contrasts open, which ``combined`` leaves out."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SingularMatrixWarning)
        return OLS(values, columns).fit()


def combined(fit: Any, contrast: Array) -> tuple[float, float]:
    """A combination of a fit's params, and its standard error; NaN where the columns do not tell it."""
    model = fit.model
    if not np.allclose(contrast @ model.pinv_wexog @ model.exog, contrast, atol=1e-6):
        return math.nan, math.nan
    variance = contrast @ fit.normalized_cov_params @ contrast * fit.mse_resid
    return float(contrast @ fit.params), math.sqrt(max(float(variance), 0.0))


@dataclass(frozen=True, eq=False)
class LinearModel:
    """What the levels of hyperparameters, the order of the starts, and interactions of two that matter do to a cost.

    Attributes:
        values: of the cost, one a trial.
        terms: by name.
        order: that of the order, be it among the terms or not.
        in_logarithms: whether effects multiply.
    """

    values: Array
    terms: Mapping[str, Term]
    order: Term
    in_logarithms: bool

    @classmethod
    def of(
        cls, trials: pd.DataFrame, values: Array, hyperparameters: Sequence[str], *, in_logarithms: bool
    ) -> LinearModel:
        """The order is a term unless trials are so few that it would hide what they show."""
        terms = terms_of(trials, hyperparameters)
        left = len(trials) - 3 - sum(term.columns.shape[1] for term in terms.values())
        if left < MIN_OF_ORDER:
            return cls(values, terms, order_of(trials, degree=1), in_logarithms)
        order = order_of(trials, degree=2)
        return cls(values, {**terms, ORDER: order}, order, in_logarithms)

    @cached_property
    def interactions(self) -> list[tuple[str, str]]:
        """Those that matter, of those that trials tell at all levels, by F tests with Holm's correction."""
        categorical = [term for term in self.terms.values() if term.is_categorical]
        main = self._fitted(self.terms)
        p_values = dict[tuple[str, str], float]()
        for one, other in itertools.combinations(categorical, 2):
            pair = (one.name, other.name)
            fit = self._fitted(self.terms, [pair])
            is_whole = main.df_resid - fit.df_resid == one.at.shape[1] * other.at.shape[1]
            if is_whole and fit.df_resid >= MIN_DEGREES:
                p_values[pair] = p_of(fit, main)
        adjusted = holm(list(p_values.values()))
        found = [pair for pair, p in zip(p_values, adjusted, strict=True) if p < REPORTED]
        is_known = found and self._fitted(self.terms, found).df_resid >= MIN_DEGREES
        return found if is_known else []

    @cached_property
    def fit(self) -> Any:
        """With these interactions: results of statsmodels."""
        return self._fitted(self.terms, self.interactions)

    @property
    def degrees(self) -> int:
        """Of freedom, that are left."""
        return int(self.fit.df_resid)

    @property
    def level(self) -> float:
        """The mean of the cost."""
        return max(abs(float(self.values.mean())), 1e-12)

    @property
    def noise(self) -> float:
        """The standard deviation of what the model leaves, as a share."""
        left = math.sqrt(self.fit.mse_resid)
        return left if self.in_logarithms else left / self.level

    @property
    def least_difference(self) -> float:
        """Two trials that differ by no more may be equal, as a share (the repeatability limit of ISO 5725-6)."""
        return by_noise(self.noise, self.degrees, LEVEL / 2)

    def p_value(self, name: str) -> float:
        """Of the F test that no level of a hyperparameter differs (type II); NaN where others say the same."""
        others = {other: term for other, term in self.terms.items() if other != name}
        without = self._fitted(others, [pair for pair in self.interactions if name not in pair])
        return p_of(self.fit, without)

    def ends(self, name: str) -> tuple[int, int]:
        """The numbers of the levels that cost least and most, all else equal, in their own order.

        Of a number the lowest and the highest, if they differ by nearly as much.
        """
        levels = self.terms[name].levels
        means = [self._row_at({name: number}) @ self.fit.params for number in range(len(levels))]
        is_number = not isinstance(levels[0], str)
        if np.ptp(means) == 0 or (is_number and abs(means[-1] - means[0]) >= ENDS * np.ptp(means)):
            return 0, len(means) - 1
        first, second = sorted((int(np.argmin(means)), int(np.argmax(means))))
        return first, second

    def change(self, name: str, first: int, second: int) -> tuple[float, float, float]:
        """From one level to another, in the mean over those of all others.

        Returns:
            The difference, in logarithms the factor, and the ends of its 95 % interval, which allows for the choice of
            two among all levels (Bonferroni). NaN where trials do not tell it from another hyperparameter's.
        """
        change, error = combined(self.fit, self._row_at({name: second}) - self._row_at({name: first}))
        pairs = math.comb(len(self.terms[name].levels), 2)
        reach = float(stats.t.ppf(1 - 0.025 / pairs, self.degrees)) * error
        if not self.in_logarithms:
            return change, change - reach, change + reach
        low, high = (math.exp(min(max(end, -700.0), 700.0)) for end in (change - reach, change + reach))
        return math.exp(change), low, high

    def depends_on(self, name: str, first: int, second: int) -> list[str]:
        """The hyperparameters at whose levels a change differs by a fifth, of memory by 0.1 MB."""
        found = []
        for pair in self.interactions:
            if name not in pair:
                continue
            other = pair[1] if pair[0] == name else pair[0]
            changes = []
            for number in range(len(self.terms[other].levels)):
                beside = {other: number}
                contrast = self._row_at({name: second} | beside) - self._row_at({name: first} | beside)
                changes.append(contrast @ self.fit.params)
            if np.ptp(changes) > (math.log(APART) if self.in_logarithms else SMALL_MB):
                found.append(other)
        return found

    def is_beyond_order(self, name: str, first: int, second: int) -> bool:
        """Whether a change is more than twice what the order of the starts makes of it.

        That is by how much it differs where the order is a term and where it is none; False where the order says the
        same as the hyperparameter.
        """
        without = {other: term for other, term in self.terms.items() if other != ORDER}
        changes = []
        for terms in (without, without | {ORDER: self.order}):
            contrast = _row_at(terms, (), {name: second}) - _row_at(terms, (), {name: first})
            changes.append(combined(self._fitted(terms), contrast)[0])
        return abs(changes[1]) > 2 * abs(changes[1] - changes[0])

    def _row_at(self, levels: Mapping[str, int]) -> Array:
        return _row_at(self.terms, self.interactions, levels)

    def _fitted(self, terms: Mapping[str, Term], interactions: Sequence[tuple[str, str]] = ()) -> Any:
        values = np.log(self.values) if self.in_logarithms else self.values
        if not terms:
            return fitted(np.ones((len(values), 1)), values)
        return fitted(design({name: term.columns for name, term in terms.items()}, interactions), values)


def _row_at(terms: Mapping[str, Term], interactions: Sequence[tuple[str, str]], levels: Mapping[str, int]) -> Array:
    """The design's row at these levels, and in the mean over those of all other hyperparameters."""
    blocks = {
        name: term.at[[levels[name]]] if name in levels else term.at.mean(axis=0, keepdims=True)
        for name, term in terms.items()
    }
    row: Array = design(blocks, interactions)[0]
    return row


def is_number(values: pd.Series[Any]) -> bool:
    """Whether a column holds numbers; truth values are words."""
    return pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)


def is_learned(metric: str) -> bool:
    """Whether it says what a model has learned, not what it cost."""
    return metric.startswith(("train_", "val_", "test_")) or "loss" in metric


def holm(p_values: Sequence[float] | NDArray[np.float64] | pd.Series[float]) -> NDArray[np.float64]:
    """Holm's step-down adjustment for several tests; those without a p-value (NaN) keep none and do not count.

    statsmodels' own collects Python's garbage at each call, which takes a third of a second.
    """
    adjusted = np.array(p_values, dtype=float)
    order = np.argsort(adjusted)[: np.count_nonzero(~np.isnan(adjusted))]  # NaN come last
    adjusted[order] = np.maximum.accumulate(adjusted[order] * np.arange(len(order), 0, -1)).clip(max=1)
    return adjusted
