"""Are configurations different? Rank tests over datasets, and a t-test for folds that share training rows.

Folds of one dataset are not independent: any two have most of their training rows in common. Over them a rank test
would call equal configurations different in a third of studies; ``pairs`` does not.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scikit_posthocs
from numpy.typing import NDArray
from scipy import stats

from entrypoints.limits.noise import TOLD_P

if TYPE_CHECKING:
    from statsmodels.regression.linear_model import RegressionResults

Array = NDArray[np.float64]
PLACE = "place"
MAX_LEVELS = 12  # of a number; with more, or with more than trials have halves, it counts as a continuous one
MIN_DEGREES = 3  # of freedom, for a model to have the place in the order, or an interaction
LEVEL = 0.05
TOLD = 0.01  # the level at which effects and trends are told, after Holm's correction within one metric
SMALL = 0.05  # a difference in a cost that is not worth a sentence,
SMALL_MB = 0.1  # and one in memory: a process takes or keeps a few pages by chance
DRAWS = 9999  # of rankings by chance
MIN_VALUES = 6  # for an interval that holds the median with 95 %: all of five values lie on one side of it in 6 %
CALLED = 0.8 * TOLD_P  # the adjusted p-value below which `pairs` calls a difference: see there


class NotTestableError(Exception):
    """The data allow no test; the text is one sentence that says why and what would."""


@dataclass(frozen=True, eq=False)
class Ranks:
    """How configurations rank over blocks; rank 1 is the best, and ties share the mean of their ranks.

    ``friedman_chi2`` and what follows from it are corrected for ties. ``nemenyi`` holds the p-value of each pair,
    already adjusted for all pairs. ``left_out`` counts the configurations without a score in every block, and
    ``blocks`` those that have any score.
    """

    blocks: int
    left_out: int
    mean_rank: pd.Series[float]
    friedman_chi2: float
    friedman_p: float
    iman_davenport_f: float
    iman_davenport_p: float
    critical_difference: float
    nemenyi: pd.DataFrame


def chosen(folds: pd.DataFrame, score: str, higher_is_better: bool, most: int = 10) -> tuple[list[str], pd.DataFrame]:
    """Choose the best trials on every second fold (the first, the third, ...), and score them on the others.

    The choice has not seen the scores on those others; some of its training rows come from them, which the simulation
    at ``pairs`` takes into account.

    Args:
        folds: a row per trial and fold, with the columns trial_id, fold and the score's. Trials without a score in
            each fold that chooses cannot be chosen.

    Returns:
        The ids of at most ``most`` trials, best first, and their scores on the other folds: a row per fold, a column
        per trial in the same order.

    Raises:
        NotTestableError: no scores by fold, or fewer than four folds.
    """
    if folds.empty or score not in folds:
        raise NotTestableError(f"There is no {score} for each fold, so configurations cannot be compared.")
    table = _finite(folds.pivot(index="fold", columns="trial_id", values=score).sort_index())
    if len(table) < 4:
        raise NotTestableError(
            f"A comparison of configurations needs 4 folds or more, two to choose and two to test, and there "
            f"{_are(len(table))}."
        )
    means = table.iloc[::2].mean(skipna=False).dropna()
    best = means.sort_values(ascending=not higher_is_better, kind="stable").index[:most]
    scores = table.iloc[1::2][best]
    return [str(trial_id) for trial_id in best], scores


def ranks(scores: pd.DataFrame, higher_is_better: bool) -> Ranks:
    """Friedman's test and Nemenyi's, as Demsar (JMLR 7, 2006, section 3.2) recommends for several datasets.

    Args:
        scores: a row per block (dataset), a column per configuration. One that lacks a score is left out.

    Raises:
        NotTestableError: fewer than three configurations, fewer than two blocks, or nothing but ties.
    """
    complete = _complete(scores)
    blocks, configurations = complete.shape
    if configurations < 3:
        raise NotTestableError(
            f"A rank test needs 3 configurations or more with a score in each block, and there {_are(configurations)}."
        )
    if blocks < 2:
        raise NotTestableError(f"A rank test needs scores on 2 datasets or more, and there {_are(blocks)}.")
    if (complete.nunique(axis=1) == 1).all():
        raise NotTestableError(
            "All configurations have the same score in each block, so that there is nothing to rank."
        )
    within = complete.rank(axis=1, ascending=not higher_is_better)
    chi2, p = stats.friedmanchisquare(*within.to_numpy().T)
    f, f_p = iman_davenport(float(chi2), blocks, configurations)
    mean_rank = within.mean().sort_values(kind="stable")
    return Ranks(
        blocks=blocks,
        left_out=scores.shape[1] - configurations,
        mean_rank=mean_rank,
        friedman_chi2=float(chi2),
        friedman_p=float(p),
        iman_davenport_f=f,
        iman_davenport_p=f_p,
        critical_difference=critical_difference(blocks, configurations),
        nemenyi=scikit_posthocs.posthoc_nemenyi_friedman(within[mean_rank.index]),
    )


def iman_davenport(friedman_chi2: float, blocks: int, configurations: int) -> tuple[float, float]:
    """Iman and Davenport's less conservative F of Friedman's chi-squared, and its p-value (Demsar 2006, section 3.2.2).

    Where all blocks agree, F is infinite, and the p-value is that of such an agreement by chance (Conover, Practical
    Nonparametric Statistics, 3rd edition, 1999, section 5.8).
    """
    most = blocks * (configurations - 1)
    if math.isclose(friedman_chi2, most):
        return math.inf, math.factorial(configurations) ** -(blocks - 1.0)
    f = (blocks - 1) * friedman_chi2 / (most - friedman_chi2)
    return f, float(stats.f.sf(f, configurations - 1, (configurations - 1) * (blocks - 1)))


def kendalls_w(friedman_chi2: float, blocks: int, configurations: int) -> float:
    """Kendall's coefficient of concordance, an effect size: 0 where blocks rank at random, 1 where all rank alike."""
    return friedman_chi2 / (blocks * (configurations - 1))


def by_chance(scores: pd.DataFrame) -> float:
    """The p-value of Friedman's test by permutation within each block, ties as they are.

    With few blocks the F distribution is too generous: of 4 blocks and 4 configurations, two neighbours swapped in one
    block have p = 2e-5 by it, and 9e-4 by counting.

    Args:
        scores: as of ``ranks``.
    """
    within = _complete(scores).rank(axis=1).to_numpy()
    drawn = np.random.default_rng(0).permuted(np.broadcast_to(within, (DRAWS, *within.shape)), axis=2)
    reached = (drawn.sum(axis=1) ** 2).sum(axis=1) >= (within.sum(axis=0) ** 2).sum() - 1e-6
    return float(1 + reached.sum()) / (1 + DRAWS)


def smallest_p(blocks: int, configurations: int) -> float:
    """The p-value where all blocks rank the configurations alike, the most extreme that there is to find."""
    return max(math.exp(-(blocks - 1) * math.lgamma(configurations + 1)), 1 / (1 + DRAWS))


def critical_difference(blocks: int, configurations: int) -> float:
    """The difference of mean ranks from which on Nemenyi's test calls two configurations different (Demsar 2006)."""
    q = stats.studentized_range.ppf(1 - LEVEL, configurations, np.inf) / math.sqrt(2)
    return float(q * math.sqrt(configurations * (configurations + 1) / (6 * blocks)))


def pairs(scores: pd.DataFrame, higher_is_better: bool, test_share: float) -> pd.DataFrame:
    """The corrected resampled t-test of the first configuration against each other one.

    Nadeau and Bengio (Machine Learning 52, 2003) add to 1/n, for n folds, the share of test rows to training rows,
    since the folds' training rows overlap; Bouckaert and Frank (PAKDD 2004) use it with cross-validation.

    The first has to be chosen on other folds, as ``chosen`` does: if it were the best on these same folds, with equal
    configurations something would be called different in 10 % of studies. Even so the training rows that folds share
    leave a trace of the choice: simulated with 10 folds, some p_holm is below 0.05 in 4 to 6 % of studies. A difference
    is therefore called below 0.8 of the level at which findings are told (0.01): wrong in 1 % of studies.

    Args:
        scores: a row per fold, a column per configuration. One that lacks a score is left out, as in ``ranks``.
        test_share: test rows / training rows of a fold: 1/9 with ten folds, however many of them are given.

    Returns:
        A row per other configuration: first, second, difference (by how much the first is better, in the score's own
        units: negative where it is worse), low and high (its 95 % interval, not adjusted), t, p_value (two-sided),
        p_holm, and different: whether the two are called so. Where the difference is the same in each fold its error
        is unknown: if it is 0 then p_value is 1, else NaN.

    Raises:
        NotTestableError: fewer than two configurations, or fewer than two folds.
    """
    complete = _complete(scores)
    folds, configurations = complete.shape
    if configurations < 2:
        raise NotTestableError(
            f"A comparison needs 2 configurations or more with a score in each fold, and there {_are(configurations)}."
        )
    if folds < 2:
        raise NotTestableError(f"A comparison needs scores on 2 folds or more, and there {_are(folds)}.")
    sign = 1.0 if higher_is_better else -1.0
    values = sign * complete.to_numpy()
    differences = values[:, [0]] - values[:, 1:]
    mean, error = differences.mean(axis=0), _corrected_error(differences, test_share)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(error > 0, mean / error, np.where(mean == 0, 0.0, np.nan))
    p = 2 * stats.t.sf(np.abs(t), folds - 1)
    reach = np.where(np.isnan(t), np.nan, stats.t.ppf(1 - LEVEL / 2, folds - 1) * error)
    table: pd.DataFrame = pd.DataFrame(
        {
            "first": str(complete.columns[0]),
            "second": [str(name) for name in complete.columns[1:]],
            "difference": mean,
            "low": mean - reach,
            "high": mean + reach,
            "t": t,
            "p_value": p,
            "p_holm": holm(p),
        }
    )
    table["different"] = table["p_holm"] < CALLED
    return table


def median_interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """The 95 % interval of a median from order statistics, whatever the distribution; NaN of fewer than six values.

    It is the sign test's (Conover, Practical Nonparametric Statistics, 3rd edition, 1999, section 3.2).
    """
    if len(values) < MIN_VALUES:
        return math.nan, math.nan
    interval = stats.quantile_test(values, p=0.5).confidence_interval(1 - LEVEL)
    return float(interval.low), float(interval.high)


def signed_rank_p(values: NDArray[np.float64]) -> float:
    """The p-value of Wilcoxon's signed-rank test that values lie around 0; NaN of fewer than six values.

    A value of 0 counts by halves for either side.
    """
    if len(values) < MIN_VALUES:
        return math.nan
    return float(stats.wilcoxon(values, zero_method="zsplit").pvalue) if values.any() else 1.0


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


@dataclass(frozen=True, eq=False)
class Term:
    """What a hyperparameter has in a linear model.

    Attributes:
        name: of the hyperparameter.
        levels: its values, in order; of a number with many the lowest and the highest.
        columns: of the design, a row per trial.
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
        values = values.astype(str)
    codes, levels = pd.factorize(values, sort=True, use_na_sentinel=False)
    is_many = is_number(values) and len(levels) > min(MAX_LEVELS, len(values) / 2)
    if len(levels) < 2 or (len(levels) == len(values) and not is_many):
        return None
    if not is_many:
        at = np.eye(len(levels))[:, 1:]
        return Term(name, list(levels), at[codes], at)
    numbers = values.to_numpy(float)
    numbers = np.log(numbers) if np.nanmin(numbers) > 0 else numbers
    scaled = np.nan_to_num((numbers - np.nanmin(numbers)) / (np.nanmax(numbers) - np.nanmin(numbers)), nan=0.5)
    # A cost such as `a + b / rows` bends in the logarithm of its rows.
    bent = np.column_stack([scaled, scaled**2])
    return Term(name, [values.min(), values.max()], bent, np.array([[0.0, 0.0], [1.0, 1.0]]))


def terms(trials: pd.DataFrame, hyperparameters: Sequence[str]) -> list[Term]:
    """Those of all hyperparameters, and of the place in the order where it is known and trials are not too few."""
    found = [term for name in hyperparameters if (term := term_of(name, trials[name])) is not None]
    places = pd.to_numeric(trials[PLACE], errors="coerce").to_numpy(float)
    left = len(trials) - 2 - sum(term.columns.shape[1] for term in found)
    if left < MIN_DEGREES or not np.isfinite(places).all() or np.ptp(places) == 0:
        return found
    scaled = (places - places.min()) / np.ptp(places)
    return [*found, Term(PLACE, ["the first trial", "the last"], scaled[:, None], np.array([[0.0], [1.0]]))]


def design(blocks: Mapping[str, Array], together: Sequence[tuple[str, str]] = ()) -> Array:
    """The columns of these terms and of these interactions, behind one for the mean."""
    rows = len(next(iter(blocks.values())))
    products = [(blocks[one][:, :, None] * blocks[other][:, None, :]).reshape(rows, -1) for one, other in together]
    return np.hstack([np.ones((rows, 1)), *blocks.values(), *products])


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
            seen = len(np.unique(np.hstack([one.columns, other.columns]), axis=0))
            if seen < len(one.levels) * len(other.levels):
                continue
            fitted = self._fitted(self.terms, [(one.name, other.name)])
            if fitted.df_resid >= MIN_DEGREES:
                found.append(((one.name, other.name), _f_test(fitted, main)[0]))
        adjusted = holm([p for _, p in found])
        told = [pair for (pair, _), p in zip(found, adjusted, strict=True) if p < TOLD]
        return told if told and self._fitted(self.terms, told).df_resid >= MIN_DEGREES else []

    @cached_property
    def fit(self) -> RegressionResults:
        """With these interactions."""
        return self._fitted(self.terms, self.together)

    @property
    def degrees(self) -> int:
        """Of freedom, that are left."""
        return int(self.fit.df_resid)

    @property
    def noise(self) -> float:
        """The standard deviation of what the model leaves, as a share."""
        left = math.sqrt(max(float(self.fit.mse_resid), 0.0))
        return left if self.in_logarithms else left / abs(float(self.values.mean()))

    @property
    def margin(self) -> float:
        """Two trials that differ by no more may be equal, as a share (the repeatability limit of ISO 5725-6)."""
        return math.expm1(min(math.sqrt(2) * self.noise * float(stats.t.ppf(0.975, self.degrees)), 100.0))

    def p_value(self, name: str) -> float:
        """Of the F test that no level of a hyperparameter differs (type II); NaN where others say the same."""
        others = {other: term for other, term in self.terms.items() if other != name}
        without = self._fitted(others, [pair for pair in self.together if name not in pair])
        p, degrees = _f_test(self.fit, without)
        return p if degrees > 0 else math.nan

    def ends(self, name: str) -> tuple[int, int]:
        """The numbers of the levels that cost least and most, all else equal, in their own order."""
        means = [float(self._at({name: level}) @ self.fit.params) for level in range(len(self.terms[name].levels))]
        least, most = int(np.argmin(means)), int(np.argmax(means))
        return (min(least, most), max(least, most)) if least != most else (0, len(means) - 1)

    def change(self, name: str, first: int, second: int, beside: Mapping[str, int]) -> tuple[float, float, float]:
        """From one level to another, in the mean over those of all others or at some of them.

        Returns:
            The difference, in logarithms the factor, and the ends of its 95 % interval, which allows for the choice of
            two among all levels (Bonferroni). NaN where trials do not tell it from another hyperparameter's.
        """
        contrast = self._at({name: second, **beside}) - self._at({name: first, **beside})
        model = self.fit.model
        if not np.allclose(contrast @ model.pinv_wexog @ model.exog, contrast, atol=1e-6):
            return math.nan, math.nan, math.nan
        found = self.fit.t_test(contrast)
        change, error = (float(np.squeeze(each)) for each in (found.effect, found.sd))
        pairs = math.comb(len(self.terms[name].levels), 2)
        reach = float(stats.t.ppf(1 - 0.025 / pairs, self.degrees)) * error
        if not self.in_logarithms:
            return change, change - reach, change + reach
        low, high = (math.exp(min(max(each, -700.0), 700.0)) for each in (change - reach, change + reach))
        return math.exp(change), low, high

    def _fitted(self, terms: Mapping[str, Term], together: Sequence[tuple[str, str]]) -> RegressionResults:
        from statsmodels.regression.linear_model import OLS  # takes a second
        from statsmodels.tools.sm_exceptions import SingularMatrixWarning

        blocks = {name: term.columns for name, term in terms.items()}
        columns = design(blocks, together) if blocks else np.ones((len(self.values), 1))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SingularMatrixWarning)  # what cannot be told apart has no change: see above
            return OLS(np.log(self.values) if self.in_logarithms else self.values, columns).fit()

    def _at(self, levels: Mapping[str, int]) -> Array:
        """The design's row at these levels, and in the mean over those of all other hyperparameters."""
        blocks = {
            name: term.at[[levels[name]]] if name in levels else term.at.mean(axis=0, keepdims=True)
            for name, term in self.terms.items()
        }
        row: Array = design(blocks, self.together)[0]
        return row


def _f_test(fitted: RegressionResults, without: RegressionResults) -> tuple[float, float]:
    """The p-value and the degrees of freedom of what a model has more than another one."""
    with np.errstate(divide="ignore", invalid="ignore"):  # a size in bytes has no noise
        _, p, degrees = fitted.compare_f_test(without)
    return float(p), float(degrees)


def is_number(values: pd.Series[Any]) -> bool:
    """Whether a column holds numbers; truth values are words."""
    return pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)


def is_memory(metric: str) -> bool:
    """Whether it is an amount of memory in MB."""
    return metric.endswith("_mb") and ("memory" in metric or "rss" in metric)


def holm(p_values: Sequence[float] | NDArray[np.float64] | pd.Series[float]) -> NDArray[np.float64]:
    """Holm's step-down adjustment for several tests; those without a p-value (NaN) keep none and do not count.

    statsmodels' own collects Python's garbage at each call, which takes a third of a second.
    """
    adjusted = np.array(p_values, dtype=float)
    order = np.argsort(adjusted)[: np.count_nonzero(~np.isnan(adjusted))]  # NaN come last
    adjusted[order] = np.maximum.accumulate(adjusted[order] * np.arange(len(order), 0, -1)).clip(max=1)
    return adjusted


def bonferroni(p_values: Sequence[float] | NDArray[np.float64] | pd.Series[float]) -> NDArray[np.float64]:
    """Bonferroni's adjustment, for one test on each of several datasets; NaN stay NaN and do not count."""
    values = np.array(p_values, dtype=float)
    return (values * np.count_nonzero(~np.isnan(values))).clip(max=1)


def _corrected_error(differences: NDArray[np.float64], test_share: float) -> NDArray[np.float64]:
    """The standard error of the mean difference; 0 where the differences are equal but for rounding."""
    folds = len(differences)
    spread = differences.std(axis=0, ddof=1)
    rounding = 1e-12 * np.abs(differences).max(axis=0)
    corrected: NDArray[np.float64] = np.where(spread > rounding, spread, 0.0) * math.sqrt(1 / folds + test_share)
    return corrected


def _complete(scores: pd.DataFrame) -> pd.DataFrame:
    """The blocks with any score, and the configurations with a score in each of them.

    scikit-posthocs would return a normal-looking p-value on NaN.
    """
    known: pd.DataFrame = _finite(scores).dropna(how="all")
    complete: pd.DataFrame = known.dropna(axis=1)
    return complete


def _finite(scores: pd.DataFrame) -> pd.DataFrame:
    values = scores.to_numpy(dtype=float)
    known = np.where(np.isfinite(values), values, np.nan)
    finite: pd.DataFrame = pd.DataFrame(known, index=scores.index, columns=scores.columns)
    return finite


def _are(count: int) -> str:
    return "is 1" if count == 1 else f"are {count}"
