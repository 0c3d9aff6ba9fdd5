"""What the order in which trials run does to their figures, whatever their hyperparameters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from sklearn.feature_extraction import DictVectorizer

from entrypoints.limits.noise import MIN_DEGREES, group, small, worth_telling
from entrypoints.models.configuration import Configuration
from entrypoints.tags import PLACE
from mlflow_sysmetrics.limits import Values

MAX_LEVELS = 12  # of a number among an own algorithm's hyperparameters; with more it counts as a number
MIN_CORRELATION = 0.8  # with it, the drift is larger than what two single trials differ by otherwise
MAX_POINTS = 400  # of a slope, which takes the square of them
_PREFIX = "order_"


@dataclass(frozen=True)
class Order:
    """The effect of the order on one figure. With too few trials, all but ``figure`` and ``told`` are NaN.

    Attributes:
        figure: its name.
        correlation: Spearman's, of the figure with the place, both without what the hyperparameters explain.
        p: of that, as it is.
        p_holm: adjusted over all figures.
        drift: the change from the first trial to the last, in the figure's unit.
        drift_share: as a share of the figure's median.
        told: whether to report it.
    """

    figure: str
    correlation: float
    p: float
    p_holm: float
    drift: float
    drift_share: float
    told: bool = False

    @property
    def row(self) -> dict[str, Any]:
        """As columns of the figure's row in noise.json."""
        return {f"{_PREFIX}{name}": value for name, value in asdict(self).items() if name != "figure"}

    @classmethod
    def read(cls, row: Mapping[str, Any]) -> Order:
        """From a row of noise.json, where what is not known is empty."""

        def number(name: str) -> float:
            value = row.get(f"{_PREFIX}{name}")
            return np.nan if value is None else float(value)

        numbers = {name: number(name) for name in ("correlation", "p", "p_holm", "drift", "drift_share")}
        return cls(str(row["figure"]), **numbers, told=bool(row.get(f"{_PREFIX}told")))

    @property
    def change(self) -> str:
        """In words, without what it is a change over."""
        way = "rises" if self.drift > 0 else "falls"
        return f"`{self.figure}` {way} by {abs(self.drift):.3g} ({100 * abs(self.drift_share):.0f} %)"


def told(orders: Iterable[Order]) -> list[str]:
    """One sentence for all effects to report; an empty list if there are none."""
    changes = [order.change for order in orders if order.told]
    if not changes:
        return []
    return [
        f"Over the order of the trials, whatever their hyperparameters, {', '.join(changes)}: compare trials that ran "
        f"near each other (`{PLACE}`)."
    ]


def of_order(trials: Sequence[tuple[Configuration, Values]], names: Sequence[str]) -> dict[str, Order]:
    """The effect of the order on each of these figures, over trials that ran to their end.

    What hyperparameters explain is first subtracted from the figure and from the place: the mean of each group of equal
    cost, or for the user's own algorithm the additive effects of its hyperparameters. The p-value is that of a partial
    correlation; the drift is Theil and Sen's slope. It is reported where it explains most of the remaining difference
    between trials, since machines become slower and faster all the time.
    """
    from statsmodels.stats.multitest import multipletests  # takes a second

    design = _design(trials)
    found = {name: _of_figure(name, trials, design) for name in names}
    known = [name for name, order in found.items() if order.p == order.p]
    adjusted = multipletests([found[name].p for name in known], method="holm")[1] if known else []
    for name, p_holm in zip(known, adjusted, strict=True):
        each = found[name]
        size = each.drift / each.drift_share if each.drift_share else 0.0
        strong = abs(each.correlation) >= MIN_CORRELATION
        told = strong and worth_telling(float(p_holm), each.drift_share, 0.0, small=small(name, size))
        found[name] = replace(each, p_holm=float(p_holm), told=told)
    return found


def _of_figure(name: str, trials: Sequence[tuple[Configuration, Values]], design: NDArray[np.float64]) -> Order:
    nothing = Order(name, np.nan, np.nan, np.nan, np.nan, np.nan)
    each = np.array([figures.get(name, np.nan) for _, figures in trials], dtype=float)
    known = np.isfinite(each)
    values, explained = each[known], design[known]
    freedom = len(values) - int(np.linalg.matrix_rank(explained)) - 1 if len(values) else 0
    if freedom < MIN_DEGREES or np.ptp(values) == 0:
        return nothing
    places = np.array([configuration.place for configuration, _ in trials], dtype=float)[known]
    fitted, size = _fitted(explained, values), float(np.median(np.abs(values))) or float(np.abs(values).mean())
    # As shares: the noise of a trial that costs more is larger.
    away = (values - fitted) / np.where(fitted > 0, fitted, size)
    moment = places - _fitted(explained, places)
    if np.ptp(np.round(away, 12)) == 0 or np.ptp(moment) == 0:
        return nothing
    correlation = float(stats.spearmanr(moment, away).statistic)
    t = correlation * np.sqrt(freedom / max(1 - correlation**2, 1e-12))
    chosen = np.linspace(0, len(values) - 1, min(len(values), MAX_POINTS)).round().astype(int)
    share = float(stats.theilslopes(away[chosen], moment[chosen]).slope) * float(np.ptp(places))
    return Order(name, correlation, float(2 * stats.t.sf(abs(t), freedom)), np.nan, share * size, share)


def _design(trials: Sequence[tuple[Configuration, Values]]) -> NDArray[np.float64]:
    """A row for each trial, a column for each level that its cost may depend on."""
    if not trials:
        return np.empty((0, 0))
    levels: dict[str, set[str]] = {}
    for each, _ in trials:
        for name, value in each.searched.items():
            levels.setdefault(name, set()).add(repr(value))
    many = {name for name in levels if len(levels[name]) > MAX_LEVELS}
    rows = [_features(configuration, figures, many) for configuration, figures in trials]
    columns: NDArray[np.float64] = DictVectorizer(sparse=False).fit_transform(rows)
    return np.column_stack([np.ones(len(rows)), columns])


def _features(configuration: Configuration, figures: Values, many: set[str]) -> dict[str, Any]:
    known = group(configuration, figures)
    if isinstance(known, tuple):
        return {"group": repr(known)}
    return {
        name: value if name in many and isinstance(value, (int, float)) else repr(value)
        for name, value in configuration.searched.items()
    }


def _fitted(explained: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    fitted: NDArray[np.float64] = explained @ np.linalg.lstsq(explained, values, rcond=None)[0]
    return fitted
