"""The tests that questions share: a linear model of a cost, a t-test for folds that share rows, ranks over datasets."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

Array = NDArray[np.float64]
PLACE = "place"
MAX_LEVELS = 12  # of a number; with more, or with more than trials have halves, it counts as a continuous one
MIN_DEGREES = 3  # of freedom, for a model to have an interaction,
MIN_OF_PLACE = 8  # and for the place in the order, which in a study of eight trials hides what they show
ENDS = 0.9  # of the largest effect of a number: where its lowest and highest level differ by as much, they are named
LEVEL = 0.05
REPORTED = 0.01  # the level at which effects and trends are told, after Holm's correction within one metric
DRAWS = 9999  # of rankings by chance


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


def over_folds(differences: NDArray[np.float64], error_rate: float = LEVEL) -> tuple[float, float, float]:
    """The corrected resampled t-test of differences between models, one a fold of a cross-validation.

    Nadeau and Bengio (Machine Learning 52, 2003) add to 1/n, for n folds, the share of test rows to training rows,
    since the folds' training rows overlap; Bouckaert and Frank (PAKDD 2004) use it with cross-validation.

    Returns:
        The mean difference, half the width of its interval, which fails to hold the true one at the error rate, and the
        p-value that this is 0; NaN where all differences are equal, so that their error is not known.
    """
    folds, mean = len(differences), float(differences.mean())
    spread = float(differences.std(ddof=1))
    if spread <= 1e-12 * float(np.abs(differences).max()):
        return mean, math.nan, math.nan
    error = spread * math.sqrt(1 / folds + 1 / (folds - 1))
    p = 2 * float(stats.t.sf(abs(mean) / error, folds - 1))
    return mean, float(stats.t.ppf(1 - error_rate / 2, folds - 1)) * error, p


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
    """

    name: str
    levels: Sequence[Any]
    columns: Array
    at: Array

    @property
    def is_categorical(self) -> bool:
        """Whether each level has an effect of its own."""
        return self.name != PLACE and self.at.shape == (len(self.levels), len(self.levels) - 1)


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
        return Term(name, list(levels), np.vstack([at, at.mean(axis=0)])[codes], at)  # what is missing has the code -1
    numbers = values.to_numpy(float)
    numbers = np.log(numbers) if np.nanmin(numbers) > 0 else numbers
    scaled = np.nan_to_num((numbers - np.nanmin(numbers)) / (np.nanmax(numbers) - np.nanmin(numbers)), nan=0.5)
    # A cost such as `a + b / rows` bends in the logarithm of its rows.
    return _bent(name, [values.min(), values.max()], scaled)


def _bent(name: str, levels: Sequence[Any], scaled: Array) -> Term:
    """That of a number from 0 to 1, whose effect is a parabola."""
    return Term(name, levels, np.column_stack([scaled, scaled**2]), np.array([[0.0, 0.0], [1.0, 1.0]]))


def terms(trials: pd.DataFrame, hyperparameters: Sequence[str]) -> list[Term]:
    """Those of all hyperparameters, and of the place in the order where it is known and trials are not too few."""
    found = [term for name in hyperparameters if (term := term_of(name, trials[name])) is not None]
    places = pd.to_numeric(trials[PLACE], errors="coerce").to_numpy(float)
    left = len(trials) - 3 - sum(term.columns.shape[1] for term in found)
    if left < MIN_OF_PLACE or not np.isfinite(places).all() or np.ptp(places) == 0:
        return found
    # Memory grows in the first trials most; and one that meets them more often than others would look cheap.
    return [*found, _bent(PLACE, ["the first trial", "the last"], (places - places.min()) / np.ptp(places))]


def design(blocks: Mapping[str, Array], together: Sequence[tuple[str, str]] = ()) -> Array:
    """The columns of these terms and of these interactions, behind one for the mean."""
    rows = len(next(iter(blocks.values())))
    products = [(blocks[one][:, :, None] * blocks[other][:, None, :]).reshape(rows, -1) for one, other in together]
    return np.hstack([np.ones((rows, 1)), *blocks.values(), *products])


@dataclass(frozen=True, eq=False)
class Fit:
    """Least squares of values on the columns of a design, of which some may say the same."""

    values: Array
    columns: Array

    @cached_property
    def products(self) -> Array:
        """X'X. Of 5,000 trials its pseudo-inverse takes a tenth of the time of that of X, which statsmodels takes."""
        products: Array = self.columns.T @ self.columns
        return products

    @cached_property
    def inverse(self) -> Array:
        """The pseudo-inverse of X'X."""
        return np.asarray(np.linalg.pinv(self.products, hermitian=True), dtype=np.float64)

    @cached_property
    def params(self) -> Array:
        """One of each column; the smallest ones where columns say the same."""
        params: Array = self.inverse @ (self.columns.T @ self.values)
        return params

    @cached_property
    def degrees(self) -> int:
        """Of freedom, that are left."""
        return len(self.values) - int(np.linalg.matrix_rank(self.products, hermitian=True))

    @cached_property
    def left(self) -> float:
        """The sum of the squares of what is left."""
        return float(((self.values - self.columns @ self.params) ** 2).sum())

    @property
    def variance(self) -> float:
        """Of what is left."""
        return self.left / self.degrees if self.degrees else math.nan

    def p_value(self, without: Fit) -> float:
        """Of the F test that the columns that another fit lacks do nothing; NaN where they say what others do."""
        more = without.degrees - self.degrees
        if not more or not self.degrees:
            return math.nan
        with np.errstate(divide="ignore"):  # a size in bytes has no noise
            return float(stats.f.sf(np.divide((without.left - self.left) / more, self.variance), more, self.degrees))

    def combined(self, contrast: Array) -> tuple[float, float]:
        """A combination of the params, and its standard error; NaN where the columns do not tell it."""
        if not np.allclose(self.inverse @ self.products @ contrast, contrast, atol=1e-6):
            return math.nan, math.nan
        error = math.sqrt(max(float(contrast @ self.inverse @ contrast) * self.variance, 0.0))
        return float(contrast @ self.params), error


@dataclass(frozen=True, eq=False)
class LinearModel:
    """What the levels of hyperparameters, the place in the order, and interactions of two that matter do to a cost."""

    values: Array
    terms: Mapping[str, Term]
    in_logarithms: bool

    @cached_property
    def together(self) -> list[tuple[str, str]]:
        """The interactions that matter, of those that trials show at all levels, by F tests with Holm's correction."""
        some = [term for term in self.terms.values() if term.is_categorical]
        main, found = self._fitted(self.terms, []), []
        for one, other in itertools.combinations(some, 2):
            seen = np.unique(np.hstack([one.columns, other.columns]), axis=0)
            of_levels = seen[~np.mod(seen, 1).any(axis=1)]
            if len(of_levels) < len(one.levels) * len(other.levels):
                continue
            fitted = self._fitted(self.terms, [(one.name, other.name)])
            if fitted.degrees >= MIN_DEGREES:
                found.append(((one.name, other.name), fitted.p_value(main)))
        adjusted = holm([p for _, p in found])
        told = [pair for (pair, _), p in zip(found, adjusted, strict=True) if p < REPORTED]
        return told if told and self._fitted(self.terms, told).degrees >= MIN_DEGREES else []

    @cached_property
    def fit(self) -> Fit:
        """With these interactions."""
        return self._fitted(self.terms, self.together)

    @property
    def degrees(self) -> int:
        """Of freedom, that are left."""
        return self.fit.degrees

    @property
    def noise(self) -> float:
        """The standard deviation of what the model leaves, as a share."""
        left = math.sqrt(self.fit.variance)
        return left if self.in_logarithms else left / abs(float(self.values.mean()))

    @property
    def margin(self) -> float:
        """Two trials that differ by no more may be equal, as a share (the repeatability limit of ISO 5725-6)."""
        return by_noise(self.noise, self.degrees, LEVEL / 2)

    def p_value(self, name: str) -> float:
        """Of the F test that no level of a hyperparameter differs (type II); NaN where others say the same."""
        others = {other: term for other, term in self.terms.items() if other != name}
        without = self._fitted(others, [pair for pair in self.together if name not in pair])
        return self.fit.p_value(without)

    def ends(self, name: str) -> tuple[int, int]:
        """The numbers of the levels that cost least and most, all else equal, in their own order.

        Of a number the lowest and the highest, if they differ by nearly as much.
        """
        levels = self.terms[name].levels
        means = [float(self._at({name: level}) @ self.fit.params) for level in range(len(levels))]
        is_number = not isinstance(levels[0], str)
        if np.ptp(means) == 0 or (is_number and abs(means[-1] - means[0]) >= ENDS * np.ptp(means)):
            return 0, len(means) - 1
        first, second = sorted((int(np.argmin(means)), int(np.argmax(means))))
        return first, second

    def change(self, name: str, first: int, second: int, beside: Mapping[str, int]) -> tuple[float, float, float]:
        """From one level to another, in the mean over those of all others or at some of them.

        Returns:
            The difference, in logarithms the factor, and the ends of its 95 % interval, which allows for the choice of
            two among all levels (Bonferroni). NaN where trials do not tell it from another hyperparameter's.
        """
        contrast = self._at({name: second, **beside}) - self._at({name: first, **beside})
        change, error = self.fit.combined(contrast)
        pairs = math.comb(len(self.terms[name].levels), 2)
        reach = float(stats.t.ppf(1 - 0.025 / pairs, self.degrees)) * error
        if not self.in_logarithms:
            return change, change - reach, change + reach
        low, high = (math.exp(min(max(each, -700.0), 700.0)) for each in (change - reach, change + reach))
        return math.exp(change), low, high

    def _fitted(self, terms: Mapping[str, Term], together: Sequence[tuple[str, str]]) -> Fit:
        blocks = {name: term.columns for name, term in terms.items()}
        columns = design(blocks, together) if blocks else np.ones((len(self.values), 1))
        return Fit(np.log(self.values) if self.in_logarithms else self.values, columns)

    def _at(self, levels: Mapping[str, int]) -> Array:
        """The design's row at these levels, and in the mean over those of all other hyperparameters."""
        blocks = {
            name: term.at[[levels[name]]] if name in levels else term.at.mean(axis=0, keepdims=True)
            for name, term in self.terms.items()
        }
        row: Array = design(blocks, self.together)[0]
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
